"""General rows against forgetting: some are trained on beside the task's, others are kept to measure what was lost."""

from collections.abc import Iterator
from pathlib import Path

from tunesmith.datasets import sources
from tunesmith.datasets.build import build
from tunesmith.datasets.options import Mix
from tunesmith.datasets.report import GeneralRows
from tunesmith.datasets.splits import SPLITS, digest, prompt_key
from tunesmith.errors import BadInput
from tunesmith.recipes import datasets, runs
from tunesmith.recipes.context import Context
from tunesmith.tasks.conversation import Row, read_rows, write_rows

HELD_OUT = 24  # rows that forgetting is measured on


def mix(context: Context, wanted: Mix, folder: Path) -> GeneralRows:
    """Writes general.jsonl, which is trained on, and general_test.jsonl into the version in `folder`.

    They never enter the task's own splits, so its gates, its format and its figures stay its own. A row whose prompt
    one of the splits has is left out. The same rows are taken from version to version as long as there are enough.
    """
    place, name = _source(context, wanted)
    own = {prompt_key(row) for split in SPLITS for row in read_rows(folder / f"{split}.jsonl")}
    trained = sum(1 for _ in read_rows(folder / "train.jsonl"))
    need = max(1, round(wanted.share / (1 - wanted.share) * trained))
    count = write_rows(folder / "general.jsonl", _some(place / "train.jsonl", need, own, name))
    held_out = write_rows(folder / "general_test.jsonl", _some(place / "test.jsonl", HELD_OUT, own, name))
    if not count:
        raise BadInput(
            f"{name} has no row that could be mixed in.", param="dataset.mix", hint="Name a dataset of conversations."
        )
    found = GeneralRows(source=name, rows=count, share=round(count / (count + trained), 4), held_out=held_out)
    context.say(
        f"{count} general rows of {name} are trained on, too: {found.share:.0%} of all. {held_out} measure forgetting.",
        level="info" if count == need and held_out else "warn",
        data=found.model_dump(),
    )
    return found


def _source(context: Context, wanted: Mix) -> tuple[Path, str]:
    """A folder with splits, and what it is called. A file becomes a dataset of its own first: bad rows, duplicates
    and secrets go, and rows that are alike stay on one side."""
    if wanted.dataset:
        row = datasets.get_version(context.workspace, wanted.dataset, wanted.version)
        return context.workspace.artifacts.dataset(row.version), f"{row.name}@{row.version}"
    assert wanted.file is not None
    rows = sources.rows({"file": wanted.file}, lambda name: runs.source_path(context.workspace, name))
    built = build(None, rows=rows, out=context.folder / "general", remove_copies=True)
    return context.folder / "general", f"{wanted.file}@{built.version}"


def _some(path: Path, most: int, without: set[str], name: str) -> Iterator[Row]:
    """At most so many rows, chosen by their content, in their order, as plain answers of weight 1."""
    keys = ((prompt_key(row), n) for n, row in enumerate(read_rows(path)))
    taken = {n for _, n in sorted((digest(key), n) for key, n in keys if key not in without)[:most]}
    for n, row in enumerate(read_rows(path)):
        if n in taken:
            yield Row(row.messages, {**row.provenance, "general": name})
