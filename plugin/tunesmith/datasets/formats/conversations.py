"""Lists of turns: ShareGPT, and messages as OpenAI's chat API writes them."""

from collections.abc import Mapping
from typing import Any

from tunesmith.datasets.formats.base import Format, Wrong, finished, optional_text, text_of, with_system
from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Message, Role, Row, to_sharegpt
from tunesmith.tasks.openai_tools import row_from_openai

_SHAREGPT_ROLES: dict[str, Role] = {
    "system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "tool": "tool", "observation": "tool",
}  # fmt: skip
_ROLES: dict[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
}  # fmt: skip


def turns(value: Any, who: str = "role", what: str = "content") -> list[Message]:
    """Turns of either spelling, with the roles as Tunesmith writes them."""
    if not isinstance(value, list) or not value:
        example = SHAREGPT.example if who == "from" else MESSAGES.example
        raise Wrong("has no list of turns", f"Write {example}.", "no_turns")
    return [_turn(turn, index, who, what) for index, turn in enumerate(value, start=1)]


def _turn(turn: Any, index: int, who: str, what: str) -> Message:
    known = _SHAREGPT_ROLES if who == "from" else _ROLES
    if isinstance(turn, Mapping) and turn.get("tool_calls"):
        raise Wrong(f"turn {index} calls a tool", "Tool calls are not read: write them as text.", "tool_calls")
    if not isinstance(turn, Mapping) or who not in turn or what not in turn:
        example = SHAREGPT.example if who == "from" else MESSAGES.example
        raise Wrong(f"turn {index} lacks {who!r} or {what!r}", f"Write {example}.", "bad_turn")
    name = turn[who]
    if not isinstance(name, str) or name not in known:
        raise Wrong(f"turn {index}: {who!r} is {name!r}", f"Use one of: {', '.join(known)}.", "wrong_role")
    return {"role": known[name], "content": text_of(turn[what], f"turn {index}: {what!r}")}


def _rejected(data: Mapping[str, Any]) -> str | None:
    return text_of(data["rejected"], "'rejected'") if data.get("rejected") is not None else None


def _read_sharegpt(data: Mapping[str, Any]) -> Row:
    said = turns(data["conversations"], "from", "value")
    row = finished(with_system(optional_text(data, "system"), said), data, _rejected(data))
    given = data.get("unlearnt")
    row.unlearnt = [place for place in given if isinstance(place, int)] if isinstance(given, list) else []
    return row


def _read_messages(data: Mapping[str, Any]) -> Row:
    """OpenAI's `weight: 0` marks an answer that is only read; what follows the last learnt one teaches nothing."""
    said = _with_tools(data) if _has_tools(data) else turns(data["messages"])
    places = [place for place, message in enumerate(said) if message["role"] == "assistant"]
    weights = [turn.get("weight") for turn in data["messages"] if turn["role"] == "assistant"]
    muted = [place for place, weight in zip(places, weights, strict=True) if weight == 0]
    learnt = [place for place in places if place not in muted]
    if muted and not learnt:
        raise Wrong("has weight 0 on every answer", "Leave the row out, or give an answer weight 1.", "no_answer")
    row = finished(said[: learnt[-1] + 1] if muted else said, data, _rejected(data))
    row.unlearnt = [place for place in muted if place < len(row.messages)]
    return row


def _has_tools(data: Mapping[str, Any]) -> bool:
    """Whether the line is one of OpenAI's for function calling."""
    said = data["messages"] if isinstance(data["messages"], list) else []
    return bool(data.get("tools")) or any(isinstance(m, Mapping) and m.get("tool_calls") for m in said)


def _with_tools(data: Mapping[str, Any]) -> list[Message]:
    """Tools and calls as the text that the task tool_use trains on."""
    try:
        said = row_from_openai(data).messages
    except BadInput as error:
        hint = error.hint or "Look at OpenAI's form of tools and tool_calls."
        raise Wrong(f"has tools that cannot be read: {error.message.rstrip('.')}", hint, "tool_calls") from error
    for message in said:
        text_of(message["content"], "a message")
    return said


def _weighted(row: Row) -> list[dict[str, Any]]:
    return [{**m, "weight": 0} if i in row.unlearnt else dict(m) for i, m in enumerate(row.messages)]


def _extras(row: Row) -> dict[str, Any]:
    """What the row has beyond its turns; other programs pass over these keys."""
    weight = {"weight": row.weight} if row.weight != 1.0 else {}
    return {**weight, **({"rejected": row.rejected} if row.rejected is not None else {})}


SHAREGPT = Format(
    "sharegpt",
    '{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}',
    lambda data: "conversations" in data,
    _read_sharegpt,
    lambda row: {
        "conversations": to_sharegpt(row.messages),
        **_extras(row),
        **({"unlearnt": row.unlearnt} if row.unlearnt else {}),
    },
)
MESSAGES = Format(
    "messages",
    '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}',
    lambda data: "messages" in data,
    _read_messages,
    lambda row: {"messages": _weighted(row), **_extras(row)},
)
