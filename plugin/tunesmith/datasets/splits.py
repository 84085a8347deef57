"""Splits that keep groups whole: no correspondent, and no near-identical prompt, is on both sides."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tunesmith.tasks.conversation import Row
from tunesmith.tasks.prompting import document_of

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

# What a version may hold beside its splits: general rows that are trained on and those kept to measure forgetting, and
# rows that the current model had right and that are left out of training.
EXTRAS = ("general", "general_test", "set_aside")
PREFERENCES = "preferences"

_DIGITS = str.maketrans("123456789", "000000000")


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


@dataclass(slots=True)
class Entry:
    """One staged row: where it lies, and what must stay together with it.

    `cluster` is one key for rows with near-identical prompts, `prompt`, `answer` and `system` are hashes of just these,
    `identity` names the row's document. `seen`: the split that an earlier version had it in.
    """

    offset: int
    groups: list[str]
    cluster: str
    prompt: str
    answer: str
    identity: str = ""
    system: str = ""
    held_out: bool = False
    split: Split = "train"
    dropped: bool = False
    seen: Split | None = None


class Sets:
    """Disjoint sets of the numbers below `size`; a set is named by its smallest member."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        a, b = self.find(i), self.find(j)
        self._parent[max(a, b)] = min(a, b)

    def members(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for i in range(len(self._parent)):
            found[self.find(i)].append(i)
        return found


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def prompt_text(row: Row) -> str:
    """What a row is about: the document, or all turns before the answer but the system prompt."""
    return "\x1f".join(document_of(m["content"]) for m in row.prompt if m["role"] != "system")


def prompt_key(row: Row) -> str:
    """Hash of the prompt with case, white space and digits evened out: equal for near-identical prompts."""
    text = " ".join(prompt_text(row).casefold().split())
    return digest(text.translate(_DIGITS) if text.isascii() else re.sub(r"\d", "0", text))


def identity(row: Row) -> str:
    """The document that a row was made of, or "" for a row without one: equal in every version of a dataset."""
    document = row.provenance.get("document")
    return f"{row.provenance.get('source', '')}:{document}" if document else ""


def bare_test_size(rows: int) -> int:
    """Test rows of a bare upload: 5 %, at least 8 and at most 24; none below 20 rows."""
    return min(24, max(8, rows // 20)) if rows >= 20 else 0


def components(entries: Sequence[Entry]) -> dict[int, list[int]]:
    """Entries (by index) that share a group or a near-identical prompt, directly or through others."""
    sets = Sets(len(entries))
    first: dict[str, int] = {}
    for i, entry in enumerate(entries):
        for key in (*entry.groups, "prompt:" + entry.cluster):
            sets.join(i, first.setdefault(key, i))
    return sets.members()


def assign(entries: Sequence[Entry], split: Split, wanted: int, seed: int) -> int:
    """Moves about `wanted` training rows, in whole groups, to `split`; returns how many. At least half stay.

    What an earlier version trained on never becomes test: the model of that version could not be judged on it.
    """
    rows = [e for e in entries if e.split == "train" and not e.dropped]
    groups = sorted(components(rows).values(), key=lambda g: digest(f"{seed}:{split}:{rows[g[0]].cluster}"))
    taken = 0
    for group in groups:
        room = wanted - taken
        if room <= 0:
            break
        # A group that overshoots by much waits for a smaller one.
        if len(group) > max(room * 1.5, 1) or taken + len(group) > len(rows) // 2:
            continue
        if split == "test" and any(rows[i].seen for i in group):
            continue
        for i in group:
            rows[i].split = split
        taken += len(group)
    return taken


def freeze(entries: Sequence[Entry], *, whole_groups: bool) -> int:
    """Puts what an earlier version tested on into the test split again, and with it new rows that are nearly the same.

    `whole_groups`: new rows of its groups, too. Returns the rows that were frozen.
    """
    frozen = [e for e in entries if e.seen == "test" and not e.dropped]
    for entry in frozen:
        entry.split = "test"
    clusters = {e.cluster for e in frozen}
    groups = {group for e in frozen for group in e.groups} if whole_groups else set()
    for entry in entries:
        if entry.seen is None and entry.split == "train" and (entry.cluster in clusters or groups & set(entry.groups)):
            entry.split = "test"
    return len(frozen)


def hold_out_tagged(entries: Sequence[Entry]) -> None:
    """Puts tagged rows into the test split."""
    for entry in entries:
        if entry.held_out:
            entry.split = "test"


def drop_leaks(entries: Sequence[Entry]) -> int:
    """Drops rows outside the test split that are nearly the same as one in it, and given validation rows that are
    nearly the same as a training row; returns how many."""
    count = 0
    for kept, others in (("test", ("train", "validation")), ("train", ("validation",))):
        clusters = {e.cluster for e in entries if e.split == kept and not e.dropped}
        for entry in entries:
            if not entry.dropped and entry.split in others and entry.cluster in clusters:
                entry.dropped = True
                count += 1
    return count


def shared_groups(entries: Iterable[Entry]) -> int:
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
        answers[entry.prompt].add(entry.answer)
        counts[entry.prompt] += 1
    return sum(counts[k] for k, a in answers.items() if len(a) > 1) / max(1, len(entries))
