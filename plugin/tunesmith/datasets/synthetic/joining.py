"""Synthetic rows among the real ones: they come after the split, are only trained on, and no duplicate stays."""

from collections.abc import Callable, Sequence
from random import Random

from tunesmith.datasets import duplicates
from tunesmith.datasets.staging import Staged
from tunesmith.datasets.synthetic.drafts import Seeds
from tunesmith.datasets.synthetic.report import SyntheticReport
from tunesmith.errors import BadInput
from tunesmith.tasks.base import Task, infer_task
from tunesmith.tasks.conversation import Row
from tunesmith.tasks.document import Document

MOST_SEEDS = 4000
Synthesise = Callable[[Seeds], tuple[list[Row], SyntheticReport]]


class Unlabelled:
    """Documents that could be no example for lack of a label; a teacher may label them."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def offer(self, task: Task, document: Document, error: BadInput) -> None:
        if error.error_code != "no_labels" or len(self.rows) >= MOST_SEEDS:
            return
        group = {"group": document.group} if document.group else {}
        known = {**document.provenance, **group, "document": document.id}
        self.rows.append(Row([*task.prompt(document.text), {"role": "assistant", "content": ""}], known))


def add(
    staged: Staged,
    sources: Sequence[Synthesise],
    task: Task | None,
    unlabelled: Unlabelled,
    *,
    threshold: float | None,
    seed: int,
) -> list[SyntheticReport]:
    """Generates and stages rows of each source, once the real rows have their splits. What a seed's cluster decides
    holds for its children: seeds are training rows, and a child that is like a row of another split is dropped."""
    if not sources:
        return []
    seeds = _seeds(staged, task, unlabelled, seed)
    first, reports, owners = len(staged.entries), [], []
    for number, synthesise in enumerate(sources):
        rows, report = synthesise(seeds)
        reports.append(report)
        owners += [number] * _stage(staged, rows, report)
    _drop(staged, first, owners, reports, threshold)
    return reports


def _seeds(staged: Staged, task: Task | None, unlabelled: Unlabelled, seed: int) -> Seeds:
    rows = []
    for row, entry in zip(staged.rows(), staged.entries, strict=True):
        trained = entry.split == "train" and not entry.dropped
        if trained and row.rejected is None and row.provenance.get("source") != "synthetic":
            rows.append(row)
    Random(seed).shuffle(rows)  # noqa: S311  the same order after a crash
    kept_apart = {g for e in staged.entries if e.split != "train" and not e.dropped for g in e.groups}
    free = [row for row in unlabelled.rows if row.provenance.get("group") not in kept_apart]
    fitted = infer_task(rows) if task is None else task.fit(rows) if rows else task
    return Seeds(fitted, rows[:MOST_SEEDS], free)


def _stage(staged: Staged, rows: list[Row], report: SyntheticReport) -> int:
    """Stages the rows; how many there are now. An exact duplicate is none."""
    before = len(staged.entries)
    for number, row in enumerate(rows, start=1):
        staged.rows_in += 1
        twice = staged.duplicates + staged.near_duplicates
        try:
            staged.add(row)
        except BadInput as error:
            staged.reject(f"synthetic row {number}", error)
        report.duplicates_removed += staged.duplicates + staged.near_duplicates - twice
    return len(staged.entries) - before


def _drop(
    staged: Staged, first: int, owners: list[int], reports: list[SyntheticReport], threshold: float | None
) -> None:
    copies, leaks = duplicates.alike(staged, first, threshold)
    for gone, what in ((copies, "duplicates_removed"), (leaks, "too_like_test")):
        for j in gone:
            staged.entries[j].dropped = True
            report = reports[owners[j - first]]
            setattr(report, what, getattr(report, what) + 1)
    staged.near_duplicates += len(copies)
    staged.leaks += len(leaks)
    for entry, owner in zip(staged.entries[first:], owners, strict=True):
        reports[owner].kept += not entry.dropped
