"""As much of Go's text/template as chat templates for Ollama use; anything else is refused, as Ollama refuses it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_TOKEN = re.compile(r"\{\{(-)?\s*(.*?)\s*(-)?\}\}", re.DOTALL)
Node = tuple[str, Any]


class TemplateError(ValueError):
    pass


def render(template: str, data: Mapping[str, Any]) -> str:
    nodes, rest = _parse(_lex(template), ())
    if rest:
        raise TemplateError("unexpected {{end}}")
    return _run(nodes, data)


def _lex(template: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    place, trim = 0, False
    for match in _TOKEN.finditer(template):
        text = template[place : match.start()]
        text = text.lstrip() if trim else text
        tokens.append(("text", text.rstrip() if match[1] else text))
        tokens.append(("action", match[2]))
        place, trim = match.end(), bool(match[3])
    text = template[place:]
    if any("{{" in value for kind, value in [*tokens, ("text", text)] if kind == "text"):
        raise TemplateError("unclosed action")
    return [*tokens, ("text", text.lstrip() if trim else text)]


def _parse(tokens: list[tuple[str, str]], until: tuple[str, ...]) -> tuple[list[Node], list[tuple[str, str]]]:
    nodes: list[Node] = []
    while tokens:
        (kind, value), *tokens = tokens
        if kind == "text":
            nodes.append(("text", value))
        elif value.split(" ")[0] in ("end", "else"):
            if value.split(" ")[0] not in until:
                raise TemplateError(f"unexpected {value}")
            return nodes, [(kind, value), *tokens]
        elif value.startswith("range "):
            body, tokens = _parse(tokens, ("end",))
            nodes.append(("range", (value.removeprefix("range ").strip(), body)))
            tokens = tokens[1:]
        elif value.startswith("if "):
            node, tokens = _parse_if(value.removeprefix("if "), tokens)
            nodes.append(node)
        else:
            nodes.append(("value", value))
    if until:
        raise TemplateError("unexpected EOF")
    return nodes, []


def _parse_if(condition: str, tokens: list[tuple[str, str]]) -> tuple[Node, list[tuple[str, str]]]:
    body, tokens = _parse(tokens, ("end", "else"))
    (_, closing), *tokens = tokens
    otherwise: list[Node] = []
    if closing.startswith("else if "):
        node, tokens = _parse_if(closing.removeprefix("else if "), tokens)
        otherwise = [node]
    elif closing == "else":
        otherwise, tokens = _parse(tokens, ("end",))
        tokens = tokens[1:]
    return ("if", (condition.strip(), body, otherwise)), tokens


def _run(nodes: Sequence[Node], data: Mapping[str, Any]) -> str:
    out = []
    for kind, value in nodes:
        if kind == "text":
            out.append(value)
        elif kind == "value":
            out.append(str(_value(value, data)))
        elif kind == "range":
            out += [_run(value[1], item) for item in _value(value[0], data)]
        else:
            condition, body, otherwise = value
            out.append(_run(body if _value(condition, data) else otherwise, data))
    return "".join(out)


def _value(expression: str, data: Mapping[str, Any]) -> Any:
    words = re.findall(r'"(?:[^"\\]|\\.)*"|\S+', expression)
    if len(words) == 3 and words[0] in ("eq", "ne"):
        same = _value(words[1], data) == _value(words[2], data)
        return same if words[0] == "eq" else not same
    if len(words) == 1 and words[0].startswith("."):
        return data.get(words[0][1:], "")
    if len(words) == 1 and words[0].startswith('"'):
        return words[0][1:-1]
    raise TemplateError(f"function {words[0]!r} not defined")
