"""A small matcher for llama.cpp's GBNF: enough to ask whether a grammar admits a text."""

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(r'\s*("(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|\{\d+(?:,\d*)?\}|[a-z][a-z0-9-]*|[()|?*+])', re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "[": "[", "]": "]"}


def _unescape(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        body = match[1]
        return chr(int(body[1:], 16)) if body[0] == "x" else _ESCAPES[body]  # KeyError: llama.cpp refuses it too

    return re.sub(r"\\(x[0-9a-fA-F]{2}|.)", one, text, flags=re.DOTALL)


@dataclass
class Node:
    kind: str  # literal, class, rule, sequence, choice, repeat
    text: str = ""
    parts: list["Node"] = field(default_factory=list)
    low: int = 1
    high: int | None = 1


class Gbnf:
    def __init__(self, grammar: str):
        self.rules: dict[str, Node] = {}
        for line in grammar.splitlines():
            if line.strip():
                name, body = line.split(" ::= ", 1)
                if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
                    raise ValueError(f"rule name {name!r}")
                self.rules[name] = self._parse(body)
        for node in list(self.rules.values()):
            self._check(node)

    def _check(self, node: Node) -> None:
        if node.kind == "rule" and node.text not in self.rules:
            raise ValueError(f"undefined rule {node.text}")
        for part in node.parts:
            self._check(part)

    def _parse(self, body: str) -> Node:
        tokens, at = [], 0
        while at < len(body.rstrip()):
            match = _TOKEN.match(body, at)
            if not match:
                raise ValueError(f"cannot parse {body[at : at + 40]!r}")
            tokens.append(match[1])
            at = match.end()
        node, rest = self._choice(tokens)
        if rest:
            raise ValueError(f"left over: {rest[:3]}")
        return node

    def _choice(self, tokens: list[str]) -> tuple[Node, list[str]]:
        options = []
        while True:
            parts: list[Node] = []
            while tokens and tokens[0] not in ("|", ")"):
                head, tokens = tokens[0], tokens[1:]
                if head == "(":
                    inner, tokens = self._choice(tokens)
                    tokens = tokens[1:]
                    parts.append(inner)
                elif head[0] == '"':
                    parts.append(Node("literal", _unescape(head[1:-1])))
                elif head[0] == "[":
                    parts.append(Node("class", head[1:-1]))
                elif head[0] in "?*+{":
                    low, high = {"?": (0, 1), "*": (0, None), "+": (1, None)}.get(head, (0, None))
                    if head[0] == "{":
                        numbers = head[1:-1].split(",")
                        low = int(numbers[0])
                        high = int(numbers[-1]) if numbers[-1] else None
                    parts[-1] = Node("repeat", parts=[parts[-1]], low=low, high=high)
                else:
                    parts.append(Node("rule", head))
            options.append(Node("sequence", parts=parts))
            if not tokens or tokens[0] == ")":
                return Node("choice", parts=options), tokens
            tokens = tokens[1:]

    def admits(self, text: str) -> bool:
        return len(text) in self._ends(Node("rule", "root"), text, 0)

    def _ends(self, node: Node, text: str, at: int) -> set[int]:
        if node.kind == "literal":
            return {at + len(node.text)} if text.startswith(node.text, at) else set()
        if node.kind == "class":
            return {at + 1} if at < len(text) and re.fullmatch(f"[{node.text}]", text[at], re.DOTALL) else set()
        if node.kind == "rule":
            return self._ends(self.rules[node.text], text, at)
        if node.kind == "choice":
            return set().union(*(self._ends(part, text, at) for part in node.parts))
        if node.kind == "sequence":
            ends = {at}
            for part in node.parts:
                ends = set().union(*(self._ends(part, text, end) for end in ends)) if ends else set()
            return ends
        found: set[int] = {at} if node.low == 0 else set()
        ends, seen, count = {at}, {at}, 0
        while ends and (node.high is None or count < node.high):
            count += 1
            ends = set().union(*(self._ends(node.parts[0], text, end) for end in ends))
            ends = ends if node.high is not None else ends - seen
            seen |= ends
            if count >= node.low:
                found |= ends
        return found
