"""Tools and calls of them as text: the list in the system prompt, a call in the answer, read back strictly.

The form is the one of Hermes: any chat template can carry it, and many base models have seen it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tunesmith import json_safely
from tunesmith.errors import BadInput
from tunesmith.tasks import json_schema
from tunesmith.tasks.conversation import Message
from tunesmith.tasks.schema_bounds import Budget, bounded
from tunesmith.tasks.style import Style, parse_object

MAX_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OPEN, _CLOSE = "<tools>\n", "\n</tools>"
_MARK = re.compile(r"</?tool_call")
_ASK = """Call a tool when one fits. The tools:
<tools>
{tools}
</tools>
A call is written as
<tool_call>
{{"name": …, "arguments": {{…}}}}
</tool_call>
When no tool fits, or a required value is not given, say so instead."""
BEFORE_TOOLS, BEHIND_TOOLS = _ASK.format(tools="\0").split("\0")
BEFORE_RESULT, BEHIND_RESULT = "<tool_response>\n", "\n</tool_response>"


@dataclass(frozen=True)
class Tool:
    name: str
    description: str
    parameters: dict[str, Any]

    @cached_property
    def _validator(self) -> Any:
        return json_schema.validator(self.parameters)

    def problem(self, arguments: Mapping[str, Any]) -> str | None:
        """What is wrong with the arguments of a call, or None. Arguments that the schema does not name are wrong."""
        unknown = sorted(set(arguments) - set(self.parameters.get("properties", {})))
        if unknown and not self.parameters.get("additionalProperties"):
            return f"{self.name} has no argument {unknown[0]!r}"
        try:
            error = json_schema.first_error(self._validator, dict(arguments))
        except json_schema.NotChecked as failure:
            return f"the schema of {self.name} {failure}"
        return f"{self.name}: {error}" if error else None

    def as_line(self) -> str:
        """One JSON object on one line; it can neither end the list nor write a template's control tokens."""
        shown = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return json.dumps(shown, ensure_ascii=False).replace("<", "\\u003c")


@dataclass(frozen=True)
class Call:
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """An answer as it was read: calls, or plain text. `problem`: why it is neither; then `text` has all of it."""

    text: str
    calls: tuple[Call, ...] = ()
    problem: str | None = None


def read_tools(given: Any) -> list[Tool]:
    """Tools in OpenAI's form ({"type": "function", "function": …}), as bare functions, or as MCP lists them.

    Raises BadInput: invalid_tool, duplicate_tool.
    """
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > MAX_TOOLS:
        raise _invalid(f"tools must be a list of at most {MAX_TOOLS}")
    budget = Budget("tools")
    tools = [_read_tool(item, budget) for item in given]
    names = [tool.name for tool in tools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise BadInput(
            f"Two tools are called {twice!r}.", code="duplicate_tool", param="tools", hint="Give each its own name."
        )
    return tools


def _read_tool(item: Any, budget: Budget) -> Tool:
    function = item.get("function", item) if isinstance(item, Mapping) else None
    if not isinstance(function, Mapping) or not _NAME.fullmatch(str(function.get("name", ""))):
        raise _invalid(f"a tool has no name of letters, digits, dots, - and _: {str(item)[:80]!r}")
    name = str(function["name"])
    schema = function.get("parameters", function.get("inputSchema")) or {"type": "object", "properties": {}}
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise _invalid(f"the parameters of {name} are no JSON Schema of an object")
    if not isinstance(schema.get("properties", {}), dict):
        raise _invalid(f"the properties of {name} are no mapping")
    try:
        schema = bounded(schema, budget)
        wrong = json_schema.schema_error(schema)
    except BadInput as error:
        raise _invalid(f"the parameters of {name} are no JSON Schema that can be used: {error.message}") from error
    except (json_schema.NotChecked, TypeError, ValueError, RecursionError) as error:
        raise _invalid(f"the parameters of {name} are no JSON Schema: {str(error)[:120]}") from error
    if wrong:
        raise _invalid(f"the parameters of {name} are no JSON Schema: {wrong[:120]}")
    return Tool(name, str(function.get("description") or ""), schema)


def system_text(tools: Sequence[Tool], own: str | None = None) -> str:
    """The system prompt that offers the tools, below the caller's own."""
    listed = "\n".join(tool.as_line() for tool in tools)
    asked = BEFORE_TOOLS + listed + BEHIND_TOOLS if tools else None
    return "\n\n".join(part for part in (own, asked) if part)


def split_system(text: str) -> str | None:
    """What stands above the list in a system prompt of `system_text`; None for one that was written otherwise."""
    own, found, _ = text.rpartition(BEFORE_TOOLS)
    if not found or not text.endswith(BEHIND_TOOLS) or (own and not own.endswith("\n\n")):
        return None
    return own.removesuffix("\n\n")


def tools_of(messages: Sequence[Message]) -> list[Tool]:
    """The tools that the system prompt offers; none when it has no list, or a broken one."""
    system = messages[0]["content"] if messages and messages[0]["role"] == "system" else ""
    _, opened, rest = system.partition(_OPEN)
    text, closed, _ = rest.partition(_CLOSE)
    if not opened or not closed:
        return []
    text = text.strip()
    try:
        read = json_safely.loads
        listed = read(text) if text.startswith("[") else [read(line) for line in text.splitlines()]
        return read_tools(listed)
    except (json_safely.NotJson, BadInput):
        return []


def write_calls(calls: Sequence[Call], style: Style | None = None) -> str:
    """An answer that makes these calls."""
    style = style or Style()
    bodies = (style.dump({"name": call.name, "arguments": call.arguments}) for call in calls)
    return "\n".join("<tool_call>\n" + body.replace("</", "<\\/") + "\n</tool_call>" for body in bodies)


def call_bodies(answer: str) -> list[str]:
    """The JSON of each call in an answer, as written; none when there is anything beside the calls."""
    head, *parts = answer.split("<tool_call>")
    if head.strip():
        return []
    bodies = []
    for part in parts:
        body, end, rest = part.partition("</tool_call>")
        if not end or rest.strip():
            return []
        bodies.append(body.strip())
    return bodies


def read_answer(answer: str, tools: Sequence[Tool]) -> Answer:
    """Calls of known tools with valid arguments and nothing beside them, or plain text. Nothing is mended."""
    if not _MARK.search(answer):
        return Answer(answer, problem=None if answer.strip() else "the answer is empty")
    bodies = call_bodies(answer)
    if not bodies:
        return Answer(answer, problem="there is text beside the call, or the call is not closed")
    known, calls = {tool.name: tool for tool in tools}, []
    for body in bodies:
        found = parse_object(body)
        if found is None or set(found) != {"name", "arguments"} or not isinstance(found["arguments"], dict):
            return Answer(answer, problem='a call is no object of "name" and "arguments"')
        tool = known.get(str(found["name"]))
        problem = tool.problem(found["arguments"]) if tool else f"there is no tool {found['name']!r}"
        if problem:
            return Answer(answer, problem=problem)
        calls.append(Call(str(found["name"]), found["arguments"]))
    return Answer(answer, tuple(calls))


def _invalid(what: str) -> BadInput:
    return BadInput(
        f"The tools cannot be used: {what}.",
        code="invalid_tool",
        param="tools",
        hint='Write {"type": "function", "function": {"name": …, "description": …, "parameters": {JSON Schema}}}.',
    )
