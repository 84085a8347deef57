"""Kinds that need no teacher: damage as of a bad scan, and a field that is not there."""

from random import Random
from typing import Any

from tunesmith.datasets.synthetic.drafts import require_support, text_of, values_of, with_text
from tunesmith.errors import BadInput
from tunesmith.tasks.base import Task
from tunesmith.tasks.conversation import Row
from tunesmith.tasks.extraction import Extraction
from tunesmith.tasks.learning import occurs
from tunesmith.tasks.values import canonical_date, canonical_money

DAMAGE = 0.08  # share of the characters; fewer leave a near-duplicate of the seed
_LOOK_ALIKE = {
    "o": "0",
    "O": "0",
    "l": "1",
    "I": "1",
    "i": "l",
    "S": "5",
    "s": "5",
    "B": "8",
    "b": "6",
    "g": "9",
    "q": "g",
    "G": "6",
    "Z": "2",
    "z": "2",
    "e": "c",
    "c": "e",
    "a": "o",
    "u": "v",
    "v": "u",
    "n": "h",
    "h": "n",
    "t": "f",
    "f": "t",
    "m": "rn",
    "r": "n",
    "0": "O",
    "1": "l",
    "5": "S",
    "8": "B",
}


def scanned(task: Task, seed: Row, rng: Random) -> Row:
    """The seed's document as a bad scan; lines with a value of the answer keep it readable."""
    values = _grounded(task, seed)
    lines = text_of(task, seed).splitlines()
    damaged = [line if _holds(line, values) else _damage(line, rng) for line in lines]
    row = with_text(task, seed, "\n".join(damaged), seed.answer)
    require_support(task, row, seed)
    return row


def without_a_field(task: Task, seed: Row, rng: Random) -> Row:
    """The seed's document without the lines that hold one field's value, which is null then."""
    if not isinstance(task, Extraction):
        raise BadInput("Only an extraction has fields.", code="not_for_this_task")
    values, text = values_of(task, seed), text_of(task, seed)
    may_lack = {f.name: f for f in task.fields if f.nullable or f.optional}
    there = [(n, k, v) for n, k, v in _grounded(task, seed) if n in may_lack]
    if not there:
        raise BadInput("No field can be taken out of the seed.", code="bad_seed")
    name, kind, value = rng.choice(there)
    kept = "\n".join(line for line in text.splitlines() if not _holds(line, [(name, kind, value)]))
    if occurs(kind, value, kept) or not kept.strip():
        raise BadInput(f"{name} is still in the text.", code="still_there")
    answer = {**values, name: None} if may_lack[name].nullable else {k: v for k, v in values.items() if k != name}
    row = with_text(task, seed, kept, task.write(answer))
    require_support(task, row, seed)
    return row


def _grounded(task: Task, row: Row) -> list[tuple[str, str, str]]:
    """(field, kind, value) of the answer's values that are in the document."""
    if not isinstance(task, Extraction):
        return []
    text, values = text_of(task, row), values_of(task, row)
    found: list[tuple[str, str, str]] = []
    for f in task.fields:
        value = _plain(f.kind, values.get(f.name))
        if value and occurs(f.kind, value, text):
            found.append((f.name, f.kind, value))
    return found


def _plain(kind: str, value: Any) -> str | None:
    if kind not in ("string", "date", "money") or not isinstance(value, str):
        return None
    return {"date": canonical_date, "money": canonical_money}.get(kind, str)(value)


def _holds(line: str, values: list[tuple[str, str, str]]) -> bool:
    return any(occurs(kind, value, line) for _, kind, value in values)


def _damage(line: str, rng: Random) -> str:
    out = []
    for char in line:
        if rng.random() >= DAMAGE:
            out.append(char)
        elif char == " ":
            out.append(rng.choice(("", "  ")))
        else:
            out.append(_LOOK_ALIKE.get(char, rng.choice((char * 2, "", "."))))
    return "".join(out)
