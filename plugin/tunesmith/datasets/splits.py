"""Splits that keep groups whole: no correspondent, and no near-identical prompt, is on both sides."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tunesmith.tasks.conversation import Row

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class SplitSpec:
    """`held_out`: documents with one of these tags are the test set.

    Where none has one, `test` of the rows (a share), in whole groups, is the test set. `validation` is a share of
    what is left for training, in whole groups.
    """

    held_out: Sequence[str] = ("held-out",)
    validation: float = 0.05
    test: float = 0.1
    seed: int = 0


@dataclass
class Entry:
    """One staged row: where it lies, and what must stay together with it."""

    offset: int
    groups: list[str]
    prompt: str
    answer: str
    held_out: bool = False
    split: Split = "train"
    dropped: bool = field(default=False)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def prompt_key(row: Row) -> str:
    """Hash of the prompt with case, white space and digits evened out: equal for near-identical prompts."""
    text = "\x1f".join(m["content"] for m in row.prompt if m["role"] != "system")
    return digest(re.sub(r"\d", "0", re.sub(r"\s+", " ", text.casefold())).strip())


def bare_test_size(rows: int) -> int:
    """Test rows of a bare upload: 5 %, at least 8 and at most 24; none below 20 rows."""
    return min(24, max(8, rows // 20)) if rows >= 20 else 0


def components(entries: Sequence[Entry]) -> dict[int, list[int]]:
    """Entries (by index) that share a group or a near-identical prompt, directly or through others."""
    parent = list(range(len(entries)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for i, entry in enumerate(entries):
        for key in (*entry.groups, "prompt:" + entry.prompt):
            j = first.setdefault(key, i)
            a, b = find(i), find(j)
            parent[max(a, b)] = min(a, b)
    found: dict[int, list[int]] = defaultdict(list)
    for i in range(len(entries)):
        found[find(i)].append(i)
    return found


def assign(entries: Sequence[Entry], split: Split, wanted: int, seed: int) -> int:
    """Moves about `wanted` training rows, in whole groups, to `split`; returns how many. At least half stay."""
    rows = [e for e in entries if e.split == "train" and not e.dropped]
    groups = sorted(components(rows).values(), key=lambda g: digest(f"{seed}:{split}:{rows[g[0]].prompt}"))
    taken = 0
    for group in groups:
        room = wanted - taken
        if room <= 0:
            break
        # A group that overshoots by much waits for a smaller one.
        if len(group) > max(room * 1.5, 1) or taken + len(group) > len(rows) // 2:
            continue
        for i in group:
            rows[i].split = split
        taken += len(group)
    return taken


def hold_out_tagged(entries: Sequence[Entry]) -> int:
    """Puts tagged rows into the test split and drops training rows with a near-identical prompt; returns how many."""
    for entry in entries:
        if entry.held_out:
            entry.split = "test"
    tested = {e.prompt for e in entries if e.held_out}
    leaks = [e for e in entries if not e.held_out and e.prompt in tested]
    for entry in leaks:
        entry.dropped = True
    return len(leaks)


def shared_groups(entries: Sequence[Entry]) -> int:
    """Groups with rows in the test split and elsewhere: 0 unless tags hold out single documents of a correspondent."""
    where: dict[str, set[bool]] = defaultdict(set)
    for entry in entries:
        if not entry.dropped:
            for group in entry.groups:
                where[group].add(entry.split == "test")
    return sum(len(sides) > 1 for sides in where.values())


def contradictions(entries: Sequence[Entry]) -> float:
    """Share of rows whose exact prompt also occurs with another answer."""
    answers: dict[str, set[str]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for entry in entries:
        key = entry.answer.split(":")[0]
        answers[key].add(entry.answer)
        counts[key] += 1
    return sum(counts[k] for k, a in answers.items() if len(a) > 1) / max(1, len(entries))
