"""Dialogues about tools, in the manner of Glaive, from an OpenAPI document or a tool list; every call is checked."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from random import Random
from typing import Any

from tunesmith.datasets.synthetic.drafts import Draft, Seeds, question, read
from tunesmith.datasets.synthetic.options import SyntheticOptions
from tunesmith.errors import BadInput
from tunesmith.tasks.base import Task
from tunesmith.tasks.conversation import Row
from tunesmith.tasks.openai_tools import to_text
from tunesmith.tasks.tool_use import ToolUse
from tunesmith.tasks.tools import MAX_TOOLS, Tool, call_bodies, read_tools

MOST_OFFERED = 5  # tools in one dialogue
_DEPTH = 6  # of references that are written out
_NODES = 5_000  # values of one operation, so written: what is small by references can be huge without them
_SCENES = {
    "call": "The user asks for something that one of the tools does; the assistant calls it with the values that the "
    "user gave.",
    "result": "The assistant calls a tool, a tool turn gives its result, the assistant tells the user in a sentence.",
    "ask": "The user's request lacks a required value; the assistant asks for it, the user gives it, and the assistant "
    "calls the tool.",
    "none": "The user asks for something that none of the tools does; the assistant says so and calls nothing.",
    "several": "The user asks for two things at once; the assistant makes both calls in one turn.",
}  # fmt: skip
_CALL = {"type": "object", "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}}}
_TURN = {
    "type": "object",
    "properties": {
        "role": {"enum": ["user", "assistant", "tool"]},
        "content": {"type": "string"},
        "calls": {"type": "array", "items": {**_CALL, "required": ["name", "arguments"]}},
    },
    "required": ["role"],
}


def dialogue(seeds: Seeds, options: SyntheticOptions, number: int, rng: Random) -> tuple[Draft, Row | None]:
    task = seeds.task
    assert isinstance(task, ToolUse)
    tools = task.tools
    offered = rng.sample(tools, min(len(tools), rng.randint(1, MOST_OFFERED)))
    scene = list(_SCENES)[number % len(_SCENES)]
    listed = "\n".join(tool.as_line() for tool in offered)
    ask = (
        f"Write a dialogue between a user and an assistant that has these tools:\n<tools>\n{listed}\n</tools>\n"
        f"{_SCENES[scene]} Each turn has a role (user, assistant or tool) and content; an assistant's turn that calls "
        "tools has calls instead, each with name and arguments that fit the tool's schema. Use no values that the user "
        f"did not give. (Example {number + 1}.)"
    )
    request = question(ask, {"turns": {"type": "array", "items": _TURN}})

    def rows(answer: str) -> list[Row]:
        return read_dialogue(task, offered, scene, read(answer, "turns")["turns"])

    return Draft("dialogue", number, rows, lambda _: request), None


def read_dialogue(task: Task, offered: Sequence[Tool], scene: str, turns: Any) -> list[Row]:
    """One row for each turn of the assistant that calls, and for the last one. Raises BadInput for what does not fit
    the tools' schemas or the scene."""
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise BadInput("The turns are no list of objects.", code="incomplete")
    said = [_message(turn, n) for n, turn in enumerate(turns)]
    roles = [m["role"] for m in said]
    if roles[:1] != ["user"] or "assistant" not in roles or roles[-1] != "assistant":
        raise BadInput("The dialogue does not go from the user to the assistant.", code="bad_turns")
    if any(a == b for a, b in pairwise(roles) if a != "tool"):
        raise BadInput("The same one speaks twice.", code="bad_turns")
    rows = []
    for n, message in enumerate(said):
        if message["role"] != "assistant":
            continue
        row = Row(to_text(said[: n + 1], offered, getattr(task, "system", None)))
        task.check(row)
        if message.get("tool_calls") or n == len(said) - 1:
            rows.append(row)
    calls = [len(call_bodies(row.answer)) for row in rows]
    wanted = {"none": max(calls) == 0, "several": max(calls) > 1, "result": max(calls) > 0 and calls[-1] == 0}
    if not wanted.get(scene, max(calls) > 0):
        raise BadInput(f"The dialogue is not the scene that was asked for: {scene}.", code="other_scene")
    return rows


def _message(turn: Mapping[str, Any], number: int) -> dict[str, Any]:
    role, calls = turn.get("role"), turn.get("calls")
    if role == "assistant" and calls:
        if not isinstance(calls, list) or not all(isinstance(c, Mapping) and "name" in c for c in calls):
            raise BadInput("The calls are no list of objects with a name.", code="invalid_call")
        made = [{"name": str(c["name"]), "arguments": json.dumps(c.get("arguments", {}))} for c in calls]
        named = [{"id": f"call_{number}_{i}", "type": "function", "function": f} for i, f in enumerate(made)]
        return {"role": role, "content": None, "tool_calls": named}
    content = turn.get("content")
    text = content if isinstance(content, str) else json.dumps(content) if content else ""
    if not text.strip():
        raise BadInput("A turn says nothing.", code="bad_turns")
    return {"role": role, "content": text}


def tools_from(given: Any) -> list[dict[str, Any]]:
    """OpenAI functions from an OpenAPI document, MCP's tool list, or functions. Raises BadInput when there are none."""
    if isinstance(given, Mapping) and isinstance(given.get("paths"), Mapping):
        found = list(islice(_operations(given), MAX_TOOLS))
    else:
        found = given.get("tools", given) if isinstance(given, Mapping) else given
    tools = read_tools(found)
    if not tools:
        raise BadInput(
            "There is no tool to write dialogues about.",
            param="sources.synthetic.tools",
            hint="Give tools or tools_file.",
        )
    return [{"name": t.name, "description": t.description, "parameters": t.parameters} for t in tools]


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items() if isinstance(methods, Mapping) else ():
            if method not in ("get", "post", "put", "patch", "delete") or not isinstance(operation, Mapping):
                continue
            name = str(operation.get("operationId") or f"{method}_{path}")
            properties: dict[str, Any] = {}
            required: list[str] = []
            inliner = _Inliner(document)
            for given in [*_part(list, methods, "parameters"), *_part(list, operation, "parameters")]:
                item = inliner.inlined(given)
                if not isinstance(item, Mapping) or not isinstance(item.get("name", ""), str):
                    raise _no_document("parameters")
                if item.get("in") in ("query", "path") and "name" in item:
                    about = {"description": item["description"]} if item.get("description") else {}
                    properties[item["name"]] = {**_part(dict, item, "schema"), **about}
                    required += [item["name"]] if item.get("required") else []
            schema = _body(inliner.inlined(_part(dict, operation, "requestBody")))
            properties |= _part(dict, schema, "properties")
            required += [key for key in _part(list, schema, "required") if key not in required]
            yield {
                "name": re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_")[:64],
                "description": operation.get("summary") or operation.get("description") or "",
                "parameters": {"type": "object", "properties": properties, "required": required},
            }


def _body(body: Any) -> Any:
    """The schema of a body in JSON."""
    for name in ("content", "application/json", "schema"):
        body = _part(dict, body, name)
    return body


def _part(kind: type[dict[str, Any]] | type[list[Any]], node: Any, name: str) -> Any:
    """What a node of an OpenAPI document has under a name; empty when it has nothing there. Raises BadInput."""
    found = node.get(name) if isinstance(node, Mapping) else None
    if found is None:
        return kind()
    if not isinstance(found, kind):
        raise _no_document(name)
    return found


def _no_document(name: str) -> BadInput:
    return BadInput(
        f"This is no OpenAPI document: {name} is not what it should be.",
        code="invalid_tool",
        param="sources.synthetic.tools",
        hint="Give an OpenAPI document of version 3, a tool list of MCP, or OpenAI functions.",
    )


class _Inliner:
    """Writes out the references into a document, in what belongs to one operation."""

    def __init__(self, document: Mapping[str, Any]):
        self._document, self._left = document, _NODES

    def inlined(self, node: Any, depth: int = _DEPTH) -> Any:
        """The node with its references written out; what lies deeper, or comes after too much, is any object."""
        self._left -= 1
        if isinstance(node, list):
            return [self.inlined(item, depth) for item in node]
        if not isinstance(node, Mapping):
            return node
        if "$ref" not in node:
            return {key: self.inlined(value, depth) for key, value in node.items()}
        if depth == 0 or self._left < 0 or not str(node["$ref"]).startswith("#/"):
            return {"type": "object"}
        found: Any = self._document
        for part in str(node["$ref"])[2:].split("/"):
            found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
        return self.inlined(found, depth - 1)
