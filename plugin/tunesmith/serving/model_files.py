"""What a folder of a base model may hold: weights that are only numbers, and nothing that is run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunesmith.errors import TunesmithError


class RemoteCode(TunesmithError):
    """The model needs code of its own, which is never run."""

    status = 400
    code = "remote_code"


def refuse_code(folder: Path, name: str) -> None:
    """Raises RemoteCode when a library could be led to run something: `auto_map` in any JSON file, or Python files."""
    for path in sorted(folder.rglob("*.py")):
        raise RemoteCode(
            f"{name} needs code of its own, which is never run: {path.relative_to(folder)}.",
            hint="Choose another base model, or take the Python files out of its folder if it works without them.",
        )
    for path in sorted(folder.rglob("*.json")):
        if path.name == "tokenizer.json" or path.name.endswith(".safetensors.index.json"):
            continue  # megabytes that only our own reader and plain parsers see
        if any(key == "auto_map" for key in _keys(_read(path, name))):
            raise RemoteCode(
                f"{name} needs code of its own, which is never run: auto_map in {path.relative_to(folder)}.",
                hint="Choose another base model. One that transformers knows can go without: take auto_map out.",
            )


def _read(path: Path, name: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RemoteCode(
            f"{path.name} of {name} is no JSON: {str(error)[:80]}.", code="bad_model_folder", hint="Fetch it again."
        ) from error


def _keys(value: Any) -> Iterator[str]:
    """Every key, however deep."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield from found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
