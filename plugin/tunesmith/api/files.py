"""`/v1/files`, as OpenAI's SDKs call it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel

from tunesmith.api.dependencies import CallerDep, CanRead, CanTrain, IdempotencyKey, WorkspaceDep
from tunesmith.api.problems import OPENAI
from tunesmith.api.routing import SafeRoute
from tunesmith.api.schemas import Deleted, Page, page
from tunesmith.api.uploads import FORM, chunks_of, in_turn
from tunesmith.recipes import files
from tunesmith.store import tables

router = APIRouter(prefix="/v1/files", tags=[OPENAI], route_class=SafeRoute, form_limits=FORM)

EXAMPLE = (  # short, and two rows: what differs in the answers is what is learnt
    '{"messages": [{"role": "user", "content": "Corner Books TOTAL 4.20"}, '
    '{"role": "assistant", "content": "4.20"}]}\n'
    '{"messages": [{"role": "user", "content": "Mill Bakery TOTAL 3.10"}, '
    '{"role": "assistant", "content": "3.10"}]}\n'
)


class FileObject(BaseModel):
    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    report: dict[str, Any] = {}


def view(file: tables.File) -> dict[str, Any]:
    return {
        "id": file.id,
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "report": file.report,
    }


@router.post("", operation_id="create_file", dependencies=[CanTrain], response_model=FileObject)
async def create_file(
    workspace: WorkspaceDep,
    caller: CallerDep,
    file: Annotated[UploadFile, File(description="JSONL: one example a line.", examples=[EXAMPLE])],
    purpose: Annotated[str, Form()] = "fine-tune",
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Upload a dataset. Every line is checked; a wrong one is named and nothing is stored."""
    key, filename = caller.once("create_file", idempotency_key), file.filename or "upload.jsonl"
    return view(await in_turn(files.add_file, workspace, filename, purpose, chunks_of(file), key))


@router.get("", operation_id="list_files", dependencies=[CanRead], response_model=Page[FileObject])
def list_files(
    workspace: WorkspaceDep,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    after: str | None = None,
    order: Literal["asc", "desc"] = "desc",
) -> Any:
    """Uploaded files, newest first unless `order` says otherwise."""
    found = files.list_files(workspace, purpose=purpose, limit=limit + 1, after=after, ascending=order == "asc")
    return page([view(file) for file in found], limit)


@router.get("/{file_id}", operation_id="get_file", dependencies=[CanRead], response_model=FileObject)
def get_file(workspace: WorkspaceDep, file_id: str) -> Any:
    """A file's size, purpose and what its check found."""
    return view(files.get_file(workspace, file_id))


@router.get(
    "/{file_id}/content",
    operation_id="get_file_content",
    dependencies=[CanRead],
    response_class=FileResponse,
    responses={200: {"description": "The file, as application/jsonl."}},
)
def get_file_content(workspace: WorkspaceDep, file_id: str) -> FileResponse:
    """What was uploaded, byte by byte."""
    file = files.get_file(workspace, file_id)
    path = workspace.artifacts.file(file.id)
    return FileResponse(path, media_type="application/jsonl", filename=file.filename)


@router.delete("/{file_id}", operation_id="delete_file", dependencies=[CanTrain], response_model=Deleted)
def delete_file(workspace: WorkspaceDep, file_id: str) -> Any:
    """Remove a file that no unfinished run reads."""
    files.delete_file(workspace, file_id)
    return {"id": file_id, "object": "file", "deleted": True}
