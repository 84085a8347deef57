"""What a format is, what is said about a row that cannot be read, and the checks that every row passes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Message, Row

_SHOWN = 300  # characters of a reason, which may quote what it complains of


class Wrong(Exception):
    """Why one row cannot be read or written. `what` goes on with "Line 3 …"."""

    def __init__(self, what: str, hint: str, code: str):
        super().__init__(what)
        self.what, self.hint, self.code = what, hint, code

    def at(self, line: int, unit: str = "Line") -> BadInput:
        return BadInput(f"{unit} {line} {shown(self.what)}.", code=self.code, hint=self.hint, param="file")


def shown(text: str) -> str:
    """What a message may quote of a file: a part of it, and nothing that cannot be sent."""
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class Refused:
    """A line (or a row of a table, from 1) that became no row, and why."""

    line: int
    error: BadInput


@dataclass(frozen=True)
class Record:
    """One JSON object, or one row of a table, before its format is known."""

    line: int
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """One shape of a row. `read` and `write` raise `Wrong`; what `write` makes, `read` takes back."""

    name: str
    example: str
    matches: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any]], Row]
    write: Callable[[Row], dict[str, Any]]


def finished(messages: list[Message], data: Mapping[str, Any], rejected: str | None = None) -> Row:
    """The row, once its turns, its weight and its provenance are in order."""
    check_turns(messages)
    provenance = data.get("provenance")
    given = dict(provenance) if isinstance(provenance, Mapping) else {}
    return Row(messages, given, _weight(data), rejected)


def check_turns(messages: Sequence[Message]) -> None:
    """At most one system prompt, first; a user turn; an answer that is not empty, last."""
    roles = [m["role"] for m in messages]
    if roles.count("system") > 1:
        raise Wrong("has two system prompts", "At most one, as the first turn.", "two_system_prompts")
    if "system" in roles[1:]:
        raise Wrong("has its system prompt in the middle", "At most one, as the first turn.", "wrong_order")
    if "user" not in roles:
        raise Wrong("has no user turn", "A row is a question and its answer.", "no_prompt")
    if roles[-1] != "assistant":
        raise Wrong(f"ends with a turn of {roles[-1]!r}", "The last turn is the answer that is learnt.", "no_answer")
    if not messages[-1]["content"].strip():
        raise Wrong("has an empty answer", "Leave the row out, or write what the model should say.", "empty_answer")


def text_of(value: Any, where: str) -> str:
    """The text of a string, or of content parts that are all text."""
    if isinstance(value, list) and value and all(isinstance(p, Mapping) and p.get("type") == "text" for p in value):
        value = "".join(str(part.get("text", "")) for part in value)
    if not isinstance(value, str):
        raise Wrong(f"{where} is {type(value).__name__}, not text", "Only text can be learnt.", "not_text")
    if "\x00" in value:
        raise Wrong(f"{where} holds a NUL character", "Remove it: it is binary data, not text.", "nul_byte")
    return value


def optional_text(data: Mapping[str, Any], key: str) -> str:
    """The text under `key`; empty when it is missing or null."""
    return text_of(data[key], repr(key)) if data.get(key) is not None else ""


def with_system(system: str, messages: list[Message]) -> list[Message]:
    return [{"role": "system", "content": system}, *messages] if system else messages


def _weight(data: Mapping[str, Any]) -> float:
    weight = data.get("weight")
    if weight is None:
        return 1.0
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 100:
        raise Wrong(f"has the weight {weight!r}", "A weight is a number from 0 to 100.", "bad_weight")
    return float(weight)
