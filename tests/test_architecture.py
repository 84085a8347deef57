"""The rules of the house: arrows point one way, files stay readable, the API process stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "plugin" / "tunesmith"

# A floor may be skipped, never climbed; rooms on one floor do not know each other.
FLOORS = [
    {"cli"},
    {"app"},
    {"agents"},
    {"api"},
    {"recipes"},
    {"evaluation"},
    {"serving", "datasets", "training"},
    {"tasks", "jobs"},
    {"store"},
    {"settings", "errors", "registry", "json_safely", "typed"},
]
LEVEL = {room: level for level, floor in enumerate(FLOORS) for room in floor}


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_down(path: Path) -> None:
    here = _room(path)
    for name in _imports(path):
        if not name.startswith("tunesmith.") or name == "tunesmith.__version__":
            continue
        there = name.split(".")[1]
        if there not in LEVEL or there == here:
            continue
        climbs = LEVEL[there] <= LEVEL[here]
        inside_ground = LEVEL[there] == LEVEL[here] == len(FLOORS) - 1
        assert not climbs or inside_ground, f"{here} must not import {there}"


def test_every_room_has_a_floor() -> None:
    assert {_room(path) for path in MODULES} - {"py"} <= set(LEVEL)


def test_connectors_are_leaves() -> None:
    for path in (ROOT / "connectors").rglob("*.py"):
        assert not {name for name in _imports(path) if name.split(".")[0] == "tunesmith"}, path


@pytest.mark.parametrize("folder", ["plugin", "connectors", "tests", "examples", "scripts"])
def test_no_file_is_too_long(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 400, f"{path} has {lines} lines"


def test_the_api_process_does_not_load_heavy_packages() -> None:
    heavy = ("torch", "transformers", "distilabel", "litellm", "peft", "trl", "xllamacpp")
    code = f"import sys, tunesmith.app, tunesmith.cli.serve; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
