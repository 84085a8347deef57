"""What training answers teach about an extraction: fields, JSON style, which values are copied from the document."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.tasks.grounding import WORDS, Cuts, Place, cut, resembles, shape
from tunesmith.tasks.schema import Field, Grounding, Kind
from tunesmith.tasks.style import Style, find_style, parse_object
from tunesmith.tasks.values import date_orders, mentions

COPIED = 0.97  # share of a field's training values that must come from their documents
REWORDED = 0.95  # the same for the loosest cut: what it leaves out has words that the document lacks
MOSTLY = 0.9  # the same without the values that recur
ALIGNED = 0.97  # share of copied values that begin (end) where a line begins (ends)
SHAPED = 0.97  # share of values that look like others
MAX_SHAPES = 16
ENOUGH = 16  # values seen before anything is concluded from them
# What never happened in so many values happens in at most 5 % of others (the rule of three); from fewer, nothing is
# made impossible: a null, a fraction, a longer text.
NEVER = 60
LOOK_AT = 1000  # samples, evenly spread, that grounding is measured on
MAX_KEYS = 40
MAX_CHOICES = 20
MAX_LITERALS, MAX_KNOWN, MAX_NEVER = 64, 256, 200
BESIDE = 20  # different values that a word must stand beside before it is held to be in none
MIN_SHARED = 0.95
STYLE_SHARE = 0.95
_NO_ALNUM = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Sample:
    """One training row: the document's text and the fields of the answer."""

    text: str
    fields: dict[str, Any]


def read_samples(pairs: Sequence[tuple[str, str]]) -> list[Sample] | None:
    """(document text, answer) pairs → samples; None unless ≥95 % of the answers are JSON objects that share a key."""
    fenced = any(answer.lstrip().startswith("```") for _, answer in pairs[:50])
    parsed = [(text, parse_object(answer, fenced)) for text, answer in pairs]
    samples = [Sample(text, fields) for text, fields in parsed if fields]
    keys = Counter(key for sample in samples for key in sample.fields)
    if not keys or len(keys) > MAX_KEYS or max(keys.values()) < MIN_SHARED * len(pairs):
        return None
    return samples


def key_order(samples: Sequence[Sample]) -> tuple[list[str], bool]:
    """Every key in the usual order, and whether ≥97 % of the answers keep to that order."""
    usual = Counter(tuple(sample.fields) for sample in samples).most_common()
    order: list[str] = []
    for keys, _ in usual:
        for index, key in enumerate(keys):
            if key not in order:
                before = [order.index(k) for k in keys[:index] if k in order]
                order.insert(max(before) + 1 if before else 0, key)
    kept = sum(count for keys, count in usual if list(keys) == [k for k in order if k in keys])
    return order, kept >= COPIED * len(samples)


def learn_fields(samples: Sequence[Sample], order: Sequence[str]) -> list[Field]:
    """Fields of a bare upload: kinds, nullability, choices, and how each is grounded."""
    fields = []
    for name in order:
        values = [s.fields[name] for s in samples if name in s.fields]
        given = [v for v in values if v is not None]
        kind, schema = _kind(given)
        field = Field(
            name,
            kind,
            nullable=len(given) < max(len(values), NEVER),
            optional=len(values) < len(samples),
            schema=schema,
        )
        fields.append(field)
    return ground(fields, samples)


def _kind(values: Sequence[Any]) -> tuple[Kind, dict[str, Any] | None]:
    types = {type(v) for v in values}
    if types == {str}:
        return "string", None
    if types == {bool}:
        return "boolean", None
    if types == {int} and len(values) >= NEVER:
        return "integer", None
    if types and types <= {int, float}:
        return "number", None
    if types in ({list}, {dict}):
        return "json", {"type": "array" if types == {list} else "object"}
    return "json", {}


def _choices(field: Field, samples: Sequence[Sample]) -> Field:
    """A text field that is not copied and has few values, each seen several times, is a choice between them."""
    values = [v for s in samples if (v := s.fields.get(field.name)) is not None]
    if field.kind != "string" or field.grounding != "free" or len(values) < ENOUGH:
        return field
    counts = Counter(values)
    if len(counts) <= MAX_CHOICES and min(counts.values()) >= 3 and len(values) >= 8 * len(counts):
        return replace(field, kind="enum", choices=tuple(sorted(counts)), max_length=None)
    return field


def ground(fields: Sequence[Field], samples: Sequence[Sample]) -> list[Field]:
    """The fields with their grounding, length bound and recurring exceptions, as up to LOOK_AT samples show them."""
    some = samples[:: max(1, len(samples) // LOOK_AT)]
    cuts: dict[str, list[Cuts]] = {}
    return [_choices(_ground(f, some, cuts), samples) for f in fields]


def _ground(field: Field, samples: Sequence[Sample], cuts: dict[str, list[Cuts]]) -> Field:
    """`cuts`: the samples' documents by cut, made once for all fields."""
    given = [i for i, s in enumerate(samples) if isinstance(s.fields.get(field.name), str)]
    pairs = [(samples[i].text, samples[i].fields[field.name]) for i in given]
    if field.kind not in ("string", "money", "date") or not pairs:
        return field
    longest = max(len(value) for _, value in pairs)
    room = max(16, 2 * longest) if len(pairs) >= NEVER else max(200, 4 * longest)
    field = replace(field, max_length=room, grounding="free", literals=(), known=(), never=(), shapes=())
    if len(pairs) < ENOUGH:
        return field
    if field.kind != "string":
        mentioned = [v in mentions(field.kind, text) for text, v in pairs]
        return _grounded(field, "values", pairs, mentioned) or field
    best: tuple[float, Field] | None = None
    for how in ("numbers", "pieces", "marks", "words"):
        if how not in cuts:
            cuts[how] = [Cuts(s.text, how) for s in samples]
        for lines in (False, True):
            places = [cuts[how][i].places(v, lines) for i, (_, v) in zip(given, pairs, strict=True)]
            admitted = [bool(p) for p in places]
            found = _grounded(_aligned(replace(field, lines=lines), places), how, pairs, admitted)
            share = sum(admitted) / len(admitted)
            # A looser cut must earn its place: at least 2 % more answers.
            if found and (best is None or share >= best[0] + 0.02):
                best = share, found
    if best is None:
        return field
    found = _with_shapes(best[1], [v for _, v in pairs])
    if not found.shapes:
        found = replace(found, never=_never(pairs, [cuts[found.grounding][i] for i in given]))
    return found


def _never(pairs: Sequence[tuple[str, str]], documents: Sequence[Cuts]) -> tuple[str, ...]:
    """Words that lines begin with, beside many different values and in none of them, such as TEL below an address.

    Different values count, not documents: a hundred bills of one company say nothing of the next company's name.
    """
    beside: dict[str, set[str]] = {}
    inside: set[str] = set()
    for (_, value), document in zip(pairs, documents, strict=True):
        inside.update(piece.text for piece in cut(value, document.how))
        for piece in document.pieces:
            if piece.starts_line and piece.text.isalpha():
                beside.setdefault(piece.text, set()).add(value)
    words = [word for word, values in beside.items() if len(values) >= BESIDE and word not in inside]
    return tuple(sorted(words, key=lambda word: (-len(beside[word]), word))[:MAX_NEVER])


def _aligned(field: Field, places: Sequence[Sequence[Place]]) -> Field:
    """Names and addresses usually are whole lines: then only what begins, or ends, with a line is a candidate."""
    found = [p for p in places if p]
    starts = sum(any(place.starts_line for place in p) for p in found) >= ALIGNED * len(found)
    if starts:
        found = [[place for place in p if place.starts_line] for p in found]
    ends = sum(any(place.ends_line for place in p) for p in found) >= ALIGNED * len(found)
    return replace(field, starts_line=starts, ends_line=ends)


def _with_shapes(field: Field, values: Sequence[str]) -> Field:
    """Numbers and dates look alike: then only stretches that look so are candidates. Shapes seen once are no rule;
    their share estimates how often an unseen one will come."""
    counts = Counter(shape(v) for v in values if v not in {*field.literals, *field.known})
    known = sorted(s for s, n in counts.items() if n > 1)
    if field.grounding != "numbers" or not known or len(known) > MAX_SHAPES:
        return field
    covered = sum(counts[s] for s in known)
    looks = all("9" in s for s in known)  # words have shapes too, but useless ones
    if not looks or covered < SHAPED * counts.total():
        return field
    # A date or amount that recurs outside its documents is a labelling error, and would attract uncertain answers.
    words = tuple(v for v in field.literals if not any(c.isdigit() for c in v))
    field = replace(field, shapes=tuple(known), dates=_orders(values), starts_line=False, ends_line=False)
    return replace(field, literals=words, known=())


def _orders(values: Sequence[str]) -> tuple[str, ...]:
    """The fewest orders of day, month and year that explain ≥97 % of the values; none when they are no dates.

    "03/04/2018" alone could be either; a value such as "19/10/2018" settles it for the whole field.
    """
    readings = [date_orders(value) for value in values]
    chosen: list[str] = []
    while (left := [r for r in readings if not r & set(chosen)]) and len(left) > (1 - SHAPED) * len(values):
        votes = Counter(order for reading in left for order in reading)
        if not votes:
            return ()
        chosen.append(max(sorted(votes), key=lambda order: votes[order]))
    return tuple(chosen)


def _grounded(field: Field, how: Grounding, pairs: Sequence[tuple[str, str]], admitted: Sequence[bool]) -> Field | None:
    """The grounded field if enough values are admitted, counting values that recur although not in their documents."""
    missing = [pair for pair, ok in zip(pairs, admitted, strict=True) if not ok]
    others = Counter(value for _, value in missing)
    recurring = [value for value, count in others.most_common() if count >= 2]
    covered = sum(admitted) + sum(others[value] for value in recurring)
    enough = REWORDED if how == "words" else COPIED
    if covered < enough * len(pairs) or sum(admitted) < MOSTLY * len(pairs):
        return None
    known = {
        v for (text, v), ok in zip(pairs, admitted, strict=True) if not ok and resembles(v, set(WORDS.findall(text)))
    }
    literals = [value for value in recurring if value not in known]
    often = [value for value, _ in others.most_common() if value in known]
    return replace(field, grounding=how, literals=tuple(literals[:MAX_LITERALS]), known=tuple(often[:MAX_KNOWN]))


def learn_style(answers: Sequence[str]) -> Style | None:
    """The answers' style; None when there is no single one."""
    style, share = find_style(answers)
    return style if share >= STYLE_SHARE else None


def grounded_shares(fields: Sequence[Field], samples: Sequence[Sample]) -> dict[str, float]:
    """Share of each text field's values that occur in their document (as copied, or as a date or amount)."""
    shares = {}
    for f in fields:
        pairs = [(s.text, s.fields[f.name]) for s in samples if isinstance(s.fields.get(f.name), str)]
        if f.kind in ("string", "money", "date") and pairs:
            shares[f.name] = sum(occurs(f.kind, v, text) for text, v in pairs) / len(pairs)
    return shares


def largest_share(field: Field, samples: Sequence[Sample]) -> float:
    """Share of the most frequent value of a field, 0 to 1."""
    counts = Counter(json.dumps(s.fields.get(field.name)) for s in samples)
    return max(counts.values()) / counts.total() if counts else 0.0


def occurs(kind: str, value: str, text: str) -> bool:
    """Whether a text has a value: copied (white space, case, punctuation aside), or as the same date or amount."""
    if kind in ("date", "money"):
        return value in mentions(kind, text)
    return _bare(value) in _bare(text)


def _bare(text: str) -> str:
    """Its letters and digits."""
    return _NO_ALNUM.sub("", text.casefold())
