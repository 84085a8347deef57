"""Tool use: a request and a list of tools in, calls with valid arguments out, or a sentence when none fits."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from tunesmith.errors import BadInput
from tunesmith.tasks.base import Constraint, Score, Task, insert_turns
from tunesmith.tasks.chat import loops, token_f1
from tunesmith.tasks.conversation import Message, Row
from tunesmith.tasks.document import Document
from tunesmith.tasks.prompting import neutral
from tunesmith.tasks.style import Style, find_style
from tunesmith.tasks.tool_grammar import tool_grammar
from tunesmith.tasks.tools import Call, Tool, call_bodies, read_answer, read_tools, system_text, tools_of, write_calls

CALLING = 0.2  # share of an upload's answers that must be calls
HELD = 0.97  # share of training answers that the grammar's way of writing reproduces


class ToolUse:
    """`spec`: `tools` (offered where a prompt lists none), `system` (comes before the list), and what `fit` learnt:
    `style`, null when calls are written in no single way."""

    name: ClassVar[str] = "tool_use"
    minimum_examples: ClassVar[int] = 200
    has_format: ClassVar[bool] = True

    def __init__(self, spec: Mapping[str, Any] | None = None) -> None:
        given = dict(spec or {})
        unknown = sorted(set(given) - {"type", "tools", "system", "style"})
        if unknown:
            raise BadInput(
                f"Tool use has no setting {unknown[0]!r}.", param="task", hint="Known settings: tools, system."
            )
        self.given: list[Any] = given.get("tools") or []
        self.tools: list[Tool] = read_tools(self.given)
        self.system: str | None = given.get("system")
        style = given.get("style", {})
        self.style: Style | None = Style(**style) if style is not None else None

    @property
    def spec(self) -> dict[str, Any]:
        optional = {"tools": self.given, "system": self.system}
        style = self.style.as_dict() if self.style else None
        return {"style": style, **{key: value for key, value in optional.items() if value}}

    # -- learning -----------------------------------------------------------------------------------------------

    @classmethod
    def infer(cls, rows: Sequence[Row]) -> Self | None:
        """Calls in the answers of rows whose system prompt lists tools."""
        calling = [row for row in rows if call_bodies(row.answer)]
        if not calling or len(calling) < CALLING * len(rows) or not all(tools_of(row.prompt) for row in calling[:100]):
            return None
        return cls().fit(rows)

    def fit(self, rows: Sequence[Row]) -> Self:
        """A copy that knows how these training rows write a call; without a style when they differ."""
        task = type(self)(self.spec)
        bodies = [body for row in rows for body in call_bodies(row.answer)]
        task.style = find_style(bodies)[0] if bodies else Style()
        written = [self._tidy(row, task.style) == row.answer.strip() for row in rows if call_bodies(row.answer)]
        if task.style.indent is not None or sum(written) < HELD * len(written):
            task.style = None
        return task

    def _tidy(self, row: Row, style: Style) -> str:
        """The row's calls as the grammar would have them: arguments in the order of the schema."""
        tools = self._offered(row.prompt)
        return write_calls([_ordered(c, tools) for c in read_answer(row.answer, tools).calls], style)

    # -- examples -----------------------------------------------------------------------------------------------

    def prompt(self, text: str) -> list[Message]:
        """`text` is the request; the tools are the recipe's."""
        return self._ask(text, self.tools)

    def _ask(self, request: str, tools: Sequence[Tool]) -> list[Message]:
        return [
            {"role": "system", "content": system_text(tools, self.system)},
            {"role": "user", "content": neutral(request.strip())},
        ]

    def example(self, document: Document) -> Row:
        """`text` is the request; `values` are `tools` (unless the recipe has them), and `calls` (objects of name and
        arguments) or `answer` (a sentence)."""
        values = document.values
        tools = read_tools(values["tools"]) if values.get("tools") else self.tools
        calls = values.get("calls") or []
        if not isinstance(calls, list) or not all(
            isinstance(c, dict) and {"name", "arguments"} <= set(c) for c in calls
        ):
            raise BadInput("calls is no list of objects.", code="invalid_call", hint="Write name and arguments.")
        made = [_ordered(Call(str(c["name"]), dict(c["arguments"])), tools) for c in calls]
        answer = write_calls(made, self.style) if made else str(values.get("answer") or "")
        provenance = {**document.provenance, "document": document.id}
        if document.group:
            provenance["group"] = document.group
        row = Row([*self._ask(document.text, tools), {"role": "assistant", "content": answer}], provenance)
        self.check(row)
        return row

    def check(self, row: Row) -> None:
        """The prompt lists tools, and the answer calls them rightly or is plain text."""
        tools = self._offered(row.prompt)
        if not tools:
            raise BadInput(
                "The prompt lists no tools.",
                code="no_tools",
                hint="List them in the system prompt between <tools> and </tools>, or in the recipe as task.tools.",
            )
        problem = read_answer(row.answer, tools).problem
        if problem:
            raise BadInput(f"The answer is no valid call: {problem}.", code="invalid_call", hint="Correct the row.")

    def few_shot(self, rows: Sequence[Row], messages: list[Message]) -> list[Message]:
        return insert_turns(rows, messages)

    def _offered(self, messages: Sequence[Message]) -> list[Tool]:
        return tools_of(messages) or self.tools

    # -- answers ------------------------------------------------------------------------------------------------

    def constraint(self, messages: list[Message]) -> Constraint | None:
        """Calls of the tools that the prompt lists, or a sentence."""
        tools = self._offered(messages)
        return self.constraint_to(tools) if tools else None

    def constraint_to(self, tools: Sequence[Tool], *, text: bool = True, several: bool = True) -> Constraint | None:
        """The same for a given list; `text` False: a call it must be."""
        if self.style is None:
            return None
        return Constraint(grammar=tool_grammar(tools, self.style, text=text, several=several))

    def score(self, answer: str, expected: str, messages: list[Message]) -> Score:
        """`tool` and `arguments` where a call is expected, `declines` where none fits."""
        tools = self._offered(messages)
        right, got = read_answer(expected, tools), read_answer(answer, tools)
        well_formed = got.problem is None and not loops(answer)
        if not right.calls:
            declines = well_formed and not got.calls
            return Score(well_formed, declines, {"declines": declines}, similarity=token_f1(answer, expected))
        named = Counter(c.name for c in got.calls) == Counter(c.name for c in right.calls)
        same = named and _values(got.calls, tools) == _values(right.calls, tools)
        return Score(well_formed, same, {"tool": named, "arguments": same})

    def quality(self, rows: Sequence[Row]) -> dict[str, float]:
        """Share of the most frequent first tool (no call counts as one), and of rows whose call is not valid."""
        if not rows:
            return {}
        read = [read_answer(row.answer, self._offered(row.prompt)) for row in rows]
        common = Counter(a.calls[0].name if a.calls else "" for a in read).most_common(1)[0][1]
        return {
            "largest_label": common / len(rows),
            "ungrounded_targets": sum(a.problem is not None for a in read) / len(rows),
        }


def as_trained(task: Task, form: str | None) -> Task:
    """The task as a model answers that was trained with tools as callers send them (`form`): its template writes calls
    in one way, however its rows wrote them."""
    return ToolUse({**task.spec, "style": Style().as_dict()}) if form and isinstance(task, ToolUse) else task


def _ordered(call: Call, tools: Sequence[Tool]) -> Call:
    """The call with its arguments in the order of the tool's schema, unknown ones last."""
    tool = next((t for t in tools if t.name == call.name), None)
    order = list(tool.parameters.get("properties", {})) if tool else []
    known = {name: call.arguments[name] for name in order if name in call.arguments}
    return Call(call.name, {**known, **call.arguments})


def _values(calls: Sequence[Call], tools: Sequence[Tool]) -> list[str]:
    """Calls so that equal values are equal texts: defaults filled in, 1.0 as 1, white space and order aside."""
    defaults = {
        tool.name: {k: p["default"] for k, p in tool.parameters.get("properties", {}).items() if "default" in p}
        for tool in tools
    }
    every = ([call.name, _even({**defaults.get(call.name, {}), **call.arguments})] for call in calls)
    return sorted(json.dumps(item, sort_keys=True) for item in every)


def _even(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _even(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_even(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return " ".join(value.split()) if isinstance(value, str) else value
