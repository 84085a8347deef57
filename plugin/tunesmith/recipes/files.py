"""Uploaded files: streamed to disk, checked line by line, kept only when they are right."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import select, tuple_
from sqlalchemy.exc import IntegrityError

from tunesmith.datasets import reading
from tunesmith.errors import BadInput, Conflict, NotFound, TooLarge
from tunesmith.jobs import queue
from tunesmith.store.artifacts import hint_for_id, new_id
from tunesmith.store.files import private_file, put_in_place
from tunesmith.store.tables import File, Job, Run
from tunesmith.store.workspace import Workspace

PURPOSES = ("fine-tune", "documents")


def add_file(
    workspace: Workspace,
    filename: str,
    purpose: str,
    chunks: Iterable[bytes],
    idempotency_key: str | None = None,
) -> File:
    """Store an upload. `fine-tune` is ShareGPT or chat-messages JSONL, `documents` the wire form of Paperless.

    A wrong line raises BadInput with its number, and nothing is stored. The same `idempotency_key` gives the file that
    it made before; Conflict when the content is another.
    """
    if purpose not in PURPOSES:
        raise BadInput(f"Unknown purpose {purpose!r}.", hint=f"Use one of: {', '.join(PURPOSES)}.", param="purpose")
    workspace.artifacts.require_space()
    file_id = new_id("file")
    path = workspace.artifacts.file(file_id)
    partial = path.with_name(f"{path.name}.partial")
    try:
        size, digest = write_upload(partial, chunks, workspace.settings.max_upload_mb * 2**20)
        if idempotency_key and (known := _made_before(workspace, idempotency_key, purpose, digest)):
            return known
        with workspace.artifacts.scratch() as scratch:
            most = workspace.settings.max_read_memory_mb * 2**20
            report = reading.check_upload(partial, purpose, folder=scratch, most_memory=most)
        file = File(
            id=file_id,
            filename=Path(filename).name[:255] or "upload.jsonl",
            purpose=purpose,
            bytes=size,
            sha256=digest,
            report=report,
            idempotency_key=idempotency_key,
        )
        put_in_place(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    try:
        with workspace.database.write() as session:
            session.add(file)
    except IntegrityError:  # the same upload, sent twice at once
        path.unlink()
        known = _made_before(workspace, idempotency_key or "", purpose, digest)
        if known is None:
            raise
        return known
    return file


def _made_before(workspace: Workspace, key: str, purpose: str, digest: str) -> File | None:
    with workspace.database.read() as session:
        known = session.scalars(select(File).where(File.idempotency_key == key)).first()
    if known is not None and (known.purpose, known.sha256) != (purpose, digest):
        raise Conflict("This Idempotency-Key was used for another file.", hint="Use a new key for a new upload.")
    return known


def write_upload(path: Path, chunks: Iterable[bytes], limit: int) -> tuple[int, str]:
    """Size and SHA-256 of what was written. Raises TooLarge beyond `limit` bytes."""
    size, digest = 0, hashlib.sha256()
    with private_file(path).open("wb") as out:
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise TooLarge(
                    f"The file is larger than {limit // 2**20} MB.", hint="Split it, or raise TUNESMITH_MAX_UPLOAD_MB."
                )
            digest.update(chunk)
            out.write(chunk)
    return size, digest.hexdigest()


def get_file(workspace: Workspace, file_id: str) -> File:
    with workspace.database.read() as session:
        file = session.get(File, file_id)
    if file is None:
        hint = hint_for_id(file_id, "file", "List /v1/files to see what is there.")
        raise NotFound(f"There is no file {file_id!r}.", hint=hint, param="file_id")
    return file


def list_files(
    workspace: Workspace, *, purpose: str | None, limit: int, after: str | None, ascending: bool
) -> list[File]:
    query, place = select(File), tuple_(File.created_at, File.id)
    if purpose:
        query = query.where(File.purpose == purpose)
    if after:
        last = get_file(workspace, after)
        edge = tuple_(last.created_at, last.id)
        query = query.where(place > edge if ascending else place < edge)
    order = [column.asc() if ascending else column.desc() for column in (File.created_at, File.id)]
    with workspace.database.read() as session:
        return list(session.scalars(query.order_by(*order).limit(limit)))


def delete_file(workspace: Workspace, file_id: str) -> None:
    """Remove a file that no unfinished run reads."""
    file = get_file(workspace, file_id)
    with workspace.database.write() as session:
        unfinished = session.scalars(
            select(Run).join(Job, Job.run_id == Run.id).where(Job.kind == "build", Job.status.not_in(list(queue.ENDED)))
        )
        if any(file_id in str(run.recipe) for run in unfinished):
            raise Conflict(f"{file_id} is read by a run that has not finished.", hint="Cancel that run first.")
        session.delete(session.merge(file))
    workspace.artifacts.file(file_id).unlink(missing_ok=True)
