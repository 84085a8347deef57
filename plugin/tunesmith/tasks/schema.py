"""The fields of an extraction: the recipe's shorthand, JSON Schema, and what training answers taught about each."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

from tunesmith.errors import BadInput
from tunesmith.tasks.schema_bounds import MAX_COUNT, Budget, bounded, inlined

Kind = Literal["string", "money", "date", "integer", "number", "boolean", "enum", "json"]
# Where a value comes from. "free": anywhere. "values": a date or amount that the document mentions. Otherwise
# a stretch of the document (see grounding.py).
Grounding = Literal["free", "values", "numbers", "pieces", "marks", "words"]

MONEY_PATTERN = r"^-?[0-9]{1,12}\.[0-9]{2}$"
DATE_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
DEFAULT_SCHEMA: dict[str, Any] = {
    "type": "string",
    "date": "date",
    "correspondent": "string",
    "amount": "money",
}
_KINDS = ("string", "money", "date", "integer", "number", "boolean")
MOST_CHARACTERS = MAX_COUNT  # that a grammar counts; a longer text is not bounded


@dataclass(frozen=True)
class Field:
    name: str
    kind: Kind = "string"
    nullable: bool = True
    optional: bool = False
    choices: tuple[Any, ...] = ()
    schema: dict[str, Any] | None = None
    grounding: Grounding = "free"
    lines: bool = True  # a value may run over a line break of the document
    starts_line: bool = False  # a value begins where a line of the document begins
    ends_line: bool = False  # a value ends where a line of the document ends
    max_length: int | None = None  # characters
    shapes: tuple[str, ...] = ()  # what the values look like, when they look alike (see grounding.shape)
    dates: tuple[str, ...] = ()  # the values are dates, written in one of these orders (see values.date_orders)
    literals: tuple[str, ...] = ()  # recurring training answers that are not copied
    never: tuple[str, ...] = ()  # words that lines begin with, beside values but not in them
    known: tuple[str, ...] = ()  # those that say what their document says in other marks or letters

    def as_json_schema(self, suggestions: tuple[str, ...] = ()) -> dict[str, Any]:
        """`suggestions`: the only values that this document allows, when they are known."""
        body = self._body()
        if suggestions:
            return {"enum": [*suggestions, *([None] if self.nullable else [])]}
        if "enum" in body:
            return {"enum": [*body["enum"], *([None] if self.nullable and None not in body["enum"] else [])]}
        return {"anyOf": [body, {"type": "null"}]} if self.nullable else body

    def _body(self) -> dict[str, Any]:
        if self.kind == "enum":
            return {"enum": list(self.choices)}
        if self.kind == "json":
            return self.schema or {}
        if self.kind == "money":
            return {"type": "string", "pattern": MONEY_PATTERN}
        if self.kind == "date":
            return {"type": "string", "pattern": DATE_PATTERN}
        body: dict[str, Any] = {"type": self.kind}
        if self.kind == "string" and self.counted is not None:
            body["maxLength"] = self.counted
        return body

    @property
    def counted(self) -> int | None:
        """The bound of a text's length where it is small enough for a grammar."""
        return self.max_length if self.max_length is not None and self.max_length <= MOST_CHARACTERS else None


def read_schema(schema: Mapping[str, Any] | None) -> list[Field]:
    """`parse_schema` of what a caller wrote: checked for size and sense, its references followed within it."""
    if schema is None:
        return parse_schema(None)
    budget = Budget("task.schema")
    if isinstance(schema.get("properties"), Mapping) and schema.get("type", "object") == "object":
        schema = bounded(schema, budget)
    else:
        schema = {name: _checked(name, body, budget) for name, body in schema.items()}
    return parse_schema(inlined(schema, budget))


def _checked(name: str, body: Any, budget: Budget) -> Any:
    try:
        return bounded(body, budget) if isinstance(body, Mapping) else body
    except BadInput as error:
        raise BadInput(f"Field {name!r}: {error.message}", param="task.schema", hint=error.hint) from error


def parse_schema(schema: Mapping[str, Any] | None) -> list[Field]:
    """Fields of the shorthand `{type: {enum: [...]}, date: date, amount: money}` or of a JSON Schema object."""
    schema = DEFAULT_SCHEMA if schema is None else schema
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and schema.get("type", "object") == "object":
        named = schema.get("required", properties)
        if not isinstance(named, list | Mapping) or not all(isinstance(name, str) for name in named):
            raise BadInput("required is no list of names.", param="task.schema", hint="Write required: [date, amount].")
        required = set(named)
        fields = [
            replace(_from_json_schema(str(name), body), optional=name not in required)
            for name, body in properties.items()
        ]
    else:
        fields = [_from_shorthand(str(name), body) for name, body in schema.items()]
    if not fields:
        raise BadInput("The schema has no fields.", param="task.schema", hint="Name one, such as {date: date}.")
    return fields


def _from_shorthand(name: str, body: Any) -> Field:
    if isinstance(body, str) and body in _KINDS:
        return Field(name, cast(Kind, body))
    if isinstance(body, Mapping) and isinstance(body.get("enum"), list) and body["enum"]:
        return Field(name, "enum", choices=tuple(v for v in body["enum"] if v is not None))
    if isinstance(body, Mapping) and ("type" in body or "anyOf" in body):
        return _from_json_schema(name, body)
    raise BadInput(
        f"Field {name!r} has no type that is known: {body!r}.",
        param="task.schema",
        hint=f"Use one of {', '.join(_KINDS)}, or {{enum: [a, b]}}, or a JSON Schema.",
    )


def _from_json_schema(name: str, body: Any) -> Field:
    if not isinstance(body, Mapping):
        raise BadInput(f"Field {name!r} is no JSON Schema: {body!r}.", param="task.schema", hint="Use {type: string}.")
    if isinstance(body.get("anyOf"), list):
        options = [o for o in body["anyOf"] if isinstance(o, Mapping) and o.get("type") != "null"]
        if len(options) == 1:
            return replace(_from_json_schema(name, options[0]), nullable=len(options) < len(body["anyOf"]))
        return Field(name, "json", nullable=False, schema=dict(body))
    if isinstance(body.get("enum"), list):
        values = body["enum"]
        return Field(name, "enum", nullable=None in values, choices=tuple(v for v in values if v is not None))
    types = body.get("type", "json")
    nullable = isinstance(types, list) and "null" in types
    kinds = [t for t in types if t != "null"] if isinstance(types, list) else [types]
    if len(kinds) != 1 or kinds[0] not in _KINDS:
        return Field(name, "json", nullable=nullable, schema=dict(body))
    kind = kinds[0]
    if kind == "string" and (body.get("format") == "date" or body.get("pattern") == DATE_PATTERN):
        kind = "date"
    if kind == "string" and (body.get("format") == "money" or body.get("pattern") == MONEY_PATTERN):
        kind = "money"
    return Field(name, cast(Kind, kind), nullable=nullable, max_length=body.get("maxLength"))


def object_schema(fields: list[Field], suggestions: Mapping[str, tuple[str, ...]] | None = None) -> dict[str, Any]:
    """JSON Schema of the whole answer."""
    known = suggestions or {}
    return {
        "type": "object",
        "properties": {f.name: f.as_json_schema(known.get(f.name, ())) for f in fields},
        "required": [f.name for f in fields if not f.optional],
        "additionalProperties": False,
    }


def pairs_schema(fields: list[Field], suggestions: Mapping[str, tuple[str, ...]] | None = None) -> dict[str, Any]:
    """JSON Schema of an answer that is an array of {field, value}."""
    known = suggestions or {}
    items = [
        {
            "type": "object",
            "properties": {"field": {"const": f.name}, "value": f.as_json_schema(known.get(f.name, ()))},
            "required": ["field", "value"],
            "additionalProperties": False,
        }
        for f in fields
    ]
    return {"type": "array", "items": {"anyOf": items}, "maxItems": len(fields)}


def field_to_json(field: Field) -> dict[str, Any]:
    """Only what differs from the defaults, so that specs stay readable."""
    default = asdict(Field(field.name))
    return {k: v for k, v in asdict(field).items() if k == "name" or v != default[k]}


def field_from_json(data: Mapping[str, Any]) -> Field:
    known: dict[str, Any] = {
        k: tuple(v) if k in ("choices", "literals", "known", "never", "shapes", "dates") else v for k, v in data.items()
    }
    try:
        return Field(**known)
    except TypeError as error:
        raise BadInput(f"A field of the task's spec is wrong: {error}.", param="task.spec") from error
