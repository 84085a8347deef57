"""Client of Paperless-ngx's REST API, version 9: lookups, and documents by filters that cannot be misspelt.

Paperless silently ignores filters it does not know, so a typo would export the whole library. Therefore filters
are arguments with names, names are turned into ids first, and every page is checked for order and completeness.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from types import TracebackType
from typing import Any, Self

import httpx

from tunesmith_connectors.paperless_values import (
    LOOKUPS,
    CustomField,
    Lookups,
    Money,
    PaperlessDocument,
    PaperlessError,
    read_document,
)

__all__ = [
    "CustomField",
    "Lookups",
    "Money",
    "PaperlessClient",
    "PaperlessDocument",
    "PaperlessError",
    "PaperlessRefused",
    "PaperlessUnavailable",
]

API_VERSION = 9
LOOKUP_PAGE = 1000
_FIELDS = (
    "id,title,content,created,added,modified,correspondent,document_type,storage_path,tags,custom_fields,"
    "original_file_name"
)
_OPERATORS: dict[str, set[str]] = {
    "basic": {"exact", "in", "isnull", "exists"},
    "string": {"icontains", "istartswith", "iendswith"},
    "arithmetic": {"gt", "gte", "lt", "lte", "range"},
    "containment": {"contains"},
}
_BY_TYPE: dict[str, tuple[str, ...]] = {
    "string": ("basic", "string"),
    "longtext": ("basic", "string"),
    "url": ("basic", "string"),
    "date": ("basic", "arithmetic"),
    "boolean": ("basic",),
    "integer": ("basic", "arithmetic"),
    "float": ("basic", "arithmetic"),
    "monetary": ("basic", "string", "arithmetic"),
    "documentlink": ("basic", "containment"),
    "select": ("basic",),
}


class PaperlessUnavailable(PaperlessError):
    """Paperless does not answer, or answers nonsense."""


class PaperlessRefused(PaperlessError):
    """Paperless answers, and says no."""


class PaperlessClient:
    """Reads from one Paperless. Close it, or use it as a context manager.

    `transport` replaces the network in tests; `sleep` is called with seconds between tries.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 60.0,
        tries: int = 5,
        sleep: Callable[[float], None] | None = None,
    ):
        self._http = httpx.Client(
            base_url=url.rstrip("/") + "/api/",
            headers={"Authorization": f"Token {token}", "Accept": f"application/json; version={API_VERSION}"},
            timeout=timeout,
            transport=transport,
            follow_redirects=False,  # a token never follows to another host
        )
        self._tries = tries
        self._sleep = sleep or time.sleep
        self._lookups: Lookups | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # -- lookups ------------------------------------------------------------------------------------------------

    def lookups(self, *, refresh: bool = False) -> Lookups:
        """Tags, correspondents, document types, storage paths, custom fields; fetched once, or again with `refresh`.

        A lookup that the token may not list stays empty.
        """
        if self._lookups is None or refresh:
            found = Lookups()
            for kind in LOOKUPS:
                try:
                    found.add(kind, list(self._pages(f"{kind}/", {"page_size": LOOKUP_PAGE, "ordering": "id"})))
                except PaperlessRefused as error:
                    if error.code != "forbidden":
                        raise
                except (KeyError, TypeError, ValueError) as error:
                    raise self._nonsense(f"{kind}/", repr(error)) from error
            self._lookups = found
        return self._lookups

    # -- documents ----------------------------------------------------------------------------------------------

    def documents(
        self,
        *,
        tags: Sequence[str] = (),
        document_types: Sequence[str] = (),
        correspondents: Sequence[str] = (),
        storage_paths: Sequence[str] = (),
        since: date | None = None,
        until: date | None = None,
        modified_since: datetime | None = None,
        custom_field_query: Sequence[Any] | None = None,
        page_size: int = 100,
    ) -> Iterator[PaperlessDocument]:
        """Documents in order of id, one page in memory at a time.

        Tags must all be there; of the other lists, one. Dates are inclusive and mean `created`. Names that are not
        there raise PaperlessError listing those that are. Lookups are fetched anew, since renames change no document.
        """
        filters = self._filters(
            tags, document_types, correspondents, storage_paths, since, until, modified_since, custom_field_query
        )
        parameters = {"page_size": page_size, "ordering": "id", "fields": _FIELDS, **filters}
        lookups = self.lookups()
        last = 0
        for wire in self._pages("documents/", parameters):
            try:
                document = read_document(wire, lookups)
            except (KeyError, TypeError, ValueError) as error:
                raise self._nonsense("documents/", repr(error)) from error
            if document.id > last:  # a document that was added or deleted meanwhile may shift a page
                last = document.id
                yield document

    def count(
        self,
        *,
        tags: Sequence[str] = (),
        document_types: Sequence[str] = (),
        correspondents: Sequence[str] = (),
        storage_paths: Sequence[str] = (),
        since: date | None = None,
        until: date | None = None,
        modified_since: datetime | None = None,
        custom_field_query: Sequence[Any] | None = None,
    ) -> int:
        """How many documents there are, by the filters of `documents`; none is fetched."""
        filters = self._filters(
            tags, document_types, correspondents, storage_paths, since, until, modified_since, custom_field_query
        )
        answer = self._get("documents/", {"page_size": 1, "fields": "id", **filters})
        if not isinstance(answer.get("count"), int):
            raise self._nonsense("documents/", f"keys {sorted(answer)[:6]}")
        return int(answer["count"])

    def document(self, number: int) -> PaperlessDocument:
        """One document by id. Raises PaperlessRefused with code "not_found"."""
        wire = self._get(f"documents/{int(number)}/", {})
        try:
            return read_document(wire, self.lookups())
        except (KeyError, TypeError, ValueError) as error:
            raise self._nonsense("documents/", repr(error)) from error

    def check(self) -> int:
        """How many documents the token may see. Raises PaperlessError with a hint when something is wrong."""
        return int(self._get("documents/", {"page_size": 1, "fields": "id"}).get("count", 0))

    def _filters(
        self,
        tags: Sequence[str],
        document_types: Sequence[str],
        correspondents: Sequence[str],
        storage_paths: Sequence[str],
        since: date | None,
        until: date | None,
        modified_since: datetime | None,
        custom_field_query: Sequence[Any] | None,
    ) -> dict[str, Any]:
        """Query parameters, with names turned into ids by lookups that are fetched anew."""
        lookups = self.lookups(refresh=True)
        parameters: dict[str, Any] = {}
        lists = (
            ("tags", "tags__id__all", tags),
            ("document_types", "document_type__id__in", document_types),
            ("correspondents", "correspondent__id__in", correspondents),
            ("storage_paths", "storage_path__id__in", storage_paths),
        )
        for kind, parameter, names in lists:
            if names:
                parameters[parameter] = ",".join(map(str, lookups.ids(kind, names)))
        if since:
            parameters["created__date__gte"] = since.isoformat()
        if until:
            parameters["created__date__lte"] = until.isoformat()
        if modified_since:
            parameters["modified__gte"] = modified_since.isoformat()
        if custom_field_query is not None:
            check_query(custom_field_query, lookups)
            parameters["custom_field_query"] = json.dumps(custom_field_query)
        return parameters

    # -- the wire -----------------------------------------------------------------------------------------------

    def _pages(self, path: str, parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
        page = 1
        while True:
            answer = self._get(path, {**parameters, "page": page})
            results = answer.get("results")
            if not isinstance(results, list):
                raise self._nonsense(path, f"keys {sorted(answer)[:6]}")
            yield from results
            if not answer.get("next") or not results:
                return
            page += 1

    def _get(self, path: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = self._send(path, parameters)
        if answer.status_code != 200:
            raise self._refusal(answer)
        try:
            data = answer.json()
        except ValueError as error:
            raise self._nonsense(path, answer.text[:80]) from error
        if not isinstance(data, dict):
            raise self._nonsense(path, str(data)[:80])
        return data

    def _send(self, path: str, parameters: dict[str, Any]) -> httpx.Response:
        """GET with retries on 429, 5xx and broken connections."""
        wait = 0.5
        for left in reversed(range(self._tries)):
            try:
                answer = self._http.get(path, params=parameters)
            except httpx.TransportError as error:
                if not left:
                    raise PaperlessUnavailable(
                        f"Paperless at {self._http.base_url.host} does not answer: {error or type(error).__name__}.",
                        code="paperless_unreachable",
                        hint="Check TUNESMITH_PAPERLESS_URL, and that Paperless is running.",
                        retryable=True,
                    ) from error
            else:
                if answer.status_code != 429 and answer.status_code < 500:
                    return answer
                if not left:
                    return answer
                told = answer.headers.get("retry-after", "")
                wait = max(wait, min(float(told), 60.0)) if told.isdigit() else wait
            self._sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 (spreads retries; no secret)
            wait *= 2
        raise AssertionError("the last try returns or raises")

    def _refusal(self, answer: httpx.Response) -> PaperlessError:
        status = answer.status_code
        code, hint = {
            400: ("bad_query", "Paperless does not accept the query; its answer says which part."),
            401: ("unauthorized", "Make a token in Paperless (My Profile) and set TUNESMITH_PAPERLESS_TOKEN."),
            403: ("forbidden", "The token's user may not view this. Give it the permission in Paperless."),
            404: ("not_found", "TUNESMITH_PAPERLESS_URL must be Paperless' root, without /api, or the id is gone."),
            406: ("version_refused", f"This Paperless does not speak API version {API_VERSION}: use 2.16 to 3.x."),
        }.get(status, ("paperless_error", "Look into Paperless' log."))
        if 300 <= status < 400:
            code, hint = "redirected", f"Set TUNESMITH_PAPERLESS_URL to {answer.headers.get('location', '?')[:100]}."
        if status == 429 or status >= 500:
            return PaperlessUnavailable(
                f"Paperless answers {status}.", code="paperless_unavailable", hint=hint, retryable=True, status=status
            )
        return PaperlessRefused(f"Paperless answers {status}: {answer.text[:200]}", code=code, hint=hint, status=status)

    def _nonsense(self, path: str, seen: str) -> PaperlessUnavailable:
        return PaperlessUnavailable(
            f"{self._http.base_url.host} answers /api/{path} with something that is not Paperless': {seen}",
            code="not_paperless",
            hint="Check TUNESMITH_PAPERLESS_URL: a login page of a proxy in front of it answers like this.",
        )


def check_query(query: Any, lookups: Lookups, depth: int = 0) -> int:
    """Checks a `custom_field_query` as Paperless would; returns how many conditions it has.

    `["Total", "gt", 10]`, `["AND", [q, …]]`, `["OR", [q, …]]`, `["NOT", q]`. Raises PaperlessError naming the part.
    """

    def wrong(what: str) -> PaperlessError:
        return PaperlessError(
            f"custom_field_query: {what}",
            code="bad_query",
            hint='Write ["Field", "gt", 10], or ["AND", [[...], [...]]], ["OR", [...]], ["NOT", [...]].',
        )

    if depth > 9:
        raise wrong("nested deeper than 10.")
    if not isinstance(query, list | tuple) or len(query) not in (2, 3):
        raise wrong(f"{query!r} is neither a condition nor a combination.")
    if len(query) == 2:
        operator, inner = query
        if str(operator).upper() == "NOT":
            return check_query(inner, lookups, depth + 1)
        if str(operator).upper() not in ("AND", "OR") or not isinstance(inner, list | tuple) or not inner:
            raise wrong(f"{operator!r} is not AND, OR or NOT over a list.")
        count = sum(check_query(part, lookups, depth + 1) for part in inner)
        if count > 20:
            raise wrong("more than 20 conditions.")
        return count
    name, operator, _ = query
    number = name if isinstance(name, int) else lookups.ids("custom_fields", [str(name)])[0]
    custom = lookups.custom_fields.get(number)
    if custom is None:
        raise wrong(f"there is no custom field {name!r}.")
    allowed = set().union(*(_OPERATORS[group] for group in _BY_TYPE.get(custom.data_type, ("basic",))))
    if operator not in allowed:
        raise wrong(f"{operator!r} does not go with a {custom.data_type} field; use {', '.join(sorted(allowed))}.")
    return 1
