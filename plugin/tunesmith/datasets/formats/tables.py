"""CSV and Parquet: rows of a table, whose columns are given the names that a format knows."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tunesmith.datasets.formats import lines
from tunesmith.datasets.formats.base import Record, Refused, Wrong, shown
from tunesmith.errors import BadInput, TooLarge

_BATCH = 64  # rows of a Parquet file in memory
_UNPACKED, _TIMES = 64 * 2**20, 100  # a Parquet file may unpack to so many bytes, or so many times its own size
_ROW = 16  # bytes that a row counts at least, even one of nulls


def csv_records(path: Path) -> Iterator[Record | Refused]:
    """Rows of a CSV file with a header; the delimiter is the commonest of comma, semicolon, tab and bar in it."""
    with path.open("rb") as stream:
        feed = _Feed(stream)
        csv.field_size_limit(lines.MAX_LINE)
        first = next(feed, "")
        if not first.strip():
            return
        delimiter = max(",;\t|", key=first.count)
        header = _header(first, delimiter)
        reader = csv.reader(feed, delimiter=delimiter, strict=True)
        while True:
            cells = feed.record(reader)
            yield from feed.taken()
            if cells is None:
                return
            if cells == []:
                continue
            try:
                yield Record(feed.start, _row(header, cells))
            except Wrong as wrong:
                yield Refused(feed.start, wrong.at(feed.start))


class _Feed:
    """Decoded lines for a CSV reader, which takes several for a row whose cells hold line breaks."""

    def __init__(self, stream: IO[bytes]):
        self._raw = enumerate(lines.bounded(stream), start=1)
        self._refused: list[Refused] = []
        self.start = 0  # line where the row began that was read last

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        for number, raw in self._raw:
            if len(raw) > lines.MAX_LINE:
                self._refused.append(Refused(number, lines.too_long().at(number)))
                continue
            self.start = self.start or number
            return (raw.removeprefix(lines.BOM) if number == 1 else raw).decode("utf-8", "surrogateescape")
        raise StopIteration

    def record(self, reader: Iterator[list[str]]) -> list[str] | Wrong | None:
        """The cells of the next row, empty for a blank line; None at the end."""
        self.start = 0
        try:
            return next(reader, None)
        except csv.Error as error:
            return Wrong(f"is no CSV ({error})", 'Close every quote; a quote within a cell is doubled: "".', "not_csv")

    def taken(self) -> list[Refused]:
        """The lines that were refused since the last call."""
        found, self._refused = self._refused, []
        return found


def _header(line: str, delimiter: str) -> list[str]:
    try:
        header = [name.strip() for name in next(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter))]
    except csv.Error as error:
        raise BadInput(
            f"The header is no line of CSV ({error}).", code="bad_header", hint="Save it as CSV.", param="file"
        ) from error
    if twice := lines.first_twice(header):
        raise BadInput(
            f"The header has the column {shown(repr(twice))} twice.",
            code="bad_header",
            hint="Rename one.",
            param="file",
        )
    return header


def _row(header: Sequence[str], cells: Sequence[str] | Wrong) -> dict[str, Any]:
    if isinstance(cells, Wrong):
        raise cells
    if len(cells) != len(header):
        hint = "Put a cell that holds the delimiter in quotes."
        raise Wrong(f"has {len(cells)} cells, the header {len(header)}", hint, "wrong_columns")
    lines.check_text("".join(cells))
    return dict(zip(header, cells, strict=True))


def parquet_records(path: Path) -> Iterator[Record | Refused]:
    """Rows of a Parquet file, numbered from 1; numbers and dates become text. Needs pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise BadInput(
            "Reading Parquet needs pyarrow.", code="needs_pyarrow", hint="Install it: pip install 'tunesmith[train]'."
        ) from error
    number = unpacked = 0
    size = path.stat().st_size
    most = max(_UNPACKED, _TIMES * size)
    try:
        file = parquet.ParquetFile(path)
        groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
        _check_size(size, max(sum(group.total_byte_size for group in groups), _ROW * file.metadata.num_rows), most)
        for batch in file.iter_batches(_BATCH, use_threads=False):
            unpacked += batch.nbytes  # one value that many rows share is counted once above
            _check_size(size, unpacked, most)
            for data in batch.to_pylist():
                number += 1
                yield Record(number, {name: plain(value) for name, value in data.items()})
    except (pyarrow.ArrowException, OSError) as error:
        if number == 0:
            raise BadInput(
                f"The file is no Parquet, or is cut off: {error}",
                code="not_parquet",
                hint="Upload the whole file again.",
                param="file",
            ) from error
        wrong = Wrong(f"and those after it cannot be read ({error})", "Upload the whole file again.", "cut_off")
        yield Refused(number + 1, wrong.at(number + 1, "Row"))


def _check_size(size: int, unpacked: int, most: int) -> None:
    if unpacked > most:
        raise TooLarge(
            f"The file of {size} bytes unpacks to more than {most / 2**20:.0f} MB.",
            code="unpacks_too_large",
            hint="Leave out columns that are not needed, or write it as JSONL.",
            param="file",
        )


def plain(value: Any) -> Any:
    """Lists, structs and text as they are; whatever else a column holds, as text."""
    return value if value is None or isinstance(value, str | list | dict | bytes) else str(value)
