"""A dataset version as a file in one of the formats, or as a folder that another trainer loads unchanged."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tunesmith.datasets.formats import FORMATS, Wrong
from tunesmith.datasets.formats.folders import (
    axolotl_config,
    axolotl_row,
    llamafactory_info,
    llamafactory_pair,
    llamafactory_row,
)
from tunesmith.datasets.splits import SPLITS
from tunesmith.errors import BadInput, Conflict
from tunesmith.store.files import put_in_place
from tunesmith.tasks.conversation import Row, read_rows

Form = Literal[
    "sharegpt", "messages", "alpaca", "prompt_completion", "preference", "csv", "parquet", "llamafactory", "axolotl"
]
FORMS: tuple[str, ...] = get_args(Form)
FOLDERS = ("llamafactory", "axolotl")
_WHOLE = ("sharegpt", "messages", "parquet", "preference")  # hold the weight and the rejected answer of a row
_COLUMNS = ("system", "prompt", "completion")
_BATCH = 256  # rows of a Parquet row group


@dataclass
class ExportReport:
    """`rows` that were written, how many the format cannot hold (by reason), and what others lost in it."""

    path: str
    format: str
    rows: int
    skipped: dict[str, int]
    lost: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def export(version: Path, form: str, output: Path, *, name: str, split: str | None = None) -> ExportReport:
    """Write the version at `version` (all splits in order, or one) to `output`: a file, or a folder for trainers.

    A JSONL format becomes one JSON array when `output` ends in .json. Raises BadInput when no row fits the format,
    Conflict when `output` is a folder that holds something; then nothing is written.
    """
    if form not in FORMS:
        raise BadInput(f"There is no format {form!r}.", hint=f"Formats: {', '.join(FORMS)}.", param="format")
    if split is not None and split not in SPLITS:
        raise BadInput(f"There is no split {split!r}.", hint=f"Splits: {', '.join(SPLITS)}.", param="split")
    if output.is_dir() and (form not in FOLDERS or any(output.iterdir())):
        hint = "Name a new folder." if form in FOLDERS else "Name a file in it."
        raise Conflict(f"{output} is a folder.", code="output_exists", hint=hint)
    source = _Source(version, [split] if split else SPLITS, whole=form in _WHOLE)
    partial = output.with_name(f".{output.name}.partial")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        if form in FOLDERS:
            _folder(source, form, partial, name)
        else:
            _file(source, form, partial, as_array=output.suffix == ".json")
        if not source.written:
            usual = source.skipped.most_common(1)
            why = f"{usual[0][1]} of its rows: {usual[0][0]}" if usual else "it has no rows"
            raise BadInput(f"Nothing can be exported as {form}: {why}.", code="nothing_to_export", hint=source.hint)
        put_in_place(partial, output)
    finally:
        _remove(partial)
    return ExportReport(str(output), form, source.written, dict(source.skipped), dict(source.lost))


class _Source:
    """Rows of a version, with a count of what was written and of what a format cannot hold."""

    def __init__(self, version: Path, splits: Sequence[str], *, whole: bool):
        self._version, self.splits, self._whole = version, splits, whole
        self.written = 0
        self.skipped: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.hint = "Export another split, or another format."

    def rows(self, split: str) -> Iterator[Row]:
        """With the training rows, the general ones that are trained on beside them."""
        for name in (split, "general") if split == "train" else (split,):
            path = self._version / f"{name}.jsonl"
            if path.exists():
                yield from read_rows(path)

    def written_as(self, write: Any, splits: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """What `write` makes of each row; those that it refuses are counted."""
        for split in splits or self.splits:
            for row in self.rows(split):
                try:
                    data = write(row)
                except Wrong as wrong:
                    self.skipped[wrong.what] += 1
                    self.hint = wrong.hint
                    continue
                self.written += 1
                if not self._whole:
                    self.lost.update(what for what, has in _extras(row).items() if has)
                yield data


def _extras(row: Row) -> dict[str, bool]:
    return {"rejected answers": row.rejected is not None, "weights": row.weight != 1.0}


def _file(source: _Source, form: str, path: Path, *, as_array: bool) -> None:
    if form == "csv":
        with path.open("w", encoding="utf-8", newline="") as out:
            table = csv.DictWriter(out, _COLUMNS, restval="")
            table.writeheader()
            table.writerows(source.written_as(FORMATS["prompt_completion"].write))
    elif form == "parquet":
        _parquet(source.written_as(FORMATS["messages"].write), path)
    else:
        _json(source.written_as(FORMATS[form].write), path, as_array=as_array)


def _json(rows: Iterable[dict[str, Any]], path: Path, *, as_array: bool = False) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for count, data in enumerate(rows, start=1):
            if as_array:
                out.write("[\n" if count == 1 else ",\n")
            out.write(json.dumps(data, ensure_ascii=False) + ("" if as_array else "\n"))
        if as_array:
            out.write("\n]\n")
    return count


def _parquet(rows: Iterator[dict[str, Any]], path: Path) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise BadInput(
            "Writing Parquet needs pyarrow.", code="needs_pyarrow", hint="Install it: pip install 'tunesmith[train]'."
        ) from error
    text = pyarrow.string()
    turn = pyarrow.struct([("role", text), ("content", text)])
    schema = pyarrow.schema([("messages", pyarrow.list_(turn)), ("weight", pyarrow.float64()), ("rejected", text)])
    with parquet.ParquetWriter(path, schema) as out:
        while batch := [data for _, data in zip(range(_BATCH), rows, strict=False)]:
            out.write_table(pyarrow.Table.from_pylist(batch, schema))


def _folder(source: _Source, form: str, folder: Path, name: str) -> None:
    """One file per split that has rows, and what the trainer wants to know about them."""
    _remove(folder)
    folder.mkdir()
    write = llamafactory_row if form == "llamafactory" else axolotl_row
    counts = {split: _json(source.written_as(write, [split]), folder / f"{split}.jsonl") for split in source.splits}
    for split in [split for split, count in counts.items() if not count]:
        (folder / f"{split}.jsonl").unlink()
        del counts[split]
    if not counts:
        return
    if form == "axolotl":
        (folder / "axolotl.yaml").write_text(axolotl_config(list(counts)), encoding="utf-8")
        return
    pairs = [split for split in counts if _pairs(source, split, folder)]
    del source.lost["rejected answers"]  # they are in the files of pairs
    info = llamafactory_info(name, list(counts), pairs)
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")


def _pairs(source: _Source, split: str, folder: Path) -> bool:
    """Writes the preference pairs of a split beside it, for a trainer that learns from both answers."""
    path = folder / f"{split}-preference.jsonl"
    found = (llamafactory_pair(row) for row in source.rows(split) if row.rejected is not None)
    if _json((pair for pair in found if pair), path):
        return True
    path.unlink()
    return False


def _remove(path: Path) -> None:
    if path.is_dir():
        for item in path.iterdir():
            item.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
