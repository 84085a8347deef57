"""Where examples come from: Paperless, an exported list of its documents, or a file of conversations."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from tunesmith import json_safely
from tunesmith.datasets.formats import FileReport, Reading, Refused, numbered_lines, open_file, parse_upload
from tunesmith.datasets.formats.hub import hub_records
from tunesmith.datasets.paperless_access import as_service_error, connect
from tunesmith.errors import BadInput
from tunesmith.settings import Settings
from tunesmith.tasks.conversation import Row
from tunesmith.tasks.document import Document, Value
from tunesmith.tasks.values import dates_in
from tunesmith_connectors.addresses import without_userinfo
from tunesmith_connectors.paperless import Lookups, PaperlessError
from tunesmith_connectors.paperless_values import LOOKUPS, Money, PaperlessDocument, read_document

_KEYS = (
    "tags",
    "document_types",
    "correspondents",
    "storage_paths",
    "since",
    "until",
    "custom_field_query",
    "fields",
    "limit",
)
_WIRE_HINT = 'First lines like {"kind": "tags", "results": [...]}, then documents as the API lists them.'
_BUILT_IN = ("type", "document_type", "date", "created", "correspondent", "title", "storage_path")


class Mirror(Protocol):
    """What stands in for the server: the library."""

    def lookups(self) -> Lookups: ...

    def documents(self, *_: Any, **query: Any) -> Iterator[PaperlessDocument]: ...


def documents(
    source: Mapping[str, Any], settings: Settings, files: Callable[[str], Path], library: Mirror | None = None
) -> Iterator[Document]:
    """Documents of `{"paperless": {tags, document_types, correspondents, storage_paths, since, until,
    custom_field_query, fields, limit}}` or of `{"documents": <file id>, "fields": {...}}`, a file in wire form.

    `fields` maps a field of the task to `created`, `correspondent`, `document_type`, `title`, `storage_path` or
    `custom_field/<name>`. Without it a field takes the custom field of the same name, and `amount` the only monetary
    one. With a `library`, which the caller has synced, Paperless' documents come from there.
    Raises BadInput for a wrong source, Unavailable when Paperless is away.
    """
    if "paperless" in source:
        yield from _from_paperless(source["paperless"], settings, library)
    elif "documents" in source:
        fields = _checked(source.get("fields") or {})
        for document in _wire_documents(files(str(source["documents"])), fields):
            yield to_document(document, fields)
    else:
        raise BadInput(
            f"A source of documents has the key paperless or documents, not {sorted(source)}.",
            param="sources",
            hint="Write - paperless: {tags: [finance]}.",
        )


def rows(source: Mapping[str, Any], files: Callable[[str], Path]) -> Iterator[Row]:
    """Rows of `{"file": <file id>}`: ShareGPT or OpenAI chat JSONL."""
    if "file" not in source:
        raise BadInput(f"A source of rows has the key file, not {sorted(source)}.", param="sources")
    yield from parse_upload(files(str(source["file"])))


def imported(path: Path, filename: str, mapping: Mapping[str, str] | None = None) -> Iterator[Row | Refused]:
    """Rows of a file in any form that is read, each with where it came from; what cannot be read is refused by line.

    Raises BadInput when nothing can be read, when rows are of two formats, or when columns mean nothing.
    """
    yield from _with_origin(open_file(path, filename, mapping), filename)


def from_hub(identifier: str, mapping: Mapping[str, str] | None = None) -> Iterator[Row | Refused]:
    """As `imported`, from `hf:owner/name` or `hf:owner/name:split`."""
    yield from _with_origin(Reading(hub_records(identifier), mapping=mapping, table=True, unit="Row"), identifier)


def _with_origin(reading: Reading, name: str) -> Iterator[Row | Refused]:
    for item in reading:
        if isinstance(item, Refused):
            yield item
            continue
        line, row = item
        assert reading.format is not None
        row.provenance = {**row.provenance, "file": name, "line": line, "format": reading.format.name}
        yield row


def _from_paperless(query: Any, settings: Settings, library: Mirror | None) -> Iterator[Document]:
    if not isinstance(query, Mapping):
        raise BadInput(f"paperless must be a mapping, not {query!r}.", param="sources.paperless")
    unknown = sorted(k for k in query if k not in _KEYS)
    if unknown:
        raise BadInput(
            f"A Paperless source has no key {unknown[0]!r}.",
            param="sources.paperless",
            hint=f"Use: {', '.join(_KEYS)}.",
        )
    fields = _checked(query.get("fields") or {})
    try:
        with connect(settings) if library is None else nullcontext(library) as place:
            _check_names(fields, place.lookups())
            for document in islice(place.documents(**_filters(query)), query.get("limit")):
                yield to_document(document, fields)
    except PaperlessError as error:
        raise as_service_error(error) from error


def count_changed(query: Mapping[str, Any], settings: Settings, since: datetime | None) -> int:
    """How many documents of a `paperless` source were added or changed since then. Asks twice, not five times: the
    caller has a next time. Raises BadInput, Unavailable.
    """
    with connect(settings, timeout=15.0, tries=2) as client:
        return client.count(**_filters(query), modified_since=since)


def _filters(query: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "tags": _names(query, "tags"),
        "document_types": _names(query, "document_types"),
        "correspondents": _names(query, "correspondents"),
        "storage_paths": _names(query, "storage_paths"),
        "since": _day(query, "since"),
        "until": _day(query, "until"),
        "custom_field_query": query.get("custom_field_query"),
    }


def validate_documents(path: Path) -> FileReport:
    """Reads a whole file of documents once. Raises BadInput naming the first wrong line."""
    count = longest = 0
    for document in _wire_documents(path, {}):
        count += 1
        longest = max(longest, len(document.content))
    if not count:
        raise BadInput("The file holds no documents.", code="empty_file", hint=_WIRE_HINT)
    return FileReport(rows=count, format="documents", system_prompts=0, longest=longest)


def _wire_documents(path: Path, fields: Mapping[str, str]) -> Iterator[PaperlessDocument]:
    lookups, checked = Lookups(), False
    for number, line in numbered_lines(path):
        try:
            data = json_safely.loads(line)
            if isinstance(data, dict) and data.get("kind") in LOOKUPS:
                lookups.add(data["kind"], data["results"])
                continue
            document = read_document(data, lookups)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise BadInput(
                f"Line {number} is neither a lookup nor a Paperless document: {repr(error)[:200]}.",
                code="bad_line",
                hint=_WIRE_HINT,
                param="file",
            ) from error
        if not checked:
            try:
                _check_names(fields, lookups)
            except PaperlessError as error:
                raise as_service_error(error) from error
            checked = True
        yield document


def to_document(found: PaperlessDocument, fields: Mapping[str, Any]) -> Document:
    """Labels by name, and by the mapping. `created` counts only where the text does not leave it to the scanner:
    Paperless sets it to the day of adding when it finds no date, and a date nobody can read teaches guessing."""
    created: date | None = found.created
    if created and found.added and created == found.added.date():
        iso = created.isoformat()
        created = created if any(m.value == iso for m in dates_in(found.content)) else None
    known: dict[str, Value] = {
        "type": found.document_type,
        "document_type": found.document_type,
        "date": created,
        "created": created,
        "correspondent": found.correspondent,
        "title": found.title,
        "storage_path": found.storage_path,
    }
    custom: dict[str, Value] = {n: v.amount if isinstance(v, Money) else v for n, v in found.custom_fields.items()}
    values: dict[str, Value] = {"filename": found.stored_name, **custom, **known}
    money = found.money()
    if "amount" not in {name.casefold() for name in values}:
        values["amount"] = next(iter(money.values())).amount if len(money) == 1 else None
    for field, where in fields.items():
        values[str(field)] = _mapped(str(where), known, custom)
    return Document(
        id=str(found.id),
        text=found.content,
        values=values,
        group=f"correspondent:{found.correspondent_id}" if found.correspondent_id else "",
        tags=found.tags,
        provenance={"source": "paperless", **({"problems": found.problems} if found.problems else {})},
    )


def _checked(fields: Any) -> Mapping[str, str]:
    """The mapping of task fields, if every place in it is one that documents have."""
    if not isinstance(fields, Mapping):
        raise BadInput(f"fields must be a mapping, not {fields!r}.", param="sources.fields")
    for where in fields.values():
        if str(where) not in _BUILT_IN and not str(where).startswith("custom_field/"):
            raise BadInput(
                f"A field cannot come from {where!r}.",
                param="sources.fields",
                hint=f"Use custom_field/<name> or one of {', '.join(_BUILT_IN)}.",
            )
    return fields


def _check_names(fields: Mapping[str, str], lookups: Lookups) -> None:
    """A custom field that is not there would make every value null."""
    names = [str(w).removeprefix("custom_field/") for w in fields.values() if str(w).startswith("custom_field/")]
    lookups.ids("custom_fields", names)


def _mapped(where: str, known: Mapping[str, Value], custom: Mapping[str, Value]) -> Value:
    if where in known:
        return known[where]
    name = where.removeprefix("custom_field/").casefold()
    return next((v for n, v in custom.items() if n.casefold() == name), None)


def _names(query: Mapping[str, Any], key: str) -> list[str]:
    value = query.get(key) or []
    return [value] if isinstance(value, str) else [str(v) for v in value]


def _day(query: Mapping[str, Any], key: str) -> date | None:
    value = query.get(key)
    if value is None or isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise BadInput(f"{key} is {value!r}, no date.", param=f"sources.paperless.{key}", hint="2023-01-31") from error


def check_paperless(settings: Settings) -> str:
    """A sentence on what this token may see. Raises Unavailable or BadInput with what to mend."""
    with connect(settings) as client:
        lookups = client.lookups()
    counts = ", ".join(f"{len(getattr(lookups, kind))} {kind.replace('_', ' ')}" for kind in LOOKUPS)
    return without_userinfo(f"{settings.paperless_url}: {counts}")
