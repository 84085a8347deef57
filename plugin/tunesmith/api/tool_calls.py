"""OpenAI's `tools` in a chat request, for a model that was trained to call them: as text in, as `tool_calls` out."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from tunesmith.errors import BadInput
from tunesmith.recipes import answering
from tunesmith.serving.tool_asking import Choice
from tunesmith.store.artifacts import new_id
from tunesmith.tasks.base import Constraint
from tunesmith.tasks.native_tools import answer_text
from tunesmith.tasks.openai_tools import to_text
from tunesmith.tasks.tool_use import ToolUse
from tunesmith.tasks.tools import Tool, read_answer, read_tools


def are_asked_for(asked: Mapping[str, Any]) -> bool:
    """Whether the request offers tools, or goes on from a call."""
    messages = asked["messages"]
    return bool(asked.get("tools")) or any(m.get("role") == "tool" or m.get("tool_calls") for m in messages)


def as_text(task: ToolUse, asked: Mapping[str, Any]) -> tuple[dict[str, Any], Constraint | None, list[Tool]]:
    """The request as text, what its answer is held to, and the tools that it may call. Raises BadInput."""
    tools = read_tools(asked.get("tools") or []) or task.tools
    allowed, must = _chosen(tools, asked.get("tool_choice") or "auto")
    messages = to_text(asked["messages"], tools, task.system)
    several = asked.get("parallel_tool_calls") is not False
    constraint = task.constraint_to(allowed, text=not must, several=several)
    return {**answering.without_tools(asked), "messages": messages}, constraint, allowed


def choice_of(asked: Mapping[str, Any], allowed: Sequence[Tool]) -> Choice:
    """The caller's choice, for a model that is given tools as they are."""
    must = (asked.get("tool_choice") or "auto") not in ("auto", "none")
    return Choice([tool.name for tool in allowed], must)


def _chosen(tools: list[Tool], choice: Any) -> tuple[list[Tool], bool]:
    """The tools that `tool_choice` leaves, and whether one must be called."""
    if choice in ("auto", "none"):
        return (tools if choice == "auto" else []), False
    if choice == "required" and tools:
        return tools, True
    function = choice.get("function") if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    named = [tool for tool in tools if tool.name == name]
    if not named:
        raise BadInput(
            f"tool_choice is {str(choice)[:80]!r}, which is none of the tools.",
            param="tool_choice",
            hint='Use auto, none, required, or {"type": "function", "function": {"name": …}} of a tool in tools.',
        )
    return named, True


def with_calls(completion: dict[str, Any], tools: list[Tool]) -> dict[str, Any]:
    """The completion with valid calls of known tools as `tool_calls`; anything else stays the text that it was."""
    return {**completion, "choices": [_choice(choice, tools) for choice in completion.get("choices", [])]}


def _choice(choice: dict[str, Any], tools: list[Tool]) -> dict[str, Any]:
    message = choice.get("message") or {}
    text = answer_text(message)
    answer = read_answer(text, tools)
    if not answer.calls:
        return choice if text == message.get("content") else _plain(choice, text)
    calls = [
        {
            "id": new_id("call"),
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
        }
        for call in answer.calls
    ]
    return {**choice, "message": {**message, "content": None, "tool_calls": calls}, "finish_reason": "tool_calls"}


def _plain(choice: dict[str, Any], text: str) -> dict[str, Any]:
    """The choice with calls that are not valid as the text that the model wrote."""
    message = {key: value for key, value in choice["message"].items() if key != "tool_calls"}
    reason = choice.get("finish_reason")
    ended = "stop" if reason == "tool_calls" else reason
    return {**choice, "message": {**message, "content": text}, "finish_reason": ended}


async def as_stream(completion: dict[str, Any]) -> AsyncIterator[str]:
    """The whole completion as a stream of events: whether text is a call shows only at its end."""
    about = {key: completion[key] for key in ("id", "created", "model") if key in completion}
    for choice in completion["choices"]:
        message = choice["message"]
        calls = [{"index": i, **call} for i, call in enumerate(message.get("tool_calls") or [])]
        delta = {"role": "assistant", "content": message.get("content"), **({"tool_calls": calls} if calls else {})}
        for part, reason in ((delta, None), ({}, choice.get("finish_reason"))):
            shown = {"index": choice.get("index", 0), "delta": part, "finish_reason": reason}
            yield f"data: {json.dumps({**about, 'object': 'chat.completion.chunk', 'choices': [shown]})}\n\n"
    yield "data: [DONE]\n\n"
