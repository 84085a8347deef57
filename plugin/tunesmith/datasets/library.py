"""The library: a durable mirror of the documents that Paperless shows us. Recipes select from it, syncs renew it."""

import json
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from typing import Any

from sqlalchemy import func, select

from tunesmith.datasets.library_sync import SyncReport, sync
from tunesmith.datasets.paperless_access import connect
from tunesmith.errors import NotFound
from tunesmith.settings import Settings
from tunesmith.store.database import Database
from tunesmith.store.tables import LibraryDocument, LibraryState
from tunesmith_connectors.paperless import Lookups, PaperlessDocument, checked_query
from tunesmith_connectors.paperless_values import LOOKUPS, read_document

BATCH = 200  # documents in memory at a time


class Library:
    """The mirror in one database. It holds every document that the configured token may see."""

    def __init__(self, database: Database, settings: Settings):
        self._database = database
        self._settings = settings

    def sync(self, *, full: bool = False) -> SyncReport:
        """Fetch what changed; with `full`, everything anew. Raises Unavailable or BadInput, and keeps whole pages."""
        with connect(self._settings) as client:
            return sync(self._database, client, str(self._settings.paperless_url), full=full)

    def status(self) -> dict[str, Any]:
        """How many documents are here, how far the last sync came, and whether one was interrupted. JSON-able."""
        with self._database.read() as session:
            state = session.get(LibraryState, 1)
            count = session.scalar(select(func.count()).select_from(LibraryDocument)) or 0
        return {
            "url": state.url if state else self._settings.paperless_url,
            "documents": count,
            "cursor": state.cursor if state else None,
            "interrupted": bool(state and state.walk),
            "synced_at": int(state.synced_at) if state and state.synced_at else None,
            "compared_at": int(state.compared_at) if state and state.compared_at else None,
            "last_sync": state.report if state else {},
            "lookups": {kind: len(state.lookups.get(kind, [])) if state else 0 for kind in LOOKUPS},
        }

    def lookups(self) -> Lookups:
        """As the last sync found them."""
        with self._database.read() as session:
            state = session.get(LibraryState, 1)
            return Lookups.of(state.lookups) if state else Lookups()

    def document(self, number: int) -> PaperlessDocument:
        """Raises NotFound."""
        with self._database.read() as session:
            found = session.get(LibraryDocument, number)
        if found is None:
            raise NotFound(f"The library has no document {number}.", hint="Sync the library, then try again.")
        return read_document(json.loads(found.wire), self.lookups())

    def tags(self, number: int) -> list[str]:
        """A document's tags; none when it is not here."""
        try:
            return self.document(number).tags
        except NotFound:
            return []

    def documents(
        self,
        *,
        tags: Sequence[str] = (),
        document_types: Sequence[str] = (),
        correspondents: Sequence[str] = (),
        storage_paths: Sequence[str] = (),
        since: date | None = None,
        until: date | None = None,
        custom_field_query: Sequence[Any] | None = None,
    ) -> Iterator[PaperlessDocument]:
        """As `PaperlessClient.documents`: the same arguments select the same documents, in order of id.

        A `custom_field_query` is asked of the server, which answers with ids only; texts come from here.
        Raises PaperlessError for names that are not there.
        """
        lookups = self.lookups()
        wanted_tags = set(lookups.ids("tags", tags))
        query = select(LibraryDocument.id, LibraryDocument.wire)
        for column, kind, names in (
            (LibraryDocument.document_type, "document_types", document_types),
            (LibraryDocument.correspondent, "correspondents", correspondents),
            (LibraryDocument.storage_path, "storage_paths", storage_paths),
        ):
            if names:
                query = query.where(column.in_(lookups.ids(kind, names)))
        if since:
            query = query.where(LibraryDocument.created >= since.isoformat())
        if until:
            query = query.where(LibraryDocument.created <= until.isoformat())
        allowed = None
        if custom_field_query is not None:
            query_of_ids = checked_query(custom_field_query, lookups)
            with connect(self._settings) as client:
                allowed = client.ids(custom_field_query=query_of_ids)
        for wire in self._stream(query, allowed):
            if wanted_tags <= set(wire.get("tags") or []):
                yield read_document(wire, lookups)

    def _stream(self, query: Any, allowed: Collection[int] | None) -> Iterator[dict[str, Any]]:
        last = -1
        while True:
            page = query.where(LibraryDocument.id > last).order_by(LibraryDocument.id).limit(BATCH)
            with self._database.read() as session:
                rows = session.execute(page).all()
            for row in rows:
                if allowed is None or row.id in allowed:
                    yield json.loads(row.wire)
            if len(rows) < BATCH:
                return
            last = rows[-1].id
