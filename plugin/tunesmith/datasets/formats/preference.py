"""Preference pairs: one prompt, the answer that was preferred and the one that was not."""

from collections.abc import Mapping
from typing import Any

from tunesmith.datasets.formats.base import Format, Wrong, finished, optional_text, text_of, with_system
from tunesmith.datasets.formats.conversations import turns
from tunesmith.datasets.formats.instructions import instruction_of, prompt_turns
from tunesmith.tasks.conversation import Message, Row

_OPENAI = {"input", "preferred_output", "non_preferred_output"}
_EXAMPLE = (
    '{"input": {"messages": [{"role": "user", "content": "…"}]}, "preferred_output": [{"role": "assistant", '
    '"content": "…"}], "non_preferred_output": [{"role": "assistant", "content": "…"}]}'
)


def _read(data: Mapping[str, Any]) -> Row:
    if set(data) >= _OPENAI:
        asked = turns(data["input"].get("messages") if isinstance(data["input"], Mapping) else None)
        keys = ("preferred_output", "non_preferred_output")
    else:
        asked, keys = _prompt(data), ("chosen", "rejected")
    chosen, rejected = (_answer(data[key], key, len(asked)) for key in keys)
    if chosen == rejected:
        raise Wrong("prefers an answer to itself", "The two answers must differ.", "no_preference")
    said: list[Message] = [*asked, {"role": "assistant", "content": chosen}]
    return finished(with_system(optional_text(data, "system"), said), data, rejected)


def _prompt(data: Mapping[str, Any]) -> list[Message]:
    """What both answers answer, in any of the ways in which trainers write it."""
    if data.get("prompt") is not None:
        return prompt_turns(data["prompt"])
    if "conversations" in data:
        return turns(data["conversations"], "from", "value")
    if "instruction" in data:
        return prompt_turns(instruction_of(data))
    return _shared(turns(data["chosen"]), turns(data["rejected"]))


def _answer(value: Any, key: str, prompt_length: int) -> str:
    """The text of one answer: plain, as one turn, or as the last turn after the prompt's."""
    if isinstance(value, str):
        return text_of(value, repr(key))
    spelling = ("from", "value") if isinstance(value, Mapping) and "from" in value else ("role", "content")
    said = turns([value] if isinstance(value, Mapping) else value, *spelling)
    if len(said) not in (1, prompt_length + 1) or said[-1]["role"] != "assistant":
        raise Wrong(f"{key!r} is not one turn of the assistant", f"Write {_EXAMPLE}.", "bad_turn")
    return said[-1]["content"]


def _shared(chosen: list[Message], rejected: list[Message]) -> list[Message]:
    """The prompt where both answers carry it: the same turns but the last."""
    if chosen[:-1] != rejected[:-1]:
        raise Wrong("has two different prompts for its two answers", "Both answer the same prompt.", "bad_turn")
    return chosen[:-1]


def _write(row: Row) -> dict[str, Any]:
    if row.rejected is None:
        raise Wrong("has no rejected answer", "Export it as messages.", "not_in_this_format")
    return {
        "input": {"messages": [dict(m) for m in row.prompt]},
        "preferred_output": [{"role": "assistant", "content": row.answer}],
        "non_preferred_output": [{"role": "assistant", "content": row.rejected}],
        **({"weight": row.weight} if row.weight != 1.0 else {}),
    }


PREFERENCE = Format(
    "preference",
    _EXAMPLE,
    lambda data: set(data) >= _OPENAI or {"chosen", "rejected"} <= set(data),
    _read,
    _write,
)
