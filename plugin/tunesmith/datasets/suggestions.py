"""What models suggested for documents, and what people made of it: corrected rows and preference pairs.

Nothing is counted: a verdict is read off three values of a field (what was there, what the model said, what is there
now), so that a sync may see the same change any number of times.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from math import inf
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from tunesmith.datasets import sources
from tunesmith.store.artifacts import new_id
from tunesmith.store.database import Database
from tunesmith.store.tables import Suggestion
from tunesmith.tasks.document import Document
from tunesmith_connectors.paperless import Lookups, Money, PaperlessDocument
from tunesmith_connectors.paperless_values import read_document

BUILT_IN = {
    "type": "document_type",
    "document_type": "document_type",
    "date": "created",
    "created": "created",
    "correspondent": "correspondent",
    "title": "title",
    "storage_path": "storage_path",
}
DAY = 86400.0
Verdict = Literal["corrected", "confirmed"]


@dataclass(frozen=True)
class Preference:
    """For one document the answer that people made of it, and the one that the model gave. Both are field → value."""

    document: Document
    rejected: Document
    suggestion: str


def place_of(name: str, fields: Mapping[str, str], lookups: Lookups) -> str | None:
    """Where a task's field lies in Paperless: as the recipe maps it, else a built-in field or the custom field of its
    name; `amount` may be the only monetary one. None when it lies nowhere."""
    by_name = {f.name.casefold(): f.name for f in lookups.custom_fields.values()}
    where = fields.get(name, name)
    if where in BUILT_IN:
        return BUILT_IN[where]
    custom = where.removeprefix("custom_field/").casefold()
    if custom in by_name:
        return f"custom_field/{by_name[custom]}"
    money = [f.name for f in lookups.custom_fields.values() if f.data_type == "monetary"]
    return f"custom_field/{money[0]}" if name == "amount" and name not in fields and len(money) == 1 else None


def labelled(answer: Mapping[str, Any], places: Mapping[str, str], lookups: Lookups) -> dict[str, Any]:
    """The answer with labels in place of the ids of options, which the preset paperless_gpt answers with."""
    options = {f"custom_field/{f.name}": f.options for f in lookups.custom_fields.values() if f.options}
    return {n: options.get(places.get(n, ""), {}).get(str(said), said) for n, said in answer.items()}


def values_at(found: PaperlessDocument, places: Mapping[str, str]) -> dict[str, Any]:
    """Field → the value that the document has there, JSON-able: amounts `0.00`, dates ISO, names, None."""
    values = sources.to_document(found, places).values
    return {name: plain(values.get(name)) for name in places}


def plain(value: Any) -> Any:
    if isinstance(value, Money):
        value = value.amount
    if isinstance(value, Decimal):
        return f"{value:.2f}"
    return value.isoformat() if isinstance(value, date) else value


def same(one: Any, other: Any) -> bool:
    """Equal, or equal but for white space, case and the way a number is written. Nothing equals only nothing."""
    if one in (None, "") or other in (None, ""):
        return one in (None, "") and other in (None, "")
    if isinstance(one, bool) or isinstance(other, bool) or isinstance(one, list) or isinstance(other, list):
        return bool(one == other)
    try:
        return Decimal(str(one)) == Decimal(str(other))
    except InvalidOperation:
        return " ".join(str(one).split()).casefold() == " ".join(str(other).split()).casefold()


# -- keeping ----------------------------------------------------------------------------------------------------


def keep(
    session: Session,
    found: PaperlessDocument,
    *,
    model: str,
    version: str,
    answer: Mapping[str, Any],
    places: Mapping[str, str],
) -> Suggestion:
    """Store an answer, or give the one that this version gave for this text before."""
    known = latest(session, found, model=model, version=version)
    if known is not None and known.text == found.content and known.answer == dict(answer):
        return known
    values = values_at(found, places)
    suggestion = Suggestion(
        id=new_id("sug"),
        document=found.id,
        added=_added(found),
        model=model,
        version=version,
        text=found.content,
        group=f"correspondent:{found.correspondent_id}" if found.correspondent_id else "",
        answer=dict(answer),
        places=dict(places),
        before=values,
        current=values,
        written={},
        created_at=time.time(),
    )
    session.add(suggestion)
    return suggestion


def latest(session: Session, found: PaperlessDocument, *, model: str, version: str) -> Suggestion | None:
    """What this version of a model said last of this document."""
    query = (
        select(Suggestion)
        .where(Suggestion.document == found.id, Suggestion.added == _added(found))
        .where(Suggestion.model == model, Suggestion.version == version)
    )
    return session.scalars(query.order_by(Suggestion.created_at.desc(), Suggestion.id.desc())).first()


def of_document(session: Session, found: PaperlessDocument) -> list[Suggestion]:
    """All that was ever suggested for it, oldest first."""
    query = select(Suggestion).where(Suggestion.document == found.id, Suggestion.added == _added(found))
    return list(session.scalars(query.order_by(Suggestion.created_at, Suggestion.id)))


def wrote(session: Session, found: PaperlessDocument, suggestion_id: str, values: Mapping[str, Any]) -> None:
    """Remember that we set these fields, so that nobody takes our own write for a person's."""
    own = session.get_one(Suggestion, suggestion_id)
    own.written = {**own.written, **values}
    set_places = {own.places[name]: value for name, value in values.items()}
    for suggestion in of_document(session, found):
        moved = {n: set_places[place] for n, place in suggestion.places.items() if place in set_places}
        suggestion.before = {**suggestion.before, **moved}
        suggestion.current = {**suggestion.current, **moved}


def observe(session: Session, wires: Sequence[Mapping[str, Any]], lookups: Lookups) -> int:
    """Note the present values of documents that something was suggested for; how many suggestions people moved."""
    by_id = {int(wire["id"]): wire for wire in wires}
    moved = 0
    for suggestion in session.scalars(select(Suggestion).where(Suggestion.document.in_(by_id))):
        found = read_document(by_id[suggestion.document], lookups)
        if _added(found) != suggestion.added:
            continue
        current = values_at(found, suggestion.places)
        if current != suggestion.current:
            suggestion.current = current
            moved += bool(verdicts(suggestion))
    return moved


# -- judging ----------------------------------------------------------------------------------------------------


def verdicts(suggestion: Suggestion, confirmed_after: float | None = None) -> dict[str, Verdict]:
    """Field → what a person made of it; a field that nobody judged is absent.

    A value that we wrote and nobody changed for `confirmed_after` seconds counts as confirmed.
    """
    found: dict[str, Verdict] = {}
    age = time.time() - suggestion.created_at
    for name, said in suggestion.answer.items():
        if name not in suggestion.places or suggestion.written.get(name, "") is None:
            continue
        now = suggestion.current.get(name)
        if not same(now, suggestion.before.get(name)):
            found[name] = "confirmed" if same(now, said) else "corrected"
        elif name in suggestion.written and same(now, said) and age >= (confirmed_after or inf):
            found[name] = "confirmed"
    return found


def corrections(
    database: Database,
    model: str,
    *,
    weight: float = 3.0,
    confirmed_after_days: float | None = 14.0,
    tags: Callable[[int], list[str]] = lambda _: [],
) -> Iterator[Document]:
    """One document for each that a person judged the model's answer to: the newest answer that was judged.

    Its values are what people left there. `weight` is for corrected ones; those only confirmed count once.
    `tags` tells a document's tags, so that a held-out one stays held out.
    """
    shown: set[tuple[int, str]] = set()
    after = None if confirmed_after_days is None else confirmed_after_days * DAY
    for suggestion in _of_model(database, model):
        judged = verdicts(suggestion, after)
        key = (suggestion.document, suggestion.added)
        if key in shown or not judged:
            continue
        shown.add(key)
        found = _document(suggestion, judged, weight if "corrected" in judged.values() else 1.0)
        found.tags = tags(suggestion.document)
        yield found


def preferences(database: Database, model: str) -> Iterator[Preference]:
    """One pair for each answer that a person corrected."""
    shown: set[tuple[int, str, str]] = set()
    for suggestion in _of_model(database, model):
        judged = verdicts(suggestion)
        key = (suggestion.document, suggestion.added, repr(sorted(suggestion.answer.items())))
        if "corrected" not in judged.values() or key in shown:
            continue
        shown.add(key)
        better = _document(suggestion, judged, 1.0)
        yield Preference(better, _with(better, suggestion.answer), suggestion.id)


def _of_model(database: Database, model: str) -> Iterator[Suggestion]:
    """Newest first, a few in memory at a time."""
    newest = Suggestion.created_at.desc(), Suggestion.id.desc()
    with database.read() as session:
        query = select(Suggestion).where(Suggestion.model == model).order_by(*newest)
        yield from session.scalars(query.execution_options(yield_per=100))


def _document(suggestion: Suggestion, judged: Mapping[str, Verdict], weight: float) -> Document:
    values: dict[str, Any] = dict(suggestion.answer)
    for name in suggestion.places:
        now = suggestion.current.get(name)
        if (name in judged or now not in (None, "")) and not same(now, values[name]):
            values[name] = now
    corrected = sorted(name for name, verdict in judged.items() if verdict == "corrected")
    return Document(
        id=str(suggestion.document),
        text=suggestion.text,
        values=values,
        group=suggestion.group,
        provenance={
            "source": "corrections",
            "suggestion": suggestion.id,
            "model": f"{suggestion.model}:{suggestion.version}",
            "weight": weight,
            "corrected": corrected,
            "suggested": {name: suggestion.answer[name] for name in corrected},
        },
        weight=weight,
    )


def _with(document: Document, values: Mapping[str, Any]) -> Document:
    return Document(document.id, document.text, dict(values), document.group, document.tags, document.provenance)


def _added(found: PaperlessDocument) -> str:
    return found.added.isoformat() if found.added else ""


def day(said: Any) -> str:
    """An ISO date. Raises ValueError."""
    return date.fromisoformat(str(said)).isoformat()
