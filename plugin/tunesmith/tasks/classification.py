"""Classification: one document in, one label out (or several), from a closed list."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from tunesmith.errors import BadInput
from tunesmith.tasks.base import Constraint, Score, insert_turns
from tunesmith.tasks.conversation import Message, Row
from tunesmith.tasks.document import Document, Value
from tunesmith.tasks.labels import (
    LabelStyle,
    check_labels,
    learn_labels,
    learn_style,
    looks_like_labels,
    parse_labels,
    several_labels,
)
from tunesmith.tasks.prompting import CLASSIFY, user_prompt
from tunesmith.tasks.stretches import literal

MAX_CHARACTERS = 6000
LISTED = 50  # labels that the system prompt names; more would cost every row their tokens
_PLACES = ("document_type", "correspondent", "storage_path", "tags")
_SETTINGS = ("labels", "label", "multi_label", "system", "max_characters")


class Classification:
    """`spec`: `labels` (the closed list; else learnt from the training rows), `label` (where a document has its own:
    document_type, correspondent, storage_path, tags or custom_field/<name>), `multi_label`, `system`,
    `max_characters`, and what `fit` learnt: `learnt` labels and `style`."""

    name: ClassVar[str] = "classification"
    minimum_examples: ClassVar[int] = 50
    has_format: ClassVar[bool] = True

    def __init__(self, spec: Mapping[str, Any] | None = None) -> None:
        given = dict(spec or {})
        unknown = sorted(set(given) - {"type", "learnt", "style", *_SETTINGS})
        if unknown:
            raise BadInput(
                f"A classification has no setting {unknown[0]!r}.",
                param="task",
                hint=f"Known settings: {', '.join(_SETTINGS)}.",
            )
        self.named: list[str] = check_labels(given.get("labels"))
        self.learnt: list[str] = list(given.get("learnt", []))
        self.label = _place(given.get("label", "document_type"))
        self.multi_label = bool(given.get("multi_label", self.label == "tags"))
        self.system: str | None = given.get("system")
        self.max_characters = int(given.get("max_characters", MAX_CHARACTERS))
        self.style: LabelStyle | None = None if given.get("style", "") is None else LabelStyle(**given.get("style", {}))

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "multi_label": self.multi_label,
            "max_characters": self.max_characters,
            "style": self.style.as_dict() if self.style else None,
            **({"labels": self.named} if self.named else {}),
            **({"learnt": self.learnt} if self.learnt else {}),
            **({"system": self.system} if self.system else {}),
        }

    @property
    def labels(self) -> list[str]:
        """The closed list; empty before anything is known of it."""
        return self.named or self.learnt

    # -- learning -----------------------------------------------------------------------------------------------

    @classmethod
    def infer(cls, rows: Sequence[Row]) -> Self | None:
        """Few short answers, each seen several times, or lists of such; None for anything else."""
        answers = [row.answer for row in rows]
        multi = several_labels(answers)
        if not looks_like_labels(answers, multi):
            return None
        return cls({"multi_label": multi}).fit(rows)

    def fit(self, rows: Sequence[Row]) -> Self:
        """A copy that knows the labels of these training rows, and how several are written."""
        answers = [row.answer for row in rows]
        task = type(self)(self.spec)
        task.learnt = learn_labels(answers, self.multi_label)
        task.style = learn_style(answers, task.labels) if self.multi_label else LabelStyle()
        return task

    # -- examples -----------------------------------------------------------------------------------------------

    def prompt(self, text: str) -> list[Message]:
        return [
            {"role": "system", "content": self.system or self._system()},
            {"role": "user", "content": user_prompt(text, self.max_characters, CLASSIFY)},
        ]

    def _system(self) -> str:
        # Labels that training teaches are not in the prompt: it is written before the last row is read.
        which = f" of: {', '.join(self.named)}" if 0 < len(self.named) <= LISTED else ""
        if self.multi_label:
            return f"Answer with a JSON list of the labels that fit{which}."
        return f"Answer with one label{which}."

    def example(self, document: Document) -> Row:
        if not document.text.strip():
            raise BadInput("The document has no text.", code="empty_text", hint="Run OCR on it again in Paperless.")
        found = self._labels_of(document)
        if not found:
            raise BadInput(
                f"The document has no {self.label}.", code="no_labels", hint="Label it, or set task.label to another."
            )
        messages = self.prompt(document.text)
        messages.append({"role": "assistant", "content": self._answer(found)})
        provenance = {**document.provenance, "document": document.id}
        if document.group:
            provenance["group"] = document.group
        if len(document.text) > self.max_characters:
            provenance["cut_characters"] = len(document.text) - self.max_characters
        return Row(messages=messages, provenance=provenance)

    def _labels_of(self, document: Document) -> list[str]:
        if self.label == "tags":
            # Tags say many things; when the recipe names labels, the others are none of this task's business.
            chosen = {name.casefold(): name for name in self.named}
            return [chosen.get(t.casefold(), t) for t in document.tags if not chosen or t.casefold() in chosen]
        value = _lookup(document.values, self.label.removeprefix("custom_field/"))
        if value is None or value == "":
            return []
        return [self._known(_text(v)) for v in (value if isinstance(value, list) else [value])]

    def _known(self, label: str) -> str:
        if not self.named:
            return label
        match = next((known for known in self.named if known.casefold() == label.casefold()), None)
        if match is None:
            raise BadInput(
                f"{self.label} is {label!r}, which is none of: {', '.join(self.named[:20])}.",
                code="not_a_choice",
                hint="Add it to task.labels, or leave such documents out of the source.",
            )
        return match

    def _answer(self, found: list[str]) -> str:
        if self.multi_label:
            order = {label: index for index, label in enumerate(self.named)}
            return (self.style or LabelStyle()).dump(sorted(set(found), key=lambda name: (order.get(name, 0), name)))
        if len(found) > 1:
            raise BadInput(
                f"The document has {len(found)} labels: {', '.join(found)}.",
                code="several_labels",
                hint="Set task.multi_label: true, or name in task.labels the ones to tell apart.",
            )
        return found[0]

    def check(self, row: Row) -> None:
        found = parse_labels(row.answer, self.multi_label)
        if found is None:
            raise BadInput(f"The answer is no list of labels: {row.answer[:80]!r}.", code="no_labels")
        wrong = [label for label in found if self.named and label not in self.named]
        if wrong:
            raise BadInput(
                f"{wrong[0]!r} is none of the labels: {', '.join(self.named[:20])}.",
                code="not_a_choice",
                hint="Correct the row, or add the label to task.labels.",
            )

    def few_shot(self, rows: Sequence[Row], messages: list[Message]) -> list[Message]:
        return insert_turns(rows, messages)

    # -- answers ------------------------------------------------------------------------------------------------

    def constraint(self, messages: list[Message]) -> Constraint | None:
        """The closed list. A bare label is no JSON: a target without grammars cannot be held to it."""
        if not self.labels:
            return None
        if not self.multi_label:
            return Constraint(grammar=f"root ::= {' | '.join(map(literal, self.labels))}\n")
        schema = {"type": "array", "items": {"enum": self.labels}, "uniqueItems": True}
        return Constraint(json_schema=schema, grammar=self.style.grammar(self.labels) if self.style else None)

    def score(self, answer: str, expected: str, messages: list[Message]) -> Score:
        """One mark under the name of each label that is expected (of several: or answered)."""
        right = parse_labels(expected, self.multi_label) or []
        got = parse_labels(answer, self.multi_label)
        if got is None:
            return Score(False, False, dict.fromkeys(right, False), labels=(right, []))
        known = set(self.labels) or {*got, *right}
        # A wrong single label is one mistake, not one for each of the two labels; an unknown one is a wrong format.
        extra = [label for label in dict.fromkeys(got) if label in known and label not in right]
        marks = {**dict.fromkeys(extra if self.multi_label else [], False), **{label: label in got for label in right}}
        return Score(known.issuperset(got), set(got) == set(right), marks, labels=(right, got))

    def quality(self, rows: Sequence[Row]) -> dict[str, float]:
        """Share of the most frequent label among all labels of these rows."""
        found = [label for row in rows for label in parse_labels(row.answer, self.multi_label) or []]
        return {"largest_label": max(map(found.count, set(found))) / len(found)} if found else {}


def _place(label: Any) -> str:
    place = str(label)
    if place not in _PLACES and not (place.startswith("custom_field/") and len(place) > len("custom_field/")):
        raise BadInput(
            f"A label cannot come from {place!r}.",
            param="task.label",
            hint=f"Use custom_field/<name> or one of {', '.join(_PLACES)}.",
        )
    return place


def _lookup(values: Mapping[str, Value], name: str) -> Value:
    return next((v for k, v in values.items() if k.casefold() == name.casefold()), None)


def _text(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else " ".join(str(value).split())
