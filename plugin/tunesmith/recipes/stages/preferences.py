"""Preference pairs of a dataset: what people made of an answer, and what the model had said."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.datasets import suggestions
from tunesmith.datasets.splits import PREFERENCES
from tunesmith.datasets.suggestions import Preference
from tunesmith.errors import BadInput
from tunesmith.recipes.context import Context
from tunesmith.store.files import write_text
from tunesmith.tasks.base import Task
from tunesmith.tasks.conversation import Row, read_rows


def write(context: Context, task: Task | None, folder: Path, made: Sequence[Row] = ()) -> int:
    """Writes OpenAI's preference format beside the splits of `folder`; how many pairs. None: no file.

    `made`: rows with a rejected answer that the self-correction of a synthetic source left.

    Only documents of the training split have pairs: a held-out document must not be learnt from in any form.
    """
    models = dict.fromkeys(source.corrections.model for source in context.recipe.sources if source.corrections)
    if not models and not made:
        return 0
    trained = {str(row.provenance.get("document")) for row in read_rows(folder / "train.jsonl")}
    lines = [_object(row, row.rejected or "") for row in made if str(row.provenance.get("document")) in trained]
    pairs = (pair for model in models for pair in suggestions.preferences(context.workspace.database, model))
    lines += [line for pair in pairs if task and pair.document.id in trained and (line := _line(task, pair))]
    if lines:
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text(folder / f"{PREFERENCES}.jsonl", content)
    context.say(f"{len(lines)} preference pairs of corrected answers.")
    return len(lines)


def _line(task: Task, pair: Preference) -> dict[str, Any] | None:
    """None when the task cannot write both answers, or writes them alike."""
    try:
        preferred, rejected = task.example(pair.document), task.example(pair.rejected)
    except BadInput:
        return None
    if preferred.answer == rejected.answer:
        return None
    preferred.provenance["suggestion"] = pair.suggestion
    return _object(preferred, rejected.answer)


def _object(row: Row, rejected: str) -> dict[str, Any]:
    return {
        "input": {"messages": row.prompt},
        "preferred_output": [row.messages[-1]],
        "non_preferred_output": [{"role": "assistant", "content": rejected}],
        "provenance": row.provenance,
    }
