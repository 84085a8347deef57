"""The report of a version, from what was counted while it was built."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tunesmith.datasets import duplicates, splits
from tunesmith.datasets.gates import judge
from tunesmith.datasets.lengths import ModelContext
from tunesmith.datasets.options import DatasetOptions
from tunesmith.datasets.readiness import assess
from tunesmith.datasets.report import DatasetReport
from tunesmith.datasets.staging import Staged
from tunesmith.tasks.base import Task
from tunesmith.tasks.conversation import Row

BARE_MINIMUM = 10  # rows of an upload without a recipe, as OpenAI asks for
CALIBRATE_ON = 200  # rows


def report(
    task: Task,
    staged: Staged,
    train: Sequence[Row],
    sizes: Counter[int],
    suspects: tuple[list[dict[str, Any]], float],
    *,
    version: str,
    options: DatasetOptions,
    context: ModelContext | None,
) -> DatasetReport:
    """`train`: rows that the task is measured on; `sizes`: clusters of near-duplicates by their size; `suspects`:
    phrases that look planted, and the share of the rows that have one."""
    entries = staged.entries
    counts = Counter(e.split for e in entries if not e.dropped)
    by_split = {name: counts[name] for name in ("train", "validation", "test")}
    kept = sum(by_split.values()) - (by_split["validation"] if staged.bare else 0)
    held_out = 1 - by_split["train"] / max(1, sum(by_split.values()))
    some = list(train[:: max(1, len(train) // CALIBRATE_ON)])[:CALIBRATE_ON]
    length = staged.measures.lengths.report(context, some, staged.cut)
    measured = staged.measures.summary()
    near = duplicates.summary(sizes, staged.near_duplicates, held_out)
    figures = {**_figures(staged, kept, length, options), **task.quality(train), "poisoning": suspects[1]}
    return DatasetReport(
        version=version,
        task=task.name,
        spec=task.spec,
        rows_in=staged.rows_in,
        rows_kept=kept,
        rejected=staged.rejected,
        rejected_by_code=dict(staged.codes),
        duplicates_removed=staged.duplicates,
        near_duplicates_removed=staged.near_duplicates,
        near_duplicates=near,
        leaks_removed=staged.leaks,
        frozen_test_rows=staged.frozen,
        groups=len(splits.components([e for e in entries if not e.dropped])),
        groups_shared_with_test=splits.shared_groups(entries),
        cut_documents=staged.cut,
        characters={"total": staged.characters, "mean": staged.characters // max(1, len(entries))},
        languages=measured["languages"],
        labels=measured["labels"],
        length=length,
        suspicious=suspects[0],
        private_data=staged.guard.summary(),
        splits=by_split,
        in_sample=by_split["test"] == 0,
        gates=judge(figures, BARE_MINIMUM if staged.bare else task.minimum_examples, options.gates),
        readiness=assess(
            entries,
            task=task.name,
            goal=options.goal,
            languages=measured["languages"],
            labels=measured["labels"],
            test_rows=by_split["test"],
        ),
    )


def _figures(staged: Staged, kept: int, length: dict[str, Any], options: DatasetOptions) -> dict[str, float]:
    rows, total = max(1, len(staged.entries)), max(1, staged.rows_in)
    with_system = staged.systems / rows
    figures = {
        "rows_kept": kept,
        "rejected_share": staged.codes.total() / total,
        "empty_text": staged.codes["empty_text"] / total,
        "unreadable_text": staged.measures.unreadable / rows,
        "contradictions": splits.contradictions(staged.entries),
        "mixed_system_prompts": min(with_system, 1 - with_system),
        "inconsistent_format": staged.measures.inconsistent(),
        "long_rows": staged.long / rows,
        "secrets": staged.guard.with_secret / total,
        "personal_data": staged.guard.with_personal / total,
    }
    if options.languages:
        figures["language"] = staged.measures.languages.others(options.languages)
    if "over_context" in length:
        figures["over_context"] = length["over_context"] / rows
    return figures
