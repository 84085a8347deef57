"""Client of Paperless-ngx's REST API, version 9: lookups, documents by filters that cannot be misspelt, single writes.

Paperless silently ignores filters it does not know, so a typo would export the whole library. Therefore filters
are arguments with names, names are turned into ids first, and every page is checked for order and completeness.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypedDict, Unpack

from tunesmith_connectors.paperless_query import checked_query
from tunesmith_connectors.paperless_values import (
    LOOKUPS,
    CustomField,
    Lookups,
    Money,
    PaperlessDocument,
    PaperlessError,
    read_document,
)
from tunesmith_connectors.paperless_wire import API_VERSION, PaperlessRefused, PaperlessUnavailable, Wire

__all__ = [
    "API_VERSION",
    "CustomField",
    "Lookups",
    "Money",
    "PaperlessClient",
    "PaperlessDocument",
    "PaperlessError",
    "PaperlessRefused",
    "PaperlessUnavailable",
    "WirePage",
    "checked_query",
    "moment",
]

LOOKUP_PAGE = 1000
ID_PAGE = 100_000  # the most that Paperless takes
_FIELDS = (
    "id,title,content,created,added,modified,correspondent,document_type,storage_path,tags,custom_fields,"
    "original_file_name"
)
WRITABLE = ("title", "created", "correspondent", "document_type", "storage_path")


@dataclass(frozen=True)
class WirePage:
    """A complete page of documents in wire form. Everything modified before `upto` (UTC) has been seen with it."""

    documents: list[dict[str, Any]]
    upto: str


class Filters(TypedDict, total=False):
    """Which documents. Tags must all be there; of the other lists, one. Dates are inclusive and mean `created`.

    Names that are not there raise PaperlessError listing those that are.
    """

    tags: Sequence[str]
    document_types: Sequence[str]
    correspondents: Sequence[str]
    storage_paths: Sequence[str]
    since: date | None
    until: date | None
    modified_since: datetime | None
    custom_field_query: Sequence[Any] | None


class PaperlessClient(Wire):
    """Reads from and writes to one Paperless."""

    _lookups: Lookups | None = None

    # -- lookups ------------------------------------------------------------------------------------------------

    def lookups(self, *, refresh: bool = False) -> Lookups:
        """Tags, correspondents, document types, storage paths, custom fields; fetched once, or again with `refresh`.

        A lookup that the token may not list stays empty.
        """
        if self._lookups is None or refresh:
            self._lookups = Lookups.of(self.wire_lookups())
        return self._lookups

    def wire_lookups(self) -> dict[str, list[dict[str, Any]]]:
        """The lookups as the API lists them, by kind."""
        found: dict[str, list[dict[str, Any]]] = {}
        for kind in LOOKUPS:
            try:
                results = list(self._pages(f"{kind}/", {"page_size": LOOKUP_PAGE, "ordering": "id"}))
                Lookups().add(kind, results)
                found[kind] = results
            except PaperlessRefused as error:
                if error.code != "forbidden":
                    raise
                found[kind] = []
            except (KeyError, TypeError, ValueError) as error:
                raise self._nonsense(f"{kind}/", repr(error)) from error
        return found

    # -- documents ----------------------------------------------------------------------------------------------

    def documents(self, *, page_size: int = 100, **filters: Unpack[Filters]) -> Iterator[PaperlessDocument]:
        """Documents in order of id, one page in memory at a time."""
        parameters = {"page_size": page_size, "ordering": "id", "fields": _FIELDS, **self._parameters(filters)}
        lookups = self.lookups()
        last = 0
        for wire in self._pages("documents/", parameters):
            document = self._read(wire, lookups)
            if document.id > last:  # a document that was added or deleted meanwhile may shift a page
                last = document.id
                yield document

    def count(self, **filters: Unpack[Filters]) -> int:
        """How many documents there are; none is fetched."""
        answer = self._get("documents/", {"page_size": 1, "fields": "id", **self._parameters(filters)})
        if not isinstance(answer.get("count"), int):
            raise self._nonsense("documents/", f"keys {sorted(answer)[:6]}")
        return int(answer["count"])

    def document(self, number: int) -> PaperlessDocument:
        """One document by id. Raises PaperlessRefused with code "not_found"."""
        return self._read(self.wire_document(number), self.lookups())

    def wire_document(self, number: int) -> dict[str, Any]:
        return self._get(f"documents/{int(number)}/", {"fields": _FIELDS})

    def check(self) -> int:
        """How many documents the token may see. Raises PaperlessError with a hint when something is wrong."""
        return int(self._get("documents/", {"page_size": 1, "fields": "id"}).get("count", 0))

    def _parameters(self, filters: Filters) -> dict[str, Any]:
        """Query parameters, with names turned into ids by lookups that are fetched anew: renames change no document.

        Raises TypeError for a filter that is not in the closed list: Paperless would ignore it and give everything.
        """
        unknown = sorted(set(filters) - set(Filters.__annotations__))
        if unknown:
            raise TypeError(f"there is no filter {unknown[0]!r}")
        lookups = self.lookups(refresh=True)
        parameters: dict[str, Any] = {}
        lists = (
            ("tags", "tags__id__all", filters.get("tags")),
            ("document_types", "document_type__id__in", filters.get("document_types")),
            ("correspondents", "correspondent__id__in", filters.get("correspondents")),
            ("storage_paths", "storage_path__id__in", filters.get("storage_paths")),
        )
        for kind, parameter, names in lists:
            if names:
                parameters[parameter] = ",".join(map(str, lookups.ids(kind, names)))
        moments = (
            ("created__date__gte", filters.get("since")),
            ("created__date__lte", filters.get("until")),
            ("modified__gte", filters.get("modified_since")),
        )
        parameters.update({parameter: moment.isoformat() for parameter, moment in moments if moment})
        query = filters.get("custom_field_query")
        if query is not None:
            parameters["custom_field_query"] = json.dumps(checked_query(query, lookups))
        return parameters

    # -- for a mirror -------------------------------------------------------------------------------------------

    def changes(self, since: str | None = None, page_size: int = 200) -> Iterator[WirePage]:
        """Documents modified at or after `since` (ISO, with a zone) in the order of their modification, whole pages.

        A page begins where the one before ended, not at a page number: a document that is modified or deleted
        meanwhile cannot push another one over the edge. What shares its moment with the edge comes twice.
        """
        at, page = since, 1
        while True:
            asked: dict[str, Any] = {"page_size": page_size, "page": page, "ordering": "modified,id", "fields": _FIELDS}
            if at is not None:
                asked["modified__gte"] = at
            try:
                results, more = self._page("documents/", asked)
            except PaperlessRefused as error:
                if error.status == 404 and page > 1:  # this page has gone while the one before was read
                    return
                raise
            if not results:
                return
            upto = max(map(self._checked, results))
            if at is not None and upto < at:
                raise self._nonsense("documents/", "documents that are not in the order of their modification")
            yield WirePage(results, upto)
            if not more:
                return
            at, page = (at, page + 1) if upto == at else (upto, 1)

    def ids(self, *, custom_field_query: Sequence[Any] | None = None) -> set[int]:
        """Ids of the documents that the token may see, all or those that the server finds by the query."""
        asked: dict[str, Any] = {"page_size": ID_PAGE, "ordering": "id", "fields": "id"}
        if custom_field_query is not None:
            asked["custom_field_query"] = json.dumps(custom_field_query)
        try:
            return {int(wire["id"]) for wire in self._pages("documents/", asked)}
        except (KeyError, TypeError, ValueError) as error:
            raise self._nonsense("documents/", repr(error)) from error

    def wire_documents(self, numbers: Iterable[int], page_size: int = 200) -> Iterator[list[dict[str, Any]]]:
        """These documents in wire form, as many as are still there, in lists of at most `page_size`."""
        wanted = sorted(numbers)
        for start in range(0, len(wanted), page_size):
            some = ",".join(map(str, wanted[start : start + page_size]))
            asked = {"page_size": page_size, "ordering": "id", "fields": _FIELDS, "id__in": some}
            results, _ = self._page("documents/", asked)
            for wire in results:
                self._checked(wire)
            yield results

    # -- writes -------------------------------------------------------------------------------------------------

    def set_custom_fields(self, number: int, values: Mapping[int, Any]) -> None:
        """Set these custom fields (id → wire value) and no other: a PATCH would replace the whole list."""
        parameters = {"add_custom_fields": {str(k): v for k, v in values.items()}, "remove_custom_fields": []}
        body = {"documents": [int(number)], "method": "modify_custom_fields", "parameters": parameters}
        self._call("POST", "documents/bulk_edit/", json=body)

    def update(self, number: int, values: Mapping[str, Any]) -> None:
        """Set built-in fields (see WRITABLE) to wire values: ids, or `created` as YYYY-MM-DD."""
        wrong = sorted(set(values) - set(WRITABLE))
        if wrong:
            raise ValueError(f"{wrong[0]} is not written by PATCH")
        self._call("PATCH", f"documents/{int(number)}/", json=dict(values))

    def create(self, kind: str, name: str) -> int:
        """A new correspondent or document type that matches nothing by itself; its id."""
        made = self._call("POST", f"{kind}/", json={"name": name, "matching_algorithm": 0})
        self._lookups = None
        return int(made["id"])

    def _checked(self, wire: dict[str, Any]) -> str:
        """When the document was modified, if it can be read at all."""
        self._read(wire, Lookups())
        try:
            return moment(wire["modified"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._nonsense("documents/", repr(error)) from error

    def _read(self, wire: dict[str, Any], lookups: Lookups) -> PaperlessDocument:
        try:
            return read_document(wire, lookups)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._nonsense("documents/", repr(error)) from error


def moment(told: str) -> str:
    """A moment of the API in UTC with microseconds, so that moments compare as text. Raises ValueError."""
    return datetime.fromisoformat(told).astimezone(UTC).isoformat(timespec="microseconds")
