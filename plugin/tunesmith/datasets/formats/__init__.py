"""Formats of finished rows: read a record at a time, told by their keys, and written back.

One `Format` per shape, in the order in which they are looked for. A file is of one format; a row that cannot be read
is refused with its line and the reason, and reading goes on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunesmith.datasets.formats.base import Format, Record, Refused, Wrong, shown
from tunesmith.datasets.formats.columns import renamed, usual_names
from tunesmith.datasets.formats.conversations import MESSAGES, SHAREGPT
from tunesmith.datasets.formats.instructions import ALPACA, PROMPT_COMPLETION
from tunesmith.datasets.formats.lines import json_array, json_lines, numbered_lines, strict
from tunesmith.datasets.formats.preference import PREFERENCE
from tunesmith.datasets.formats.tables import csv_records, parquet_records
from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Row

__all__ = [
    "FORMATS",
    "FileReport",
    "Reading",
    "Refused",
    "Wrong",
    "numbered_lines",
    "open_file",
    "parse_upload",
    "validate_file",
]

FORMATS: dict[str, Format] = {f.name: f for f in (PREFERENCE, SHAREGPT, MESSAGES, ALPACA, PROMPT_COMPLETION)}
UPLOADED = (SHAREGPT, MESSAGES)  # what `/v1/files` takes

_UNREADABLE = {
    b"\xff\xfe": ("is UTF-16", "Save it as UTF-8."),
    b"\xfe\xff": ("is UTF-16", "Save it as UTF-8."),
    b"\x1f\x8b": ("is compressed", "Unpack it first."),
    b"PK\x03\x04": ("is a ZIP archive or a spreadsheet", "Unpack it, or save the sheet as CSV."),
    b"%PDF": ("is a PDF", "A dataset is JSON, JSONL, CSV or Parquet."),
}


class Reading:
    """Rows and refusals of one file, in order; iterate once. `format` and `rows` are told as it goes.

    Raises BadInput when rows are of two formats, when nothing can be read, and for a table whose columns mean nothing.
    """

    def __init__(
        self,
        records: Iterable[Record | Refused],
        *,
        formats: Sequence[Format] = tuple(FORMATS.values()),
        mapping: Mapping[str, str] | None = None,
        table: bool = False,
        unit: str = "Line",
    ):
        self._records, self._formats, self._table, self._unit = records, formats, table, unit
        self._mapping = mapping or {}
        self._first_refused: Refused | None = None
        self.format: Format | None = None
        self.rows = 0

    def __iter__(self) -> Iterator[tuple[int, Row] | Refused]:
        for record in self._records:
            item = record if isinstance(record, Refused) else self._row(record)
            if isinstance(item, Refused):
                self._first_refused = self._first_refused or item
            else:
                self.rows += 1
            yield item
        if not self.rows:
            raise self._nothing()

    def _row(self, record: Record) -> tuple[int, Row] | Refused:
        try:
            data = self._named(record.data)
            found = next((f for f in self._formats if f.matches(data)), None)
            if found is None:
                keys = ", ".join(list(map(str, data))[:5]) or "no keys"
                examples = " or ".join(f.example for f in self._formats)
                other = f", no {self.format.name} row" if self.format else ""
                raise Wrong(f"is an object with {keys}{other}", f"Each row is {examples}.", "unknown_format")
            self._keep_to(found, record.line)
            return record.line, found.read(data)
        except Wrong as wrong:
            return Refused(record.line, wrong.at(record.line, self._unit))

    def _named(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._table and not self._mapping:
            self._mapping = usual_names(data)
            if not self._mapping:
                raise BadInput(
                    f"The columns do not say what they are: {shown(', '.join(data))}.",
                    code="unknown_columns",
                    hint="Say which is which: --map prompt=COLUMN --map completion=COLUMN.",
                    param="mapping",
                )
        return renamed(data, self._mapping) if self._mapping else data

    def _keep_to(self, found: Format, line: int) -> None:
        if self.format is not None and found is not self.format:
            raise BadInput(
                f"{self._unit} {line} is {found.name}, but the lines before are {self.format.name}.",
                code="mixed_formats",
                hint=f"Keep to one form: {self.format.example}.",
                param="file",
            )
        self.format = found

    def _nothing(self) -> BadInput:
        refused = self._first_refused
        if refused is None:
            hint = f"One row each: {self._formats[-1].example}."
            return BadInput("The file holds no rows.", code="empty_file", hint=hint, param="file")
        message = f"Nothing in the file can be read. {refused.error.message}"
        return BadInput(message, code="nothing_readable", hint=refused.error.hint, param="file")


def open_file(path: Path, filename: str, mapping: Mapping[str, str] | None = None) -> Reading:
    """A file in any form that is read, told by its first bytes, and CSV by its name. Raises BadInput."""
    with path.open("rb") as stream:
        start = stream.read(4096)
    for magic, (what, hint) in _UNREADABLE.items():
        if start.startswith(magic):
            raise BadInput(f"{filename} {what}.", code="unreadable_file", hint=hint, param="file")
    suffix = Path(filename).suffix.casefold()
    if start.startswith(b"PAR1") or suffix == ".parquet":
        return Reading(parquet_records(path), mapping=mapping, table=True, unit="Row")
    if suffix in (".csv", ".tsv"):
        return Reading(csv_records(path), mapping=mapping, table=True)
    is_array = start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    return Reading(json_array(path) if is_array else json_lines(path), mapping=mapping)


@dataclass(frozen=True)
class FileReport:
    """What a checked file holds."""

    rows: int
    format: str  # sharegpt, messages or documents
    system_prompts: int  # rows with one
    longest: int  # characters of the longest row

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def parse_upload(source: Path | Iterable[bytes]) -> Iterator[Row]:
    """Rows of a ShareGPT or OpenAI chat JSONL file, in order, streaming. Raises BadInput at the first wrong line."""
    for _, row in _strictly(Reading(json_lines(source), formats=UPLOADED)):
        yield row


def validate_file(path: Path) -> FileReport:
    """Reads the whole file once. Raises BadInput naming the first wrong line."""
    reading = Reading(json_lines(path), formats=UPLOADED)
    systems = longest = 0
    for _, row in _strictly(reading):
        systems += row.messages[0]["role"] == "system"
        longest = max(longest, sum(len(m["content"]) for m in row.messages))
    assert reading.format is not None
    return FileReport(reading.rows, reading.format.name, systems, longest)


def _strictly(reading: Reading) -> Iterator[tuple[int, Row]]:
    for item in reading:
        if isinstance(item, Refused):
            raise strict(item)
        yield item
