"""Documents or rows → one immutable dataset version: three ShareGPT splits and a report."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from tunesmith.datasets import duplicates, history, presidio, splits, summary
from tunesmith.datasets.formats import Refused
from tunesmith.datasets.lengths import ModelContext
from tunesmith.datasets.measures import Measures
from tunesmith.datasets.options import DatasetOptions
from tunesmith.datasets.privacy import Guard
from tunesmith.datasets.report import DatasetReport
from tunesmith.datasets.splits import EXTRAS, PREFERENCES, SPLITS, SplitSpec
from tunesmith.datasets.staging import Staged
from tunesmith.datasets.synthetic import joining
from tunesmith.datasets.synthetic.joining import Synthesise, Unlabelled
from tunesmith.errors import BadInput
from tunesmith.store.files import write_text
from tunesmith.tasks.base import Task, infer_task
from tunesmith.tasks.conversation import Row, read_rows
from tunesmith.tasks.document import Document

LEARN_FROM = 4000  # training rows that a task learns its style and grounding from


def build(
    task: Task | None,
    *,
    documents: Iterable[Document] = (),
    rows: Iterable[Row | Refused] = (),
    validation_rows: Iterable[Row] | None = None,
    split: SplitSpec | None = None,
    out: Path,
    options: DatasetOptions | None = None,
    earlier: Sequence[Path] = (),
    context: ModelContext | None = None,
    remove_copies: bool = False,
    synthesise: Sequence[Synthesise] = (),
) -> DatasetReport:
    """Writes train.jsonl, validation.jsonl, test.jsonl and report.json into `out`, in the order of the source.

    With documents, the test split is what carries a held-out tag, else whole groups. With rows only (an upload), it is
    the rows whose provenance says `held_out`, else a few, and validation is `validation_rows` alone. Duplicates go,
    near-duplicates stay in one split; of documents, and of rows when `remove_copies`, those with the same answer go,
    too. What the task refuses is listed, and so is a line that the reader of the rows refused. `earlier`: folders of
    earlier versions, newest last; what they tested on stays in the test split. `context`: the base model's, to tell
    which rows are too long. `synthesise`: makers of rows that are only trained on. `task` None: inferred from the
    training split. The report's `spec` is the task as fitted to that split: serve with it. Raises BadInput when nothing
    is left to train on.
    """
    split, options = split or SplitSpec(), options or DatasetOptions()
    out.mkdir(parents=True, exist_ok=True)
    staging = out / "staging.partial"
    try:
        with staging.open("w+b") as file:
            finder = presidio.finder(options.presidio) if options.presidio else None
            staged = Staged(
                file, Guard(options.secrets, options.personal_data, finder), Measures(), copies_go=remove_copies
            )
            unlabelled = Unlabelled()
            _stage(staged, documents, rows, task, split, unlabelled)
            _stage_validation(staged, validation_rows)
            history.mark(staged.entries, earlier)
            sizes = duplicates.settle(staged, options.near_duplicates)
            _assign(staged, split, given_validation=validation_rows is not None)
            near = options.near_duplicates
            synthetic = joining.add(staged, synthesise, task, unlabelled, threshold=near, seed=split.seed)
            if not any(e.split == "train" and not e.dropped for e in staged.entries):
                raise _nothing(staged)
            suspects = _suspicious(staged)
            staged.write(out)
    finally:
        with suppress(FileNotFoundError):
            staging.unlink()
    train = list(islice(read_rows(out / "train.jsonl"), LEARN_FROM))
    fitted = infer_task(train) if task is None else task.fit(train)
    report = summary.report(fitted, staged, train, sizes, suspects, version="", options=options, context=context)
    report.synthetic = synthetic
    return seal(out, report)


def seal(folder: Path, report: DatasetReport) -> DatasetReport:
    """The report under the version that the folder's content has now, written as its report.json."""
    report = report.model_copy(update={"version": version_id(folder)})
    write_text(folder / "report.json", json.dumps(report.as_dict(), indent=2) + "\n")
    return report


def _stage(
    staged: Staged,
    documents: Iterable[Document],
    rows: Iterable[Row | Refused],
    task: Task | None,
    split: SplitSpec,
    unlabelled: Unlabelled,
) -> None:
    held_out = {tag.casefold() for tag in split.held_out}
    for document in documents:
        staged.bare, staged.copies_go = False, True
        staged.rows_in += 1
        if task is None:
            raise BadInput("Documents need a task.", param="task", hint="Write task: {type: extraction}.")
        labels = [tag for tag in document.tags if tag.casefold() not in held_out]  # which split it is in is no label
        tagged = len(labels) < len(document.tags) or bool(document.provenance.get("held_out"))
        try:
            staged.add(task.example(replace(document, tags=labels)), held_out=tagged)
        except BadInput as error:
            staged.reject(f"document {document.id}", error)
            if not tagged:
                unlabelled.offer(task, document, error)
    for row in rows:
        staged.rows_in += 1
        if isinstance(row, Refused):
            staged.reject(f"line {row.line}", row.error, row.line)
            continue
        try:
            if task is not None:
                task.check(row)
            staged.add(row, held_out=bool(row.provenance.get("held_out")))
        except BadInput as error:
            staged.reject(f"row {staged.rows_in}", error)


def _stage_validation(staged: Staged, rows: Iterable[Row] | None) -> None:
    for number, row in enumerate(rows or (), start=1):
        try:
            staged.add(row, split="validation")
        except BadInput as error:
            staged.reject(f"validation row {number}", error)


def _assign(staged: Staged, split: SplitSpec, given_validation: bool) -> None:
    """Gives every entry its split, and counts rows that were dropped because another split has their like."""
    entries = [e for e in staged.entries if not e.dropped]
    tagged = any(e.held_out for e in entries)
    splits.hold_out_tagged(entries)
    staged.frozen = splits.freeze(entries, whole_groups=not tagged)
    staged.leaks += splits.drop_leaks(entries)
    given = sum(e.split == "validation" for e in entries)
    tested = sum(e.split == "test" for e in entries)
    pool = len(entries) - given
    wanted = splits.bare_test_size(pool) if staged.bare else round(split.test * pool)
    if not tagged and not splits.assign(entries, "test", wanted - tested, split.seed) and staged.bare and not tested:
        # One group is all there is: rows that differ in their numbers only, which then are what they are about. The
        # advice goes on to count them as one.
        families = [entry.cluster for entry in entries]
        for entry in entries:
            entry.cluster = entry.prompt
        splits.assign(entries, "test", wanted, split.seed)
        for entry, family in zip(entries, families, strict=True):
            entry.cluster = family
    if not staged.bare and not given_validation:
        rest = sum(e.split == "train" and not e.dropped for e in entries)
        splits.assign(entries, "validation", round(split.validation * rest), split.seed)


def _suspicious(staged: Staged) -> tuple[list[dict[str, Any]], float]:
    from tunesmith.datasets import poisoning  # loads numpy: only the process that builds needs it

    return poisoning.suspicious(staged)


def _nothing(staged: Staged) -> BadInput:
    usual = staged.codes.most_common(1)
    why = f" {usual[0][1]} of {staged.rows_in} were refused: {staged.rejected[0].reason}" if usual else ""
    return BadInput(
        f"No row is left to train on.{why}",
        code="empty_dataset",
        hint="Widen the source's filters, or label the documents.",
        param="sources",
    )


def version_id(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 over the names and bytes of the splits, and of what else a version holds."""
    content = hashlib.sha256()
    for name in (*SPLITS, *(extra for extra in (*EXTRAS, PREFERENCES) if (folder / f"{extra}.jsonl").exists())):
        content.update(f"{name}\0".encode())
        with (folder / f"{name}.jsonl").open("rb") as stream:
            while block := stream.read(1 << 20):
                content.update(block)
        content.update(b"\0")
    return content.hexdigest()[:16]
