"""What a version holds beside what its sources say: preference pairs, harder training on what the current model gets
wrong, general rows against forgetting."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.datasets.build import seal
from tunesmith.datasets.report import DatasetReport
from tunesmith.recipes.context import Context
from tunesmith.recipes.stages import general, hard_negatives, preferences
from tunesmith.tasks.base import TASKS, Task
from tunesmith.tasks.conversation import Row


def add(
    context: Context, folder: Path, report: DatasetReport, written_by: Task | None, made: Sequence[Row] = ()
) -> DatasetReport:
    """Completes the version in `folder`, whose splits have just been written, and returns its report.

    `written_by`: the task that wrote its examples; None for rows that were not made of documents. `made`: preference
    pairs of synthetic sources. Test and validation
    rows are never touched, and neither is shown to a model.
    """
    options = context.recipe.dataset
    found: dict[str, Any] = {}
    if pairs := preferences.write(context, written_by, folder, made):
        found["preference_pairs"] = pairs
    if options.hard_negatives:
        task = TASKS.get(report.task)(report.spec)
        hard = hard_negatives.weigh(context, options.hard_negatives, task, folder)
        if hard:
            splits = {**report.splits, "train": report.splits["train"] - hard.set_aside}
            found |= {"hard_negatives": hard, "splits": splits, "rows_kept": report.rows_kept - hard.set_aside}
    if options.mix:
        found["general"] = general.mix(context, options.mix, folder)
    return seal(folder, report.model_copy(update=found)) if found else report
