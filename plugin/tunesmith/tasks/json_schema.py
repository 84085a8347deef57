"""JSON Schema as callers write it, with bounded work: nothing is fetched, and no pattern of theirs is run.

A regular expression can take exponential time, and so can a few nested references without one. Patterns are therefore
not checked, but for our own; and a check gives up when it has looked at too much.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable

from tunesmith.tasks.schema import DATE_PATTERN, MONEY_PATTERN

WORK = 100_000  # keywords that one check may look at, a long list or mapping in the schema counting as more
_OURS = {MONEY_PATTERN: re.compile(MONEY_PATTERN), DATE_PATTERN: re.compile(DATE_PATTERN)}
_Keyword = Callable[[Any, Any, Any, Any], Any]
_left: ContextVar[list[int]] = ContextVar("work left")


class NotChecked(Exception):
    """The schema cannot be followed, or asks for too much work."""


def schema_error(schema: Any) -> str | None:
    """Why this is no JSON Schema, or None. Raises NotChecked for one of a size that nobody needs."""
    return first_error(_Validator(_Validator.META_SCHEMA, registry=REGISTRY), schema)


def validator(schema: Any) -> Any:
    """What `first_error` and `fits` take: made once where many values are checked."""
    return _Validator(schema, registry=Registry())


def first_error(by: Any, value: Any) -> str | None:
    """What is wrong with the value, or None. Raises NotChecked."""
    token = _left.set([WORK])
    try:
        error: ValidationError | None = next(by.iter_errors(value), None)
    except (Unresolvable, RecursionError) as failure:
        raise NotChecked(f"cannot be followed: {type(failure).__name__}") from failure
    finally:
        _left.reset(token)
    return error.message[:200] if error else None


def fits(by: Any, value: Any) -> bool:
    """Whether the value follows the schema; one that cannot be checked does not."""
    try:
        return first_error(by, value) is None
    except NotChecked:
        return False


def _counted(keyword: _Keyword) -> _Keyword:
    def check(by: Any, value: Any, instance: Any, schema: Any) -> Any:
        left = _left.get()
        left[0] -= 1 + (len(value) // 16 if isinstance(value, list | dict) else 0)
        if left[0] < 0:
            raise NotChecked("asks for too much work")
        return keyword(by, value, instance, schema)

    return check


def _pattern(by: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    ours = _OURS.get(pattern) if isinstance(pattern, str) else None
    if ours is not None and isinstance(instance, str) and not ours.search(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _unchecked(by: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    return iter(())


def _additional(by: Any, value: Any, instance: Any, schema: Any) -> Any:
    """Where patterns say which properties are additional, nobody knows without running them."""
    if "patternProperties" in schema:
        return None
    return _STANDARD["additionalProperties"](by, value, instance, schema)


def _unique(by: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """The library compares every item with every other."""
    if wanted and isinstance(instance, list):
        texts = [json.dumps(item, sort_keys=True) for item in instance]
        if len(set(texts)) < len(texts):
            yield ValidationError("some items are there twice")


_STANDARD: dict[str, _Keyword] = dict(jsonschema.Draft202012Validator.VALIDATORS)
_OWN: dict[str, _Keyword] = {
    "pattern": _pattern,
    "patternProperties": _unchecked,
    "additionalProperties": _additional,
    "unevaluatedProperties": _unchecked,  # it runs the patterns of what it looks through
    "uniqueItems": _unique,
}
_Validator: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {name: _counted(keyword) for name, keyword in (_STANDARD | _OWN).items()}
)
