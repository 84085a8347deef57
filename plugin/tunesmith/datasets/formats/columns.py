"""Which column is what: given as a mapping, or told from the names that columns usually bear."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tunesmith import json_safely
from tunesmith.datasets.formats.base import Wrong
from tunesmith.errors import BadInput

KEYS = (
    "prompt", "completion", "system", "instruction", "input", "output", "history", "chosen", "rejected",
    "messages", "conversations", "weight",
)  # fmt: skip
_NEEDED = (  # what a row is told by, in the order in which formats are looked for
    {"chosen", "rejected"}, {"conversations"}, {"messages"}, {"instruction", "output"}, {"prompt", "completion"},
)  # fmt: skip
_PROMPT = ("prompt", "question", "query", "input", "text")
_CONTEXT = ("input", "context")
_COMPLETION = ("completion", "answer", "response", "output", "label", "target")
_HINT = "Say which is which: --map prompt=COLUMN --map completion=COLUMN."


def parse_mapping(given: str | Sequence[str]) -> dict[str, str]:
    """`{"prompt": "column", …}` from `key=column` strings or one JSON object. Raises BadInput."""
    try:
        if isinstance(given, str):
            mapping = json_safely.loads(given) if given.strip() else {}
        elif len(given) == 1 and given[0].lstrip().startswith("{"):
            mapping = json_safely.loads(given[0])
        else:
            mapping = dict(item.split("=", 1) for item in given)
    except ValueError as error:
        raise BadInput(f"The mapping cannot be read: {str(given)[:80]!r}.", hint=_HINT, param="mapping") from error
    if not isinstance(mapping, dict) or any(not isinstance(column, str) for column in mapping.values()):
        raise BadInput("The mapping is no object of key → column.", hint=_HINT, param="mapping")
    unknown = next((key for key in mapping if key not in KEYS), None)
    if unknown is not None:
        raise BadInput(f"Nothing is called {unknown[:80]!r}.", hint=f"Known: {', '.join(KEYS)}.", param="mapping")
    return mapping


def usual_names(columns: Collection[str]) -> dict[str, str]:
    """A mapping for a table with, say, the columns Question and Answer; empty when the names tell nothing."""
    known = {name.casefold(): name for name in columns}
    own = {key: known[key] for key in KEYS if key in known}
    if any(keys <= set(own) for keys in _NEEDED):
        return own
    completion = next((known[name] for name in _COMPLETION if name in known), None)
    extra = {key: column for key, column in own.items() if key in ("system", "weight")}
    if completion and "instruction" in known:
        context = next((known[name] for name in _CONTEXT if name in known), None)
        asked = {"instruction": known["instruction"], **({"input": context} if context else {})}
        return {**asked, "output": completion, **extra}
    prompt = next((known[name] for name in _PROMPT if name in known), None)
    return {"prompt": prompt, "completion": completion, **extra} if prompt and completion else {}


def renamed(data: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """The mapped columns that hold anything, under a format's names. Raises Wrong when one that matters is empty."""
    row = {key: data[column] for key, column in mapping.items() if data.get(column) not in (None, "")}
    needed = next((keys for keys in _NEEDED if keys <= set(mapping)), set(mapping))
    missing = next((column for key, column in mapping.items() if key in needed and key not in row), None)
    if missing is not None:
        raise Wrong(f"has nothing in the column {missing!r}", "Fill it in, or map another column.", "empty_cell")
    if isinstance(row.get("weight"), str):
        try:
            row["weight"] = float(row["weight"])
        except ValueError as error:
            raise Wrong(f"has the weight {row['weight']!r}", "A weight is a number.", "bad_weight") from error
    return row
