"""Accepted rows wait on disk while only an index of them is in memory (about 1.5 KB a row, its sketch included)."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tunesmith.datasets import splits
from tunesmith.datasets.gates import LONG_ROW
from tunesmith.datasets.measures import Measures
from tunesmith.datasets.privacy import Guard
from tunesmith.datasets.report import MAX_REJECTED, Rejected
from tunesmith.datasets.splits import Entry, Split
from tunesmith.errors import BadInput
from tunesmith.store.files import replacing
from tunesmith.tasks.conversation import Row, from_sharegpt, read_rows, row_to_json


@dataclass
class Staged:
    """Rows in the order of the source. `bare`: an upload, whose rows go at once when they are the same but for case and
    white space. `copies_go`: near-duplicates with the same answer go later."""

    file: IO[bytes]
    guard: Guard
    measures: Measures
    bare: bool = True
    copies_go: bool = False
    entries: list[Entry] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)  # exact row → its entry
    alike: set[str] = field(default_factory=set)
    rows_in: int = 0
    duplicates: int = 0
    near_duplicates: int = 0
    leaks: int = 0
    frozen: int = 0
    cut: int = 0
    systems: int = 0
    long: int = 0
    characters: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row, *, held_out: bool = False, split: Split = "train") -> None:
        """Stage one row. Raises BadInput when it holds private data that the recipe drops."""
        row = self.guard.check(row)
        prompt = splits.digest("\x1f".join(m["role"] + m["content"] for m in row.prompt))
        answer = splits.digest(row.answer if row.rejected is None else f"{row.answer}\x1f{row.rejected}")
        if self._known(row, f"{prompt}:{answer}", held_out, split):
            return
        group = row.provenance.get("group")
        self.file.seek(0, os.SEEK_END)  # rows may have been read again in between
        self.entries.append(
            Entry(
                offset=self.file.tell(),
                groups=[str(group)] if group else [],
                cluster=splits.prompt_key(row),
                prompt=prompt,
                answer=answer,
                identity=splits.identity(row),
                system=splits.digest("\x1f".join(m["content"] for m in row.messages if m["role"] == "system")),
                held_out=held_out,
                split=split,
            )
        )
        self.file.write((row_to_json(row) + "\n").encode("utf-8", "replace"))
        size = sum(len(m["content"]) for m in row.messages)
        self.characters += size
        self.long += size > LONG_ROW
        self.systems += row.messages[0]["role"] == "system"
        self.cut += "cut_characters" in row.provenance
        self.measures.add(row)

    def _known(self, row: Row, exact: str, held_out: bool, split: Split) -> bool:
        """Whether the row is there already: then that one is held out when this one is. Given for validation, it is
        a leak."""
        if (first := self.seen.setdefault(exact, len(self.entries))) < len(self.entries):
            self.entries[first].held_out |= held_out
            self.duplicates += split != "validation"
            self.leaks += split == "validation"
            return True
        if self.bare:
            even = "\x1f".join(m["role"] + " ".join(m["content"].casefold().split()) for m in row.messages)
            if (key := splits.digest(even)) in self.alike:
                self.near_duplicates += split != "validation"
                self.leaks += split == "validation"
                return True
            self.alike.add(key)
        return False

    def reject(self, where: str, error: BadInput, line: int | None = None) -> None:
        self.codes[error.error_code] += 1
        if len(self.rejected) < MAX_REJECTED:
            self.rejected.append(Rejected(where=where, code=error.error_code, reason=error.message, line=line))

    def text(self, index: int) -> str:
        """The text of one row again, from disk."""
        self.file.seek(self.entries[index].offset)
        data = json.loads(self.file.readline())
        return splits.prompt_text(Row(from_sharegpt(data["conversations"])))

    def texts(self) -> Iterator[tuple[str, str]]:
        """(text, answer) of all rows, in order."""
        for row in self.rows():
            yield splits.prompt_text(row), row.answer

    def write(self, folder: Path) -> None:
        """Every split whole, as <split>.jsonl, in the order of the source."""
        with ExitStack() as stack:
            files = {name: stack.enter_context(replacing(folder / f"{name}.jsonl")) for name in splits.SPLITS}
            self.file.seek(0)
            for line, entry in zip(self.file, self.entries, strict=True):
                if not entry.dropped:
                    files[entry.split].write(line)

    def rows(self) -> Iterator[Row]:
        """All rows again, in order."""
        self.file.flush()
        yield from read_rows(Path(self.file.name))
