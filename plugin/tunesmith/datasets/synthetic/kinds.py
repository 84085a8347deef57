"""Drafts of documents: another layout, another language, a rarer choice, or from the task alone."""

import json
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from tunesmith.datasets.synthetic import local
from tunesmith.datasets.synthetic.drafts import (
    Draft,
    Seeds,
    document,
    question,
    quoted,
    read,
    require_support,
    room_for,
    text_of,
    values_of,
    with_text,
)
from tunesmith.datasets.synthetic.options import SyntheticOptions
from tunesmith.errors import BadInput
from tunesmith.tasks.base import Task
from tunesmith.tasks.classification import Classification
from tunesmith.tasks.conversation import Row
from tunesmith.tasks.document import Document
from tunesmith.tasks.extraction import Extraction

DOCUMENT_TASKS = ("extraction", "classification")
_LAYOUTS = (
    "an e-mail", "a form with labels and colons", "a letter in full sentences", "a table in plain text",
    "a narrow till receipt", "two columns next to each other", "a summary first and the details below it",
    "a page with a footer of bank details and notes",
)  # fmt: skip
_TEXT = {"document": {"type": "string"}}

Maker = Callable[[Seeds, SyntheticOptions, int, Random], tuple[Draft, Row | None]]


def layout(seeds: Seeds, options: SyntheticOptions, number: int, rng: Random) -> tuple[Draft, Row | None]:
    ask = f"Write this document again as {_LAYOUTS[number % len(_LAYOUTS)]}, in its own language and in other words."
    return _again("layout", ask, seeds, number)


def translate(seeds: Seeds, options: SyntheticOptions, number: int, rng: Random) -> tuple[Draft, Row | None]:
    language = options.languages[number % len(options.languages)]
    ask = f"Write this document in the language {language}. Names and addresses stay as they are."
    return _again("translate", ask, seeds, number)


def _again(kind: str, ask: str, seeds: Seeds, number: int) -> tuple[Draft, Row | None]:
    """A document that says the same, so that the seed's answer stays right by construction."""
    task, seed = seeds.task, _seed(seeds, number)
    must = f"These must be in it, letter for letter: {_kept(task, seed)}. Change no date, number or amount." + _nth(
        number
    )
    text = text_of(task, seed)
    request = question(f"{ask} {must}\n{quoted(text)}", _TEXT, room_for(text))

    def rows(answer: str) -> list[Row]:
        row = with_text(task, seed, document(read(answer, "document")), seed.answer)
        require_support(task, row, seed)
        return [row]

    return Draft(kind, number, rows, lambda _: request), seed


def rare(seeds: Seeds, options: SyntheticOptions, number: int, rng: Random) -> tuple[Draft, Row | None]:
    """A document with one of the rarest choices."""
    place, choices = _choices(seeds)
    chosen = choices[number % max(1, (len(choices) + 1) // 2)]
    return _new("rare", seeds, number, {place: chosen})


def from_schema(seeds: Seeds, options: SyntheticOptions, number: int, rng: Random) -> tuple[Draft, Row | None]:
    """A document from the task alone, every choice in turn."""
    place, choices = _choices(seeds) if _has_choices(seeds.task) else ("", [])
    return _new("schema", seeds, number, {place: choices[number % len(choices)]} if choices else {})


def _new(kind: str, seeds: Seeds, number: int, fixed: dict[str, Any]) -> tuple[Draft, Row | None]:
    """A new document with its values; where they are in the text is checked as for a seed that has all of them."""
    task, seed = seeds.task, _seed(seeds, number) if seeds.rows else None
    given = "".join(f" Its {name} is {json.dumps(value)}." for name, value in fixed.items())
    like = f" This one shows the form:\n{quoted(text_of(task, seed))}" if seed else ""
    shape = f"It is laid out as {_LAYOUTS[number % len(_LAYOUTS)]}."
    ask = f"Invent a document that a household gets.{given} {shape}{_nth(number)}"
    wanted: dict[str, Any] = dict(_TEXT)
    if isinstance(task, Extraction):
        wanted["values"] = task.json_schema
        ask += " Give its values as they stand in it, dates as YYYY-MM-DD and amounts as 0.00; null for what it lacks."
    request = question(ask + like, wanted)

    def rows(answer: str) -> list[Row]:
        found = read(answer, *wanted)
        text, values = document(found), found.get("values", {})
        if not isinstance(values, dict):
            raise BadInput("The values are no object.", code="incomplete")
        made = Document("", text, {**values, **fixed}, tags=[str(v) for v in fixed.values()])
        row = task.example(made)
        row = with_text(task, seed, text, row.answer) if seed else row
        require_support(task, row, None)
        return [row]

    return Draft(kind, number, rows, lambda _: request), seed


def ocr(seeds: Seeds, options: SyntheticOptions, number: int, rng: Random) -> tuple[Draft, Row | None]:
    seed = _seed(seeds, number)
    return Draft("ocr", number, lambda _: [local.scanned(seeds.task, seed, rng)]), seed


def missing(seeds: Seeds, options: SyntheticOptions, number: int, rng: Random) -> tuple[Draft, Row | None]:
    seed = _seed(seeds, number)
    return Draft("missing", number, lambda _: [local.without_a_field(seeds.task, seed, rng)]), seed


def usual(options: SyntheticOptions, task: Task, seeds: Seeds) -> list[str]:
    """The kinds when the recipe names none."""
    if options.like in ("schema", "tools"):
        return ["schema" if options.like == "schema" else "dialogue"]
    kinds = ["layout", "ocr"] if task.name in DOCUMENT_TASKS else ["correct"]
    if isinstance(task, Extraction) and any(f.nullable or f.optional for f in task.fields):
        kinds.append("missing")
    if _has_choices(task):
        kinds.append("rare")
    return [*kinds, "translate"] if options.languages and task.name in DOCUMENT_TASKS else kinds


def _seed(seeds: Seeds, number: int) -> Row:
    return seeds.rows[number % len(seeds.rows)]


def _nth(number: int) -> str:
    return f" (Example {number + 1}.)"


def _kept(task: Task, seed: Row) -> str:
    if isinstance(task, Extraction):
        return json.dumps({k: v for k, v in values_of(task, seed).items() if v is not None}, ensure_ascii=False)
    return f"what makes it {json.dumps(seed.answer, ensure_ascii=False)}"


def _has_choices(task: Task) -> bool:
    if isinstance(task, Extraction):
        return any(f.kind == "enum" for f in task.fields)
    return isinstance(task, Classification) and bool(task.labels)


def _choices(seeds: Seeds) -> tuple[str, list[Any]]:
    """Where the first choice field (or the label) is, and its choices, the rarest first."""
    task = seeds.task
    if isinstance(task, Extraction) and (field := next((f for f in task.fields if f.kind == "enum"), None)):
        values = [(task.read(row.answer, fenced=True) or {}).get(field.name) for row in seeds.rows]
        counts = Counter(json.dumps(value) for value in values)
        return field.name, sorted(field.choices, key=lambda c: counts[json.dumps(c)])
    if isinstance(task, Classification) and task.labels:
        seen = Counter(label for row in seeds.rows for label in task.labels if label in row.answer)
        return task.label.removeprefix("custom_field/"), sorted(task.labels, key=lambda label: seen[label])
    raise BadInput(
        "The task has no choices of which some are rare.", code="no_choices", hint="Leave out the kind rare."
    )
