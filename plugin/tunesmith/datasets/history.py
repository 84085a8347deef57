"""What earlier versions of a dataset tested and trained on: test sets stay frozen from version to version."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tunesmith.datasets.splits import Entry, Split, identity, prompt_key
from tunesmith.tasks.conversation import read_rows


def mark(entries: Iterable[Entry], earlier: Sequence[Path]) -> None:
    """Sets `seen` of the rows that earlier versions had. `earlier`: their folders, the newest last.

    A row is known by its document, or else by its prompt (case, white space and digits aside). What any version
    tested on counts as tested; what was trained on is read from the newest version alone: its model is the one that
    the next is compared with.
    """
    known: dict[str, Split] = {}
    trained: tuple[tuple[str, Split], ...] = (("set_aside", "train"), ("train", "train"), ("validation", "validation"))
    for name, split in trained:
        for folder in earlier[-1:]:
            known.update(dict.fromkeys(_keys(folder / f"{name}.jsonl"), split))
    for folder in earlier:
        known.update(dict.fromkeys(_keys(folder / "test.jsonl"), "test"))
    for entry in entries:
        entry.seen = known.get(entry.identity) if entry.identity else None
        entry.seen = entry.seen or known.get(entry.cluster)


def _keys(path: Path) -> Iterable[str]:
    if not path.exists():
        return
    for row in read_rows(path):
        yield prompt_key(row)
        if name := identity(row):
            yield name
