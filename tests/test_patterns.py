"""Every regular expression of the code on 100 kB of what is worst for it: none may blow up.

`pytest -s tests/test_patterns.py` prints the table. The bound is no measure of speed: a pattern that backtracks needs
minutes where the others need milliseconds, and is ended there.
"""

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from worst_texts import worst

ROOT = Path(__file__).parents[1]
PACKAGES = {"tunesmith": ROOT / "plugin", "tunesmith_connectors": ROOT / "connectors"}
SIZE = 100_000
SECONDS = 2.0  # of the processor
WAYS = {
    "match": "match",
    "fullmatch": "fullmatch",
    **dict.fromkeys(("search", "sub", "subn", "split", "findall", "finditer"), "finditer"),
}
# Not in the source as a whole. Nothing that a caller sends may be among them.
MADE_AT_RUN_TIME = {
    "tunesmith/tasks/control.py": "a choice of control tokens, each escaped: nothing repeats in it",
    "tunesmith/serving/merge.py": "PEFT's own way to name layers, in the child that exports what was trained here",
}


@dataclass(frozen=True)
class Use:
    """Where a pattern is written, the pattern (None when it is made while the program runs), and how it is used."""

    where: str
    pattern: "re.Pattern[str] | None"
    ways: tuple[str, ...]


def sources() -> Iterator[tuple[str, str]]:
    for package, folder in PACKAGES.items():
        for path in sorted((folder / package).rglob("*.py")):
            yield str(path.relative_to(folder)), path.read_text(encoding="utf-8")


def uses() -> Iterator[Use]:
    """Every use of `re` in the packages."""
    everything = "\n".join(text for _, text in sources())
    for path, text in sources():
        tree = ast.parse(text)
        names = {id(n.value): ast.unparse(n.targets[0]) for n in ast.walk(tree) if isinstance(n, ast.Assign)}
        names |= {id(n.value): ast.unparse(n.target) for n in ast.walk(tree) if isinstance(n, ast.AnnAssign)}
        for node in ast.walk(tree):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if (called != "re.compile" and called.removeprefix("re.") not in WAYS) or not called.startswith("re."):
                continue
            assert isinstance(node, ast.Call)
            place = text if names.get(id(node), "").startswith("_") else everything
            ways = {WAYS[called[3:]]} if called[3:] in WAYS else _ways(names.get(id(node), ""), place)
            yield Use(f"{path}:{node.lineno}", _pattern(node, path), tuple(sorted(ways)))


def _ways(name: str, source: str) -> set[str]:
    """How a pattern of that name is used: all that its methods are called; searching and matching, if nobody knows."""
    found = {way for method, way in WAYS.items() if name and re.search(rf"\b{name}\.{method}\b", source)}
    return found or {"finditer", "match"}


def _pattern(node: ast.Call, path: str) -> "re.Pattern[str] | None":
    module = importlib.import_module(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    given = [*node.args, *(item.value for item in node.keywords)]
    flags = [item for item in given[1:] if ast.unparse(item).startswith("re.")]
    try:
        values = [eval(compile(ast.Expression(x), path, "eval"), dict(vars(module))) for x in (given[0], *flags)]
    except NameError:
        return None
    return re.compile(*values)


def in_a_child(*arguments: str) -> list[dict[str, Any]]:
    """What this file prints as a program: a pattern that is stuck cannot be interrupted everywhere."""
    argv = [sys.executable, __file__, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_no_pattern_of_ours_blows_up_on_100_kb() -> None:
    table = sorted(in_a_child(), key=lambda row: -row["seconds"])
    print(f"\n{'worst':>8}  where")
    for row in table:
        print(f"{1000 * row['seconds']:6.0f} ms  {row['where']}  {row['pattern'][:60]!r}  on {row['text'][:30]!r}…")
    assert len(table) > 50
    assert [row for row in table if row["seconds"] >= SECONDS] == []


@pytest.mark.parametrize("text", [r"(a+)+$", r"\b[a-z][a-z0-9+.-]*://", r"<tools>\n(.*?)\n</tools>"])
def test_a_pattern_that_blows_up_is_found(text: str) -> None:
    [row] = in_a_child(text)
    assert row["seconds"] >= SECONDS


def test_patterns_are_in_the_source() -> None:
    """So that the table above has them all: what is put together from a caller's words would be missing there."""
    assert {use.where.partition(":")[0] for use in uses() if use.pattern is None} == set(MADE_AT_RUN_TIME)
    for path, text in sources():
        assert not re.search(r"^\s*(from re import|import re as|(import|from) regex)", text, re.MULTILINE), path


def main(given: list[str]) -> None:
    found = [Use("given", re.compile(text, re.DOTALL), ("finditer",)) for text in given] or list(uses())
    for use in found:
        if use.pattern is not None:
            took, text = worst(use.pattern, use.ways, SIZE, SECONDS)
            row = {"where": use.where, "pattern": use.pattern.pattern, "seconds": took, "text": text}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
