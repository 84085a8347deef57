"""What changed from one dataset version to another: rows added, removed, moved, and answered otherwise."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.datasets.splits import EXTRAS, SPLITS, digest
from tunesmith.tasks.conversation import Row, read_rows

EXAMPLES = 5  # of each kind
_SHOWN = 200  # characters of a prompt or an answer in an example
_Place = tuple[str, int]  # split, line from 0
_Index = dict[str, dict[str, _Place]]  # prompt → answer → where


@dataclass
class Diff:
    """Counts by split. `changed` rows are counted in the split of the new version, `moved` by `from → to`."""

    old: str
    new: str
    added: dict[str, int]
    removed: dict[str, int]
    changed: dict[str, int]
    moved: dict[str, int]
    unchanged: int
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {**self.__dict__, "same": not any((self.added, self.removed, self.changed, self.moved))}


def diff(old: Path, new: Path, *, labels: tuple[str, str]) -> Diff:
    """Compare the versions in two folders. Rows are told by their exact prompt; provenance does not count."""
    before, after = _index(old), _index(new)
    found: dict[str, list[tuple[_Place | None, _Place | None]]] = defaultdict(list)
    for prompt in dict.fromkeys([*before, *after]):
        was, now = before.get(prompt, {}), after.get(prompt, {})
        for answer in was.keys() & now.keys():
            kind = "unchanged" if was[answer][0] == now[answer][0] else "moved"
            found[kind].append((was[answer], now[answer]))
        gone = [was[a] for a in was if a not in now]
        come = [now[a] for a in now if a not in was]
        found["changed"] += zip(gone, come, strict=False)
        found["removed"] += [(place, None) for place in gone[len(come) :]]
        found["added"] += [(None, place) for place in come[len(gone) :]]
    kinds = ("added", "removed", "changed", "moved")
    shown = {kind: sorted(found[kind], key=str)[:EXAMPLES] for kind in kinds}
    old_rows = _fetch(old, {a for pairs in shown.values() for a, _ in pairs if a})
    new_rows = _fetch(new, {b for pairs in shown.values() for _, b in pairs if b})
    return Diff(
        *labels,
        added=_count(b[0] for _, b in found["added"] if b),
        removed=_count(a[0] for a, _ in found["removed"] if a),
        changed=_count(b[0] for _, b in found["changed"] if b),
        moved=_count(f"{a[0]} → {b[0]}" for a, b in found["moved"] if a and b),
        unchanged=len(found["unchanged"]),
        examples={
            kind: [_example(a and old_rows[a], b and new_rows[b], a, b) for a, b in pairs]
            for kind, pairs in shown.items()
        },
    )


def _index(folder: Path) -> _Index:
    index: _Index = defaultdict(dict)
    for split in (*SPLITS, *(extra for extra in EXTRAS if (folder / f"{extra}.jsonl").exists())):
        for line, row in enumerate(read_rows(folder / f"{split}.jsonl")):
            prompt = digest("\x1f".join(m["role"] + m["content"] for m in row.prompt))
            answer = digest(row.answer if row.rejected is None else f"{row.answer}\x1f{row.rejected}")
            index[prompt].setdefault(answer, (split, line))
    return index


def _count(names: Any) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for name in names:
        counts[name] += 1
    return dict(sorted(counts.items()))


def _fetch(folder: Path, places: set[_Place]) -> dict[_Place, Row]:
    return {
        (split, line): row
        for split in {split for split, _ in places}
        for line, row in enumerate(read_rows(folder / f"{split}.jsonl"))
        if (split, line) in places
    }


def _example(old: Row | None, new: Row | None, was: _Place | None, now: _Place | None) -> dict[str, Any]:
    row = new or old
    assert row is not None
    example: dict[str, Any] = {"prompt": _cut(row.prompt[-1]["content"]), "provenance": row.provenance}
    if old and was:
        example |= {"old_split": was[0], "old_answer": _cut(old.answer)}
    if new and now:
        example |= {"new_split": now[0], "new_answer": _cut(new.answer)}
    return example


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
