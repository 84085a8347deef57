"""Documents or rows → one immutable dataset version: three ShareGPT splits and a report."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import IO

from tunesmith.datasets import splits
from tunesmith.datasets.gates import LONG_ROW, judge
from tunesmith.datasets.report import MAX_REJECTED, DatasetReport, Rejected
from tunesmith.datasets.splits import Entry, Split, SplitSpec
from tunesmith.errors import BadInput
from tunesmith.tasks.base import Task, infer_task
from tunesmith.tasks.conversation import Row, read_rows, row_to_json, write_rows
from tunesmith.tasks.document import Document

LEARN_FROM = 4000  # training rows that a task learns its style and grounding from
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
BARE_MINIMUM = 10  # rows of an upload without a recipe, as OpenAI asks for


@dataclass
class _Staged:
    """Accepted rows on disk, their index in memory (about 300 bytes a row)."""

    file: IO[bytes]
    entries: list[Entry] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    rows_in: int = 0
    duplicates: int = 0
    cut: int = 0
    systems: int = 0
    long: int = 0
    characters: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row, held_out: bool) -> None:
        line = (row_to_json(row) + "\n").encode("utf-8", "replace")
        prompt = splits.digest("\x1f".join(m["role"] + m["content"] for m in row.prompt))
        answer = f"{prompt}:{splits.digest(row.answer)}"
        if answer in self.seen:
            self.duplicates += 1
            return
        self.seen.add(answer)
        group = row.provenance.get("group")
        self.entries.append(
            Entry(self.file.tell(), [str(group)] if group else [], splits.prompt_key(row), answer, held_out)
        )
        self.file.write(line)
        size = sum(len(m["content"]) for m in row.messages)
        self.characters += size
        self.long += size > LONG_ROW
        self.systems += row.messages[0]["role"] == "system"
        self.cut += "cut_characters" in row.provenance

    def reject(self, where: str, error: BadInput) -> None:
        self.codes[error.error_code] += 1
        if len(self.rejected) < MAX_REJECTED:
            self.rejected.append(Rejected(where=where, code=error.error_code, reason=error.message))


def build(
    task: Task | None,
    *,
    documents: Iterable[Document] = (),
    rows: Iterable[Row] = (),
    validation_rows: Iterable[Row] | None = None,
    split: SplitSpec | None = None,
    out: Path,
) -> DatasetReport:
    """Writes train.jsonl, validation.jsonl, test.jsonl and report.json into `out`, in the order of the source.

    With documents, the test split is what carries a held-out tag, else whole groups. With rows only (an upload), it is
    the rows whose provenance says `held_out`, else a few, and validation is `validation_rows` alone. Exact duplicates
    go; a document or row that the task refuses is listed. `task` None: inferred from the training split. The report's
    `spec` is the task as fitted to that split: serve with it. Raises BadInput when nothing is left to train on.
    """
    split = split or SplitSpec()
    out.mkdir(parents=True, exist_ok=True)
    staging = out / "staging.partial"
    try:
        with staging.open("w+b") as file:
            staged = _Staged(file)
            from_documents = _stage_documents(staged, documents, task, split)
            _stage_rows(staged, rows, task)
            leaks = _assign(staged.entries, split, bare=not from_documents)
            if not any(e.split == "train" for e in staged.entries):
                raise _nothing(staged)
            for name in SPLITS:
                write_rows(out / f"{name}.jsonl", _read(staged, name))
        if validation_rows is not None:
            leaks += _write_validation(out, validation_rows, {e.prompt for e in staged.entries})
    finally:
        with suppress(FileNotFoundError):
            staging.unlink()
    bare = not from_documents
    train = list(islice(read_rows(out / "train.jsonl"), LEARN_FROM))
    fitted = infer_task(train) if task is None else task.fit(train)
    report = _report(fitted, staged, leaks, out, train, bare)
    (out / "report.json").write_text(json.dumps(report.as_dict(), indent=2) + "\n", encoding="utf-8")
    return report


def _stage_documents(staged: _Staged, documents: Iterable[Document], task: Task | None, split: SplitSpec) -> bool:
    held_out = {tag.casefold() for tag in split.held_out}
    count = 0
    for document in documents:
        count += 1
        staged.rows_in += 1
        if task is None:
            raise BadInput("Documents need a task.", param="task", hint="Write task: {type: extraction}.")
        labels = [tag for tag in document.tags if tag.casefold() not in held_out]  # which split it is in is no label
        tagged = len(labels) < len(document.tags) or bool(document.provenance.get("held_out"))
        try:
            row = task.example(replace(document, tags=labels))
        except BadInput as error:
            staged.reject(f"document {document.id}", error)
            continue
        staged.add(row, tagged)
    return count > 0


def _stage_rows(staged: _Staged, rows: Iterable[Row], task: Task | None) -> None:
    for number, row in enumerate(rows, start=1):
        staged.rows_in += 1
        try:
            if task is not None:
                task.check(row)
        except BadInput as error:
            staged.reject(f"row {number}", error)
            continue
        staged.add(row, bool(row.provenance.get("held_out")))


def _assign(entries: Sequence[Entry], split: SplitSpec, bare: bool) -> int:
    """Gives every entry its split; returns how many rows were dropped because the test split has their like."""
    leaks = splits.hold_out_tagged(entries)
    tagged = any(e.held_out for e in entries)
    if bare:
        if not tagged:
            splits.assign(entries, "test", splits.bare_test_size(len(entries)), split.seed)
        return leaks
    if not tagged:
        splits.assign(entries, "test", round(split.test * len(entries)), split.seed)
    rest = sum(e.split == "train" and not e.dropped for e in entries)
    splits.assign(entries, "validation", round(split.validation * rest), split.seed)
    return leaks


def _read(staged: _Staged, name: Split) -> Iterator[Row]:
    staged.file.flush()
    path = Path(staged.file.name)
    wanted = [e.split == name and not e.dropped for e in staged.entries]
    for row, keep in zip(read_rows(path), wanted, strict=True):
        if keep:
            yield row


def _write_validation(out: Path, rows: Iterable[Row], known: set[str]) -> int:
    """Writes the given validation rows; leaves out those that the rest of the dataset nearly has, and counts them."""
    leaks = 0

    def fresh() -> Iterator[Row]:
        nonlocal leaks
        for row in rows:
            if splits.prompt_key(row) in known:
                leaks += 1
            else:
                yield row

    write_rows(out / "validation.jsonl", fresh())
    return leaks


def _report(task: Task, staged: _Staged, leaks: int, out: Path, train: Sequence[Row], bare: bool) -> DatasetReport:
    entries = staged.entries
    counts = {name: _count(out / f"{name}.jsonl") for name in SPLITS}
    total, kept = max(1, staged.rows_in), max(1, len(entries))
    with_system = staged.systems / kept
    figures = {
        "rows_kept": counts["train"] + counts["test"] + (0 if bare else counts["validation"]),
        "rejected_share": staged.codes.total() / total,
        "empty_text": staged.codes["empty_text"] / total,
        "contradictions": splits.contradictions(entries),
        "mixed_system_prompts": min(with_system, 1 - with_system),
        "long_rows": staged.long / kept,
        **task.quality(train),
    }
    return DatasetReport(
        version=version_id(out),
        task=task.name,
        spec=task.spec,
        rows_in=staged.rows_in,
        rows_kept=int(figures["rows_kept"]),
        rejected=staged.rejected,
        rejected_by_code=dict(staged.codes),
        duplicates_removed=staged.duplicates,
        leaks_removed=leaks,
        groups=len(splits.components(entries)),
        groups_shared_with_test=splits.shared_groups(entries),
        cut_documents=staged.cut,
        characters={"total": staged.characters, "mean": staged.characters // kept},
        splits=counts,
        in_sample=counts["test"] == 0,
        gates=judge(figures, BARE_MINIMUM if bare else task.minimum_examples),
    )


def _nothing(staged: _Staged) -> BadInput:
    usual = staged.codes.most_common(1)
    why = f" {usual[0][1]} of {staged.rows_in} were refused: {staged.rejected[0].reason}" if usual else ""
    return BadInput(
        f"No row is left to train on.{why}",
        code="empty_dataset",
        hint="Widen the source's filters, or label the documents.",
        param="sources",
    )


def _count(path: Path) -> int:
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


def version_id(folder: Path) -> str:
    """First 16 hex digits of the SHA-256 over the splits' names and bytes."""
    content = hashlib.sha256()
    for name in SPLITS:
        content.update(f"{name}\0".encode())
        with (folder / f"{name}.jsonl").open("rb") as stream:
            while block := stream.read(1 << 20):
                content.update(block)
        content.update(b"\0")
    return content.hexdigest()[:16]
