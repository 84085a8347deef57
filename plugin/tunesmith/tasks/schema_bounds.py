"""What a caller's JSON Schema may be: small enough to hold answers to, well-formed, and nothing fetched for it.

Servers turn a schema into a grammar. A huge one stalls them, and a malformed one is refused in words of theirs.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import BadInput

MAX_DEPTH = 32
MAX_NODES = 20_000  # objects, lists and values; of all schemas of a request
MAX_CHOICES = 2_000  # values of all enums; a server's work grows with their square
MAX_COUNT = 10_000  # of a single minItems, maxLength, …
MAX_COUNTS = 200_000  # of all of them
MAX_PATTERN = 500  # characters; servers read patterns by recursion

_COUNTS = {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
_COUNTS |= {"minContains", "maxContains"}
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED = ("anyOf", "allOf", "oneOf", "prefixItems")
_SINGLE = {"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"}
_SINGLE |= {"unevaluatedItems", "unevaluatedProperties", "additionalItems"}


@dataclass
class Budget:
    """What the schemas of one request may still hold. `param`: what errors blame."""

    param: str
    nodes: int = MAX_NODES
    choices: int = MAX_CHOICES
    counts: int = MAX_COUNTS

    def take(self, nodes: int = 0, choices: int = 0, counts: int = 0) -> None:
        self.nodes, self.choices, self.counts = self.nodes - nodes, self.choices - choices, self.counts - counts
        if min(self.nodes, self.choices, self.counts) < 0:
            raise self.wrong("it is too large", "Leave out what the answer does not need: long enums, wide bounds.")

    def wrong(self, what: str, hint: str | None = None) -> BadInput:
        return BadInput(
            f"The JSON Schema cannot be used: {what}.",
            code="invalid_schema",
            param=self.param,
            hint=hint or "See https://json-schema.org/understanding-json-schema for what a keyword takes.",
        )


def bounded(schema: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """A copy in which counts are integers (5.0 is 5). Raises BadInput: invalid_schema."""
    return {str(key): _keyword(str(key), value, budget, 1) for key, value in schema.items()}


def _schema(value: Any, budget: Budget, depth: int) -> Any:
    if not isinstance(value, Mapping):
        return _data(value, budget, depth)
    if depth > MAX_DEPTH:
        raise budget.wrong(f"it is nested more than {MAX_DEPTH} deep", "Write a flatter schema.")
    budget.take(nodes=1)
    return {str(key): _keyword(str(key), item, budget, depth + 1) for key, item in value.items()}


def _keyword(key: str, value: Any, budget: Budget, depth: int) -> Any:
    if key in _COUNTS:
        return _count(key, value, budget)
    if key in _REFERENCES and not (isinstance(value, str) and value.startswith("#")):
        raise budget.wrong(f"{key} refers to another document, {str(value)[:80]!r}", "Refer within it: #/$defs/…")
    if key == "pattern" and isinstance(value, str):
        _pattern(value, budget)
    if key == "enum" and isinstance(value, list):
        if not value:
            raise budget.wrong("enum is empty", "List a value, or leave enum out.")
        budget.take(choices=len(value))
    if key in _NAMED and isinstance(value, Mapping):
        budget.take(nodes=1)
        return {str(name): _schema(item, budget, depth) for name, item in value.items()}
    if key in _LISTED and isinstance(value, list):
        return [_schema(item, budget, depth) for item in value]
    if key in _SINGLE:
        return [_schema(v, budget, depth) for v in value] if isinstance(value, list) else _schema(value, budget, depth)
    return _data(value, budget, depth)


def _data(value: Any, budget: Budget, depth: int) -> Any:
    """Values that are no schemas, such as those of an enum: any JSON."""
    budget.take(nodes=1)
    if isinstance(value, Mapping | list) and depth > MAX_DEPTH:
        raise budget.wrong(f"it is nested more than {MAX_DEPTH} deep", "Write a flatter schema.")
    if isinstance(value, float) and not math.isfinite(value):
        raise budget.wrong(f"{value} is no JSON")
    if isinstance(value, list):
        return [_data(item, budget, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _data(item, budget, depth + 1) for key, item in value.items()}
    return value


def _count(key: str, value: Any, budget: Budget) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole or value < 0:
        raise budget.wrong(f"{key} is {json.dumps(value, default=str)[:40]}, no whole number from 0")
    if value > MAX_COUNT:
        raise budget.wrong(f"{key} is {str(value)[:20]}", f"Use at most {MAX_COUNT}, or leave {key} out.")
    budget.take(counts=int(value))
    return int(value)


def _pattern(pattern: str, budget: Budget) -> None:
    """A pattern goes to a server that builds a grammar of it; here it is never run."""
    if len(pattern) > MAX_PATTERN:
        raise budget.wrong("a pattern is too long", f"Use at most {MAX_PATTERN} characters.")
    digits = "".join(c if c.isdecimal() else " " for c in pattern).split()
    counts = [int(number) for number in digits if len(number) < 10]
    if len(counts) < len(digits) or any(count > MAX_COUNT for count in counts):
        raise budget.wrong("a pattern repeats too often", f"Repeat at most {MAX_COUNT} times.")
    budget.take(counts=sum(counts))


def inlined(schema: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """The schema with what its `#` references name put in their places. Raises BadInput for one that leads nowhere or
    into itself. For those who take a schema apart and keep only pieces of it."""

    def put(value: Any, within: tuple[str, ...]) -> Any:
        budget.take(nodes=1)
        if isinstance(value, list):
            return [put(item, within) for item in value]
        if not isinstance(value, Mapping):
            return value
        reference = value.get("$ref")
        if not isinstance(reference, str):
            return {str(key): put(item, within) for key, item in value.items()}
        if reference in within or len(within) >= MAX_DEPTH:
            raise budget.wrong(f"{reference[:80]!r} refers to itself", "Write the schema without recursion.")
        beside = {key: item for key, item in value.items() if key != "$ref"}
        found = _target(schema, reference, budget)
        merged = {**found, **beside} if isinstance(found, Mapping) else found
        return put(merged, (*within, reference))

    if not any(f'"{key}"' in json.dumps(schema, default=str) for key in _REFERENCES):
        return dict(schema)
    kept = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    made: dict[str, Any] = put(kept, ())
    return made


def _target(schema: Mapping[str, Any], reference: str, budget: Budget) -> Any:
    """What a JSON Pointer such as #/$defs/x names."""
    place: Any = schema
    for part in reference.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(place, Mapping) and name in place:
            place = place[name]
        elif isinstance(place, list) and name.isdecimal() and int(name) < len(place):
            place = place[int(name)]
        else:
            raise budget.wrong(f"{reference[:80]!r} names nothing", "Refer to a part of the same schema: #/$defs/…")
    return place
