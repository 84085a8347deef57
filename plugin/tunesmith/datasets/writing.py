"""Writing a suggestion back into Paperless: only named fields, never over a value that somebody else put there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.datasets import suggestions
from tunesmith.datasets.suggestions import same, values_at
from tunesmith.errors import BadInput
from tunesmith.store.database import Database
from tunesmith.store.tables import Suggestion
from tunesmith_connectors.paperless import Lookups, PaperlessClient, PaperlessDocument, PaperlessError

_LOOKUP_OF = {
    "correspondent": "correspondents",
    "document_type": "document_types",
    "storage_path": "storage_paths",
}

_ABSENT = object()


@dataclass
class Written:
    """`fields`: field → value as written; `kept`: field → why nothing was written."""

    fields: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


def write_back(
    database: Database,
    client: PaperlessClient,
    suggestion: Suggestion,
    wanted: Sequence[str],
    *,
    create: bool = False,
    dry_run: bool = False,
) -> Written:
    """Write the suggested values of these fields. `create`: a correspondent or type that is not there is made.

    A value that is there stays, unless it is what we wrote and nobody changed; a value of ours that a person took
    away is not put back. Raises BadInput for a field that the suggestion has not, PaperlessError when Paperless is
    away: then what was written until then is remembered.
    """
    for name in wanted:
        if name not in suggestion.answer:
            raise BadInput(
                f"The model does not answer a field {name!r}.",
                param="write",
                hint=f"Fields: {', '.join(suggestion.answer)}.",
            )
    found, lookups = client.document(suggestion.document), client.lookups(refresh=True)
    result = Written()
    with database.read() as session:
        earlier = suggestions.of_document(session, found)
    for name in dict.fromkeys(wanted):
        if _finished_unnoticed(suggestion, name, found) and not dry_run:
            with database.write() as session:
                suggestions.wrote(session, found, suggestion.id, {name: suggestion.answer[name]})
            result.fields[name] = suggestion.answer[name]
            continue
        why = _reason_to_keep(suggestion, name, found, earlier)
        if why:
            result.kept[name] = why
            continue
        try:
            place, said = suggestion.places[name], suggestion.answer[name]
            wire = _wire_value(place, said, lookups)
            if isinstance(wire, list) and found.id in wire:
                raise ValueError("A document does not link to itself")  # Paperless drops the whole value, silently
            if wire is _ABSENT:
                wire = _made(client, place, said, create, dry_run)
        except (ValueError, PaperlessError) as error:
            if isinstance(error, PaperlessError) and error.retryable:
                raise
            result.kept[name] = f"{error} {error.hint}" if isinstance(error, PaperlessError) else f"{error}."
            continue
        if not dry_run:
            refused = _write(database, client, suggestion, name, found, wire)
            if refused:
                result.kept[name] = refused
                continue
        result.fields[name] = suggestion.answer[name]
    return result


def _finished_unnoticed(suggestion: Suggestion, name: str, found: PaperlessDocument) -> bool:
    """Whether a write that was under way when something stopped did arrive."""
    if suggestion.written.get(name, "") is not None:
        return False
    return same(values_at(found, {name: suggestion.places[name]})[name], suggestion.answer[name])


def _reason_to_keep(
    suggestion: Suggestion, name: str, found: PaperlessDocument, earlier: Sequence[Suggestion]
) -> str | None:
    said, place = suggestion.answer[name], suggestion.places.get(name)
    if place is None:
        return "It lies nowhere in Paperless: map it in the recipe's fields."
    if place == "title":
        return "Every document has a title already."
    if said in (None, ""):
        return "The model found no value."
    now = values_at(found, {name: place})[name]
    ours = [s.written[n] for s in earlier for n, where in s.places.items() if where == place and s.written.get(n)]
    if now in (None, ""):
        return "A person took our value away." if ours else None
    if same(now, said):
        return "It has this value already."
    return None if ours and same(now, ours[-1]) else "It has a value already."


def _wire_value(place: str, said: Any, lookups: Lookups) -> Any:
    """`_ABSENT` for a name that is not there. Raises ValueError or PaperlessError for what cannot be."""
    if place in _LOOKUP_OF:
        known: dict[int, str] = getattr(lookups, _LOOKUP_OF[place])
        return next((i for i, name in known.items() if same(name, said)), _ABSENT)
    if place == "created":
        return suggestions.day(said)
    number = lookups.ids("custom_fields", [place.removeprefix("custom_field/")])[0]
    try:
        return lookups.custom_fields[number].to_wire(said)
    except TypeError as error:
        raise ValueError(f"{said!r} is no {lookups.custom_fields[number].data_type}") from error


def _made(client: PaperlessClient, place: str, said: Any, create: bool, dry_run: bool) -> int | None:
    """The id of a new correspondent or type, when making one was asked for."""
    if not create or place == "storage_path":  # a new one would need a path, and would move files
        raise ValueError(f"Paperless has no {place.replace('_', ' ')} called {said!r}")
    return None if dry_run else client.create(_LOOKUP_OF[place], str(said))


def _write(
    database: Database, client: PaperlessClient, suggestion: Suggestion, name: str, found: PaperlessDocument, wire: Any
) -> str | None:
    """Write one field; why it was refused. What is under way is noted first: a crash in between must not make our own
    write look like a person's."""
    with database.write() as session:
        own = session.get_one(Suggestion, suggestion.id)
        before = own.written
        own.written = {**own.written, name: None}
    place = suggestion.places[name]
    try:
        if place.startswith("custom_field/"):
            lookups = client.lookups()
            number = lookups.ids("custom_fields", [place.removeprefix("custom_field/")])[0]
            client.set_custom_fields(found.id, {number: wire})
        else:
            client.update(found.id, {place: wire})
    except PaperlessError as error:
        if error.retryable:  # it may have been written; the note stays until the next try
            raise
        with database.write() as session:
            session.get_one(Suggestion, suggestion.id).written = before
        return error.message
    with database.write() as session:
        suggestions.wrote(session, found, suggestion.id, {name: suggestion.answer[name]})
    return None
