"""Extraction: one document in, one JSON object with its key fields out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, Self

from tunesmith.errors import BadInput
from tunesmith.tasks import json_schema, learning
from tunesmith.tasks.base import Constraint, Score, insert_turns, last_user_text
from tunesmith.tasks.candidates import candidates
from tunesmith.tasks.conversation import Message, Row
from tunesmith.tasks.document import Document, Value
from tunesmith.tasks.grammar import build_grammar
from tunesmith.tasks.prompting import document_of, system_prompt, user_prompt
from tunesmith.tasks.schema import Field, field_from_json, field_to_json, object_schema, pairs_schema, read_schema
from tunesmith.tasks.style import Style, parse_object, parse_pairs
from tunesmith.tasks.template import Template
from tunesmith.tasks.values import canonical_date, canonical_money

MAX_CHARACTERS = 6000


class Extraction:
    """`spec`: `schema` (shorthand or JSON Schema), `system` (replaces the system message), `max_characters` (of a
    document; longer ones keep head and tail), `template` and `form` of a preset (the prompt, which shows the head of
    a document; an answer as an array of {field, value}), and what `fit` learnt: `fields`, `style`, `ordered`."""

    name: ClassVar[str] = "extraction"
    minimum_examples: ClassVar[int] = 50
    has_format: ClassVar[bool] = True

    def __init__(self, spec: Mapping[str, Any] | None = None) -> None:
        given = dict(spec or {})
        unknown = set(given) - {"type", "schema", "system", "fields", "style", "ordered", "max_characters"}
        unknown -= {"template", "form"}
        if unknown:
            raise BadInput(
                f"An extraction has no setting {sorted(unknown)[0]!r}.",
                param="task",
                hint="Known settings: schema, system, max_characters.",
            )
        self.system: str | None = given.get("system")
        self.max_characters = int(given.get("max_characters", MAX_CHARACTERS))
        self.template = Template(given["template"]) if given.get("template") else None
        self.pairs = given.get("form") == "pairs"
        learnt = given.get("fields")
        self.fields: list[Field] = [field_from_json(f) for f in learnt] if learnt else read_schema(given.get("schema"))
        if self.pairs and not learnt:  # what is not found is left out
            self.fields = [replace(f, optional=True, nullable=False) for f in self.fields]
        style = given.get("style", {})
        self.style: Style | None = Style(**style) if style is not None else None
        self.ordered = bool(given.get("ordered", True))

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "fields": [field_to_json(f) for f in self.fields],
            "style": self.style.as_dict() if self.style else None,
            "ordered": self.ordered,
            "max_characters": self.max_characters,
            **({"system": self.system} if self.system else {}),
            **({"template": self.template.text} if self.template else {}),
            **({"form": "pairs"} if self.pairs else {}),
        }

    @property
    def json_schema(self) -> dict[str, Any]:
        """Schema that every answer fits, whatever the document."""
        return object_schema(self.fields)

    # -- learning -----------------------------------------------------------------------------------------------

    @classmethod
    def infer(cls, rows: Sequence[Row]) -> Self | None:
        """Keys, order, kinds, style and grounding of a bare upload; None when its answers are no such objects."""
        samples = learning.read_samples(_pairs(rows))
        if samples is None:
            return None
        order, kept = learning.key_order(samples)
        task = cls()
        task.fields = learning.learn_fields(samples, order)
        task.style = learning.learn_style([row.answer for row in rows])
        task.ordered = kept
        return task

    def fit(self, rows: Sequence[Row]) -> Self:
        """A copy whose fields know, from these training rows, what is copied from the document and how long it gets."""
        samples = self._samples(rows)
        task = type(self)(self.spec)
        task.fields = learning.ground(self.fields, samples)
        return task

    # -- examples -----------------------------------------------------------------------------------------------

    def prompt(self, text: str, **details: Value) -> list[Message]:
        """`details`: what a preset's template shows beside the text: title, filename, created, document_type."""
        if self.template:
            shown = {name: "" if value is None else str(value) for name, value in details.items()}
            filled = self.template.filled({**shown, "content": text[: self.max_characters]})
            system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
            return [*system, {"role": "user", "content": filled}]
        return [
            {"role": "system", "content": self.system or system_prompt(self.fields)},
            {"role": "user", "content": user_prompt(text, self.max_characters)},
        ]

    def example(self, document: Document) -> Row:
        if not document.text.strip():
            raise BadInput("The document has no text.", code="empty_text", hint="Run OCR on it again in Paperless.")
        answer = {f.name: self._value(f, _lookup(document.values, f.name)) for f in self.fields}
        if all(v is None for v in answer.values()):
            raise BadInput("None of the fields is known.", code="no_labels", hint="Label it, or map the fields.")
        names = ("title", "filename", "created", "document_type")
        messages = self.prompt(document.text, **{name: document.values.get(name) for name in names})
        messages.append({"role": "assistant", "content": self.write(answer)})
        provenance = {**document.provenance, "document": document.id}
        if document.group:
            provenance["group"] = document.group
        if len(document.text) > self.max_characters:
            provenance["cut_characters"] = len(document.text) - self.max_characters
        return Row(messages=messages, provenance=provenance, weight=document.weight)

    def _value(self, f: Field, value: Value) -> Any:
        if value is None or value == "":
            return None
        if f.kind == "enum":
            match = next((c for c in f.choices if str(c).casefold() == str(value).casefold()), None)
            if match is None:
                raise BadInput(
                    f"{f.name} is {value!r}, which is none of: {', '.join(map(str, f.choices))}.",
                    code="not_a_choice",
                    hint="Add it to the schema, or leave such documents out of the source.",
                )
            return match
        found: Any = value
        if f.kind == "money":
            found = canonical_money(value)
        elif f.kind == "date":
            found = canonical_date(value)
        elif f.kind == "string":
            found = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            found = " ".join(found.split())
        elif isinstance(value, Decimal):
            found = int(value) if f.kind == "integer" else float(value)
        elif isinstance(value, date):
            found = value.isoformat()
        if found is None:
            raise BadInput(f"{f.name} is {value!r}, no {f.kind}.", code="wrong_kind", hint="Correct the label.")
        return found

    def check(self, row: Row) -> None:
        """What uploaded answers look like is learnt from them."""

    def few_shot(self, rows: Sequence[Row], messages: list[Message]) -> list[Message]:
        return insert_turns(rows, messages)

    # -- answers ------------------------------------------------------------------------------------------------

    def constraint(self, messages: list[Message]) -> Constraint | None:
        """What the answer to these messages is held to; values of grounded fields come from the last user message."""
        if not self.ordered or self.style is None:
            return None
        text = self._document(messages)
        offered = {f.name: values for f in self.fields if (values := candidates(f, text))}
        schema = pairs_schema(self.fields, offered) if self.pairs else object_schema(self.fields, offered)
        return Constraint(schema, build_grammar(self.fields, self.style, text, offered, pairs=self.pairs))

    def score(self, answer: str, expected: str, messages: list[Message]) -> Score:
        fenced = self.style is None or self.style.fence is not None
        right = self.read(expected, fenced=True) or {}
        got = self.read(answer, fenced)
        kinds = {f.name: f for f in self.fields}
        names = [f.name for f in self.fields if f.name in right or not f.optional]
        names += [n for n in right if n not in kinds]
        if got is None:
            return Score(False, False, dict.fromkeys(names, False))
        fields = {n: n in got and _same(kinds.get(n), got[n], right.get(n)) for n in names}
        text = self._document(messages)
        invented = [
            f.name
            for f in self.fields
            if f.kind in ("string", "date", "money")
            and isinstance(value := got.get(f.name), str)
            and not learning.occurs(f.kind, _canonical(f.kind, value) or value, text)
        ]
        return Score(
            format_ok=self._fits(got),
            exact=all(fields.values()) and not set(got) - set(names),
            fields=fields,
            ungrounded=invented,
        )

    def quality(self, rows: Sequence[Row]) -> dict[str, float]:
        """Largest share of one choice in a choice field, and of values that their document does not contain."""
        samples = self._samples(rows)
        figures = {}
        balance = [learning.largest_share(f, samples) for f in self.fields if f.kind == "enum"]
        if balance:
            figures["largest_label"] = max(balance)
        shares = learning.grounded_shares(self.fields, samples)
        if shares:
            figures["ungrounded_targets"] = 1 - min(shares.values())
        return figures

    def read(self, answer: str, fenced: bool = False) -> dict[str, Any] | None:
        """The fields of an answer; None when it has not the form that is asked for."""
        return parse_pairs(answer, fenced) if self.pairs else parse_object(answer, fenced)

    def write(self, answer: dict[str, Any]) -> str:
        if not self.pairs:
            return (self.style or Style()).dump(answer)
        return (self.style or Style()).dump([{"field": k, "value": v} for k, v in answer.items() if v is not None])

    def _document(self, messages: Sequence[Message]) -> str:
        asked = last_user_text(messages)
        return self.template.content_of(asked) if self.template else document_of(asked)

    def _samples(self, rows: Sequence[Row]) -> list[learning.Sample]:
        if not self.pairs:
            return learning.read_samples([(self._document(row.prompt), row.answer) for row in rows]) or []
        read = [(self._document(row.prompt), self.read(row.answer)) for row in rows]
        return [learning.Sample(text, fields) for text, fields in read if fields]

    def _fits(self, value: dict[str, Any]) -> bool:
        # A length bound keeps a served answer from running away; a longer value is still well-formed.
        schema = object_schema([replace(f, max_length=None) for f in self.fields])
        return json_schema.fits(json_schema.validator(schema), value)


def _pairs(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return [(document_of(last_user_text(row.prompt)), row.answer) for row in rows]


def _lookup(values: Mapping[str, Value], name: str) -> Value:
    if name in values:
        return values[name]
    return next((v for k, v in values.items() if k.casefold() == name.casefold()), None)


def _canonical(kind: str, value: Any) -> str | None:
    return canonical_money(value) if kind == "money" else canonical_date(value) if kind == "date" else None


def _same(f: Field | None, got: Any, right: Any) -> bool:
    """Equal as values when the field is a date or an amount, else equal text (white space and case aside)."""
    if f and f.kind in ("money", "date") and got is not None and right is not None:
        a, b = _canonical(f.kind, got), _canonical(f.kind, right)
        if a is not None and b is not None:
            return a == b
    if isinstance(got, str) and isinstance(right, str):
        return " ".join(got.split()).casefold() == " ".join(right.split()).casefold()
    if isinstance(got, bool) or isinstance(right, bool):
        return got is right
    return bool(got == right)
