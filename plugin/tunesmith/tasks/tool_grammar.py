"""GBNF of an answer that may call tools: known names, arguments of their kinds, or a plain sentence."""

from collections.abc import Sequence
from dataclasses import replace

from tunesmith.tasks.grammar import free_value, object_rules, with_common
from tunesmith.tasks.schema import Field, parse_schema
from tunesmith.tasks.stretches import literal
from tunesmith.tasks.style import Style
from tunesmith.tasks.tools import Tool

MAX_CALLS = 8  # of one answer
MAX_TEXT = 200  # characters of an argument whose schema has no bound; keeps a bad model from rambling in it
_SCALARS = {"string": "string", "integer": "integer", "number": "number", "boolean": "boolean"}


def tool_grammar(tools: Sequence[Tool], style: Style, *, text: bool = True, several: bool = True) -> str:
    """`text`: a plain answer is fine; `several`: so are calls side by side."""
    more = f'("\\n" call){{0,{MAX_CALLS - 1}}}' if several else ""
    options = [f"call {more}".strip()] if tools else []
    if text or not tools:
        options.append("plain")
    rules = [f"root ::= {' | '.join(options)}", r"plain ::= [^<{\x00-\x20] [^<\x00]*"]
    if tools:
        names = " | ".join(f"tool-{i}" for i in range(len(tools)))
        rules.append(f'call ::= "<tool_call>\\n" ({names}) "\\n</tool_call>"')
    for i, tool in enumerate(tools):
        opening = f'{{"name"{style.key}{style.plain(tool.name)}{style.item}"arguments"{style.key}'
        rules.append(f'tool-{i} ::= {literal(opening)} arguments-{i}-root "}}"')
        rules += _arguments(tool, style, f"arguments-{i}-")
    return with_common(rules, style)


def _arguments(tool: Tool, style: Style, prefix: str) -> list[str]:
    if not tool.parameters.get("properties"):
        return [f'{prefix}root ::= "{{}}"']
    required = tool.parameters.get("required", [])
    fields = parse_schema({**tool.parameters, "type": "object", "required": required})
    values = [f"{prefix}value-{i} ::= {' | '.join(_value(f, style))}" for i, f in enumerate(fields)]
    return [*object_rules(fields, style, prefix), *values]


def _value(f: Field, style: Style) -> list[str]:
    null = ['"null"'] if f.nullable else []
    schema = f.schema or {}
    if f.kind == "json" and schema.get("type") == "array":
        item = _item(schema.get("items"), style)
        return [f'"[" ({item} ({literal(style.item)} {item})*)? "]"', *null]
    if f.kind == "json" and schema.get("type") == "object":
        return ["object", *null]
    bounded = replace(f, max_length=MAX_TEXT) if f.kind == "string" and f.max_length is None else f
    return [*free_value(bounded, style), *null]


def _item(schema: object, style: Style) -> str:
    if isinstance(schema, dict) and isinstance(schema.get("enum"), list) and schema["enum"]:
        return "(" + " | ".join(literal(style.plain(v)) for v in schema["enum"]) + ")"
    kind = schema.get("type") if isinstance(schema, dict) else None
    return _SCALARS.get(kind, "json") if isinstance(kind, str) else "json"
