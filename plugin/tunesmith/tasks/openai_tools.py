"""OpenAI's form of tools and calls → the text that the task tool_use trains on and is served with."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith import json_safely
from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Message, Row
from tunesmith.tasks.prompting import neutral
from tunesmith.tasks.tools import BEFORE_RESULT, BEHIND_RESULT, Call, Tool, read_tools, system_text, write_calls


def row_from_openai(data: Mapping[str, Any]) -> Row:
    """A line of OpenAI's fine-tuning format, {"messages": […], "tools": […]}; the last message is the answer.

    Raises BadInput for what is no such line.
    """
    messages = data.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _wrong("there is no list of messages")
    row = Row(to_text(messages, read_tools(data.get("tools") or [])))
    if row.messages[-1]["role"] != "assistant" or not row.answer.strip():
        raise _wrong("the last message is not the assistant's answer")
    if not any(message["role"] == "user" for message in row.prompt):
        raise _wrong("there is no user message")
    return row


def to_text(messages: Sequence[Any], tools: Sequence[Tool], system: str | None = None) -> list[Message]:
    """Messages as text alone: tools in the system prompt, calls in the assistant's turns, results in user turns.

    `system` stands in where the messages have no system prompt of their own. Results come as user turns, because many
    chat templates know no other. Raises BadInput for a role or content that cannot be text.
    """
    turns = [_turn(message) for message in messages]
    own = [text for role, text in turns if role == "system"]
    first = system_text(tools, "\n\n".join(own) or system)
    found: list[Message] = [{"role": "system", "content": first}] if first else []
    previous = ""
    for role, text in turns:
        if role == "tool" and previous == "tool":
            found[-1]["content"] += "\n" + text
        elif role == "tool":
            found.append({"role": "user", "content": text})
        elif role == "user" or role == "assistant":
            found.append({"role": "user" if role == "user" else "assistant", "content": text})
        previous = role
    return found


def _turn(message: Any) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        raise _wrong(f"a message is {type(message).__name__}, no object")
    role = "system" if message.get("role") == "developer" else message.get("role")
    if role not in ("system", "user", "assistant", "tool"):
        raise _wrong(f"a message has the role {message.get('role')!r}")
    calls = message.get("tool_calls") if role == "assistant" else None
    if calls and not isinstance(calls, list):
        raise _wrong(f"tool_calls is {type(calls).__name__}, no list")
    if calls:
        return "assistant", write_calls([_call(item) for item in calls])
    text = _text(message.get("content"))
    if role == "tool":
        text = BEFORE_RESULT + neutral(text).replace("</tool_response", "< /tool_response") + BEHIND_RESULT
    return str(role), text


def _text(content: Any) -> str:
    if isinstance(content, list) and all(isinstance(p, Mapping) and p.get("type") == "text" for p in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise _wrong(f"the content of a message is {type(content).__name__}, not text")
    return content


def _call(item: Any) -> Call:
    function = item.get("function") if isinstance(item, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise _wrong("a tool call has no function with a name")
    arguments = function.get("arguments") or "{}"
    try:
        parsed = json_safely.loads(arguments) if isinstance(arguments, str) else arguments
        json_safely.check(parsed)
    except json_safely.NotJson as error:
        raise _wrong(f"the arguments of {function['name'][:80]} are no JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise _wrong(f"the arguments of {function['name'][:80]} are no object")
    return Call(function["name"], parsed)


def _wrong(what: str) -> BadInput:
    return BadInput(
        f"This is no conversation with tools: {what}.",
        code="bad_messages",
        param="messages",
        hint='Write {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "tool_calls": […]}]}.',
    )
