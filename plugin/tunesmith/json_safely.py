"""JSON from callers and their files. What Python's own reader lets through (NaN, lone surrogates, any depth, numbers
without end) breaks whoever writes it down later, so it is refused where it comes in."""

import math
from collections.abc import Iterable
from itertools import chain
from typing import Any

from pydantic_core import from_json

MAX_DEPTH = 100  # a JSON Schema of a tool nests about ten deep; writers of JSON give up beyond some hundreds
MAX_INTEGER = 2**63 - 1  # what databases, and most readers of JSON, hold
ANY_INTEGER = 10**300  # in an answer, which may be an account number
_TOO_DEEP = f"it is nested more than {MAX_DEPTH} deep"
_BOM = b"\xef\xbb\xbf"


class NotJson(ValueError):
    """Why a text is no JSON that can be worked with, as a clause without a full stop."""


def loads(text: str | bytes, *, largest: int = MAX_INTEGER) -> Any:
    """The value of one JSON document in UTF-8. Raises NotJson for anything else, and for values that are not for
    everyone: NaN, numbers beyond 64 bits (whole ones beyond `largest`), half a surrogate pair, arrays and objects more
    than `MAX_DEPTH` deep."""
    if isinstance(text, str):
        _check_text(text)
    try:
        value = from_json(text.removeprefix(_BOM) if isinstance(text, bytes) else text, allow_inf_nan=False)
    except ValueError as error:
        raise NotJson(_reason(str(error))) from error
    check(value, largest=largest)
    return value


def check(value: Any, *, largest: int = MAX_INTEGER) -> None:
    """As `loads`, of a value that another reader of JSON has read. Raises NotJson."""
    level = [value]
    _check_one(value, largest)
    for _ in range(MAX_DEPTH):
        deeper = []
        for item in (item for container in level for item in _items(container)):
            if isinstance(item, dict | list):
                deeper.append(item)
            else:
                _check_one(item, largest)
        if not deeper:
            return
        level = deeper
    raise NotJson(_TOO_DEEP)


def _items(container: Any) -> Iterable[Any]:
    if isinstance(container, dict):
        return chain(container, container.values())
    return container if isinstance(container, list) else ()


def _check_one(item: Any, largest: int) -> None:
    if isinstance(item, str):
        _check_text(item)
    elif isinstance(item, float):
        if not math.isfinite(item):
            raise NotJson("a number is too large, or none")
    elif isinstance(item, int) and not -largest - 1 <= item <= largest:
        raise NotJson("a whole number is too large")


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotJson(f"a text holds half a surrogate pair, \\u{ord(text[error.start]):04x}") from error


def _reason(said: str) -> str:
    if said.startswith("recursion limit"):
        return _TOO_DEEP
    if "surrogate" in said or "hex escape" in said:
        return f"a text holds half a surrogate pair, {said}"
    return said
