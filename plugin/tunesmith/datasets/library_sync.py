"""Renewing the library: what changed since the cursor, page by page, and now and then which documents are gone.

A page is stored in one transaction together with how far the walk has come, so whatever stops a sync (Paperless, the
network, this process) leaves whole pages behind, and the next sync goes on from there.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import to_json
from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from tunesmith.datasets import suggestions
from tunesmith.store.database import Database
from tunesmith.store.tables import LibraryDocument, LibraryState
from tunesmith_connectors.paperless import Lookups, PaperlessClient, PaperlessError, WirePage

OVERLAP = timedelta(minutes=2)  # a change is stamped before it is committed, and clocks are not one
PAGE = 500  # documents that are stored in one transaction
COMPARE_EVERY = 24 * 3600.0  # seconds between comparisons of all ids


@dataclass
class SyncReport:
    """What one sync did. `new`, `changed`, `deleted`: documents; `resumed`: it went on from an interrupted one."""

    documents: int = 0
    new: int = 0
    changed: int = 0
    deleted: int = 0
    pages: int = 0
    full: bool = False
    resumed: bool = False
    judged: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        return f"{self.new} new, {self.changed} changed, {self.deleted} deleted; {self.documents} documents."


def sync(database: Database, client: PaperlessClient, url: str, *, full: bool = False) -> SyncReport:
    """Bring the library up to date. Raises PaperlessError; what was fetched until then stays, in whole pages."""
    begun = time.monotonic()
    wire_lookups = client.wire_lookups()
    state, walk = _begin(database, url, wire_lookups, full)
    report = SyncReport(full=bool(walk["full"]), resumed=bool(walk["resumed"]))
    lookups = Lookups.of(wire_lookups)
    cursor = state.cursor
    for page in _ahead(client.changes(walk["at"], PAGE)):
        cursor = page.upto
        with database.write() as session:
            _keep(session, page.documents, lookups, report)
            _state(session).walk = {"at": min(page.upto, _settled()), "full": walk["full"]}
        report.pages += 1
    if report.full or _due(database, state, client):
        _compare(database, client, lookups, report)
    with database.write() as session:
        kept = _state(session)
        kept.cursor, kept.walk, kept.synced_at = max(cursor or "", kept.cursor or "") or None, None, time.time()
        report.documents = _count(session)
        report.seconds = round(time.monotonic() - begun, 3)
        kept.report = report.as_dict()
    return report


def _begin(database: Database, url: str, lookups: dict[str, Any], full: bool) -> tuple[LibraryState, dict[str, Any]]:
    """The state, and where the walk starts: where an interrupted one stopped, at the cursor, or at the beginning."""
    with database.write() as session:
        state = session.get(LibraryState, 1)
        if state is None or state.url != url:  # another Paperless has other documents under the same ids
            session.execute(delete(LibraryDocument))
            if state is not None:
                session.delete(state)
                session.flush()
            state = LibraryState(id=1, url=url, report={})
            session.add(state)
        state.lookups = lookups
        walk = state.walk
        if walk and (walk["full"] or not full):
            return state, {**walk, "resumed": True}
        at = None if full or state.cursor is None else _before(state.cursor)
        state.walk = {"at": at, "full": full or state.cursor is None}
        return state, {**state.walk, "resumed": False}


def _ahead(pages: Iterator[WirePage]) -> Iterator[WirePage]:
    """The same pages, the next one being fetched while one is stored: two in memory at a time."""
    with ThreadPoolExecutor(1, thread_name_prefix="library") as fetcher:
        following = fetcher.submit(next, pages, None)
        while (page := following.result()) is not None:
            following = fetcher.submit(next, pages, None)
            yield page


def _keep(session: Session, wires: Sequence[dict[str, Any]], lookups: Lookups, report: SyncReport) -> None:
    """Documents as they are now, in place of what was known of them; those that are the same are left alone."""
    numbers = [int(wire["id"]) for wire in wires]
    query = select(LibraryDocument.id, LibraryDocument.digest).where(LibraryDocument.id.in_(numbers))
    known = {row.id: row.digest for row in session.execute(query)}
    rows = {row["id"]: row for row in map(_row, wires) if known.get(row["id"]) != row["digest"]}
    if not rows:
        return
    old = [number for number in rows if number in known]
    if old:
        session.execute(delete(LibraryDocument).where(LibraryDocument.id.in_(old)))
    session.connection().execute(insert(LibraryDocument), list(rows.values()))
    report.new += len(rows) - len(old)
    report.changed += len(old)
    report.judged += suggestions.observe(session, [wire for wire in wires if wire["id"] in rows], lookups)


def _row(wire: dict[str, Any]) -> dict[str, Any]:
    try:
        text = to_json(wire).decode()
    except ValueError:  # half a surrogate pair, which only JSON can carry
        text = json.dumps(wire)
    created = wire.get("created")
    return {
        "id": int(wire["id"]),
        "digest": hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
        "created": str(created)[:10] if created else None,
        "correspondent": wire.get("correspondent"),
        "document_type": wire.get("document_type"),
        "storage_path": wire.get("storage_path"),
        "wire": text,
    }


def _due(database: Database, state: LibraryState, client: PaperlessClient) -> bool:
    """Whether all ids are compared: once a day, and whenever the number of documents is not the server's."""
    if state.compared_at is None or time.time() - state.compared_at > COMPARE_EVERY:
        return True
    with database.read() as session:
        return _count(session) != client.check()


def _compare(database: Database, client: PaperlessClient, lookups: Lookups, report: SyncReport) -> None:
    """Drop what the server no longer shows, and fetch what it shows and we lack (permissions change no document)."""
    there = client.ids()
    with database.read() as session:
        here = set(session.scalars(select(LibraryDocument.id)))
    gone = sorted(here - there)
    with database.write() as session:
        for start in range(0, len(gone), 500):
            session.execute(delete(LibraryDocument).where(LibraryDocument.id.in_(gone[start : start + 500])))
        report.deleted += len(gone)
    for wires in client.wire_documents(there - here):
        with database.write() as session:
            _keep(session, wires, lookups, report)
    with database.write() as session:
        _state(session).compared_at = time.time()


def _state(session: Session) -> LibraryState:
    state = session.get(LibraryState, 1)
    if state is None:
        raise PaperlessError(
            "The library was emptied while it was synced.", code="library_reset", hint="Sync it again.", retryable=True
        )
    return state


def _count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(LibraryDocument)) or 0


def _settled() -> str:
    """The moment up to which nothing is still being committed: an interrupted walk goes on no later than here."""
    return (datetime.now(UTC) - OVERLAP).isoformat(timespec="microseconds")


def _before(cursor: str) -> str:
    return (datetime.fromisoformat(cursor) - OVERLAP).isoformat(timespec="microseconds")
