"""Preference pairs of a dataset: what people made of an answer, and what the model had said."""

import json
from collections.abc import Sequence
from typing import Any

from tunesmith.datasets import suggestions
from tunesmith.datasets.suggestions import Preference
from tunesmith.errors import BadInput
from tunesmith.recipes.context import Context
from tunesmith.tasks.base import Task
from tunesmith.tasks.conversation import Row, read_rows

FILE = "preferences.jsonl"


def write(context: Context, task: Task | None, made: Sequence[Row] = ()) -> int:
    """Writes OpenAI's preference format beside the splits that have just been built; how many pairs.

    `made`: rows with a rejected answer that the self-correction of a synthetic source left.

    Only documents of the training split have pairs: a held-out document must not be learnt from in any form.
    """
    models = dict.fromkeys(source.corrections.model for source in context.recipe.sources if source.corrections)
    if not models and not made:
        return 0
    folder = context.folder / "dataset"
    trained = {str(row.provenance.get("document")) for row in read_rows(folder / "train.jsonl")}
    count = 0
    with (folder / FILE).open("w", encoding="utf-8") as out:
        for row in made:
            if str(row.provenance.get("document")) in trained:
                out.write(json.dumps(_object(row, row.rejected or ""), ensure_ascii=False) + "\n")
                count += 1
        for model in models:
            for pair in suggestions.preferences(context.workspace.database, model):
                line = _line(task, pair) if task and pair.document.id in trained else None
                if line is not None:
                    out.write(json.dumps(line, ensure_ascii=False) + "\n")
                    count += 1
    context.say(f"{count} preference pairs of corrected answers.")
    return count


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
