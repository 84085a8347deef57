"""A row's text ⇄ the conversation as callers send it: tools, calls and results in OpenAI's form.

What a model is trained with is rendered from this form by its own chat template, so a caller's request gives the same
tokens. Tools are reduced to what Ollama passes on of them: a model must not learn from what it will never be shown.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.tasks.conversation import Message
from tunesmith.tasks.style import parse_object
from tunesmith.tasks.tools import (
    BEFORE_RESULT,
    BEHIND_RESULT,
    Call,
    Tool,
    call_bodies,
    split_system,
    tools_of,
    write_calls,
)

# In the order in which Ollama writes them.
_OF_PARAMETERS = ("type", "$defs", "items", "required", "properties")
_OF_PROPERTY = ("anyOf", "type", "items", "description", "enum", "properties", "required")


@dataclass(frozen=True)
class Conversation:
    """`messages` and `tools` as a chat template takes them: arguments are objects, and every content is a text."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]

    def as_sent(self) -> dict[str, Any]:
        """The same in a request of OpenAI's protocol, where arguments are JSON."""
        messages = [_sent(message) for message in self.messages]
        return {"messages": messages, **({"tools": self.tools} if self.tools else {})}


def _sent(message: dict[str, Any]) -> dict[str, Any]:
    calls = [
        {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
        for call in message.get("tool_calls") or ()
    ]
    return {**message, "tool_calls": calls} if calls else message


def read_conversation(messages: Sequence[Message]) -> Conversation | None:
    """None for text about tools that is not written as `openai_tools.to_text` writes it."""
    tools: list[Tool] = []
    found: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        role, text = message["role"], message["content"]
        if role == "system" and place == 0 and "<tools>" in text:
            own = split_system(text)
            tools = tools_of(messages)
            if own is None or not tools:
                return None
            found += [{"role": "system", "content": own}] if own else []
        elif role == "assistant" and "<tool_call" in text:
            calls = _calls(text, tools)
            if not calls:
                return None
            found.append({"role": "assistant", "content": "", "tool_calls": calls})
        elif role == "user" and found and found[-1].get("tool_calls") and _is_result(text):
            found += _results(text, found[-1]["tool_calls"])
        else:
            found.append(dict(message))
    return Conversation(found, [as_passed_on(tool) for tool in tools])


def answer_text(message: Mapping[str, Any]) -> str:
    """An answer as rows have it: its calls as text where it makes any."""
    calls = [_call(item) for item in message.get("tool_calls") or []]
    return write_calls(calls) if calls else str(message.get("content") or "")


def _call(item: Mapping[str, Any]) -> Call:
    function = item.get("function") or {}
    arguments = function.get("arguments") or "{}"
    read = parse_object(arguments) if isinstance(arguments, str) else arguments
    return Call(str(function.get("name")), read if isinstance(read, dict) else {"": str(arguments)})


def as_passed_on(tool: Tool) -> dict[str, Any]:
    """The tool in OpenAI's form, with what Ollama leaves of it, in its order. (It reads a tool into structures of its
    own: bounds, formats, defaults and titles are lost.)"""
    parameters: dict[str, Any] = {"type": "object", "properties": {}}
    if tool.parameters.get("properties"):
        parameters = _some({**tool.parameters, "type": "object"}, _OF_PARAMETERS)
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _some(schema: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    kept = {key: schema[key] for key in keys if schema.get(key)}
    for key, value in kept.items():
        if key == "properties" and isinstance(value, dict):
            kept[key] = {name: _some(p, _OF_PROPERTY) if isinstance(p, dict) else {} for name, p in value.items()}
        elif key == "anyOf" and isinstance(value, list):
            kept[key] = [_some(one, _OF_PROPERTY) for one in value if isinstance(one, dict)]
        elif key == "type" and isinstance(value, list) and len(value) == 1:
            kept[key] = value[0]
        elif key in ("items", "$defs"):
            kept[key] = _sorted(value)
    return kept


def _sorted(value: Any) -> Any:
    """Go writes what it knows no structure for in the order of the keys."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _calls(text: str, tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The calls of an answer, arguments in the order of the tool's schema; none when one of them cannot be read."""
    order = {tool.name: list(tool.parameters.get("properties", {})) for tool in tools}
    made: list[dict[str, Any]] = []
    for body in call_bodies(text):
        call = parse_object(body)
        if call is None or set(call) != {"name", "arguments"} or not isinstance(call["arguments"], dict):
            return []
        given, name = call["arguments"], str(call["name"])
        arguments = {key: given[key] for key in order.get(name, ()) if key in given} | given
        function = {"name": name, "arguments": {key: _plain(value) for key, value in arguments.items()}}
        made.append({"id": f"call{len(made):05}", "type": "function", "function": function})
    return made


def _plain(value: Any) -> Any:
    """5.0 as 5: llama.cpp writes it so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_result(text: str) -> bool:
    return text.startswith(BEFORE_RESULT) and text.endswith(BEHIND_RESULT)


def _results(text: str, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    inside = text[len(BEFORE_RESULT) : -len(BEHIND_RESULT)]
    parts = inside.split(BEHIND_RESULT + "\n" + BEFORE_RESULT)
    return [
        {"role": "tool", "tool_call_id": calls[min(n, len(calls) - 1)]["id"], "content": part}
        for n, part in enumerate(parts)
    ]
