"""Near-duplicates of a dataset: copies of one document go, its relatives stay together.

A copy is a near-duplicate with the same answer, and the same document beyond doubt: the answer has a date and most
numbers of the texts agree (a scanner damages some), or all digits agree and the texts are closer still. Next month's
bill over the same amount is a relative, not a copy.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.datasets.report import NearDuplicates
from tunesmith.datasets.splits import Entry, Sets, digest
from tunesmith.datasets.staging import Staged
from tunesmith.tasks.values import dates_in

if TYPE_CHECKING:
    from tunesmith.datasets import near

CLOSE = 0.9  # likeness of copies whose answer has no date
AGREE = 0.67  # Jaccard similarity of the numbers of two scans of one document; single digits are often damage
STRAY = 2  # numbers that may differ however few there are

# What more rows than this share have is a template. Prompts of an upload carry instructions or a schema, of which there
# may be several; of documents these are gone already.
TEMPLATE, TEMPLATE_BARE = 0.5, 0.1


@dataclass(frozen=True)
class Found:
    """`copies` and `clusters`: sets of entries by index; every set of copies lies inside one cluster."""

    copies: Sets
    clusters: Sets


def settle(staged: Staged, threshold: float | None) -> Counter[int]:
    """Drops copies, gives near-duplicates one cluster; returns how many clusters there were of each size.

    `threshold` None: only equal prompts (but for case, white space and digits) are near-duplicates.
    """
    entries = staged.entries
    found = Found(Sets(len(entries)), Sets(len(entries)))
    first: dict[str, int] = {}
    for i, entry in enumerate(entries):
        found.clusters.join(i, first.setdefault(entry.cluster, i))
    if threshold is not None and len(entries) > 1:
        _compare(staged, threshold, found)
    sizes = _apply(entries, found)
    staged.near_duplicates += sum(e.dropped for e in entries)
    return sizes


def _compare(staged: Staged, threshold: float, found: Found) -> None:
    """Reads the staged rows once for their sketches, and again where two look like copies.

    Where copies stay (a training call's own upload), only relatives are looked for.
    """
    from tunesmith.datasets import near  # loads numpy: only the process that builds needs it

    entries = staged.entries
    index, digits, read = _sketches(staged)
    answers = _answers(entries)

    def copies(i: int, j: int) -> bool:
        return staged.copies_go and answers[i] == answers[j] and digits[i] == digits[j]

    def known(i: int, j: int) -> bool:
        sets = found.copies if copies(i, j) else found.clusters
        return sets.find(i) == sets.find(j)

    # An estimate is good enough to keep two rows together, but not to remove one.
    for i, j, likeness in near.similar_pairs(index, answers, threshold, read, exact=copies, skip=known):
        found.clusters.join(i, j)
        if copies(i, j) and (likeness >= CLOSE if digits[i] else _numbers_agree(staged.text(i), staged.text(j))):
            found.copies.join(i, j)


def _sketches(staged: Staged) -> tuple["near.Index", list[str], Callable[[int], "near.Hashes"]]:
    """Sketches of all rows, the digits of those whose answer has no date, and a way to read a row's shingles."""
    from tunesmith.datasets import near

    entries = staged.entries
    templates = near.Templates(TEMPLATE_BARE if staged.bare else TEMPLATE)
    for i in range(0, len(entries), max(1, len(entries) // near.SAMPLE)):
        templates.learn(near.shingles(staged.text(i)))
    templates.close()
    index, digits = near.Index(), []
    for text, answer in staged.texts():
        index.add(templates.without(near.shingles(text)))
        digits.append("" if dates_in(answer) else digest(re.sub(r"\D", "", text)))
    return index, digits, lambda i: templates.without(near.shingles(staged.text(i)))


def _answers(entries: Sequence[Entry]) -> list[int]:
    """One number for each answer under its system prompt."""
    numbers: dict[tuple[str, str], int] = {}
    return [numbers.setdefault((e.answer, e.system), len(numbers)) for e in entries]


def alike(staged: Staged, first: int, threshold: float | None) -> tuple[list[int], list[int]]:
    """Which rows from `first` on (synthetic ones, all in the training split) are nearly the same as an earlier row with
    the same answer, and which as one of another split, whatever its answer."""
    from tunesmith.datasets import near

    entries, answers = staged.entries, _answers(staged.entries)
    by_prompt: dict[str, list[int]] = {}
    pairs: list[tuple[int, int]] = []
    for j, entry in enumerate(entries):
        like = by_prompt.setdefault(entry.cluster, [])
        pairs += [(i, j) for i in like if j >= first]
        like.append(j)
    if threshold is not None and first < len(entries):
        index, _, read = _sketches(staged)
        found = near.similar_pairs(index, answers, threshold, read, skip=lambda i, j: j < first)
        pairs += [(i, j) for i, j, _ in found]
    gone, copies, leaks = {i for i, e in enumerate(entries) if e.dropped}, list[int](), list[int]()
    for i, j in sorted(pairs, key=lambda pair: pair[::-1]):
        if j in gone or i in gone:
            continue
        if entries[i].split != "train":
            leaks.append(j)
        elif answers[i] == answers[j]:
            copies.append(j)
        else:
            continue
        gone.add(j)
    return copies, leaks


def _numbers_agree(a: str, b: str) -> bool:
    left, right = (Counter(re.findall(r"\d\d+", text)) for text in (a, b))
    every = (left | right).total()
    return every - (left & right).total() <= max(STRAY, (1 - AGREE) * every)


def _apply(entries: Sequence[Entry], found: Found) -> Counter[int]:
    """Gives each entry its cluster, and drops all copies but one (a held-out one if there is any, else the first)."""
    for members in found.copies.members().values():
        best = min(members, key=lambda i: (entries[i].split == "validation", not _tested(entries[i]), i))
        for i in members:
            entries[i].dropped = i != best
    clusters = found.clusters.members()
    for root, members in clusters.items():
        for i in members:
            entries[i].cluster = entries[root].cluster
    return Counter(len(members) for members in clusters.values())


def summary(sizes: Counter[int], removed: int, held_out: float) -> NearDuplicates:
    """`held_out`: the share of the rows that are not trained on."""
    several = {size: count for size, count in sizes.items() if size > 1}
    return NearDuplicates(
        removed=removed,
        clusters=sum(several.values()),
        rows_in_clusters=sum(size * count for size, count in several.items()),
        largest_cluster=max(sizes, default=0),
        leakage_prevented=round(sum(_leaks(size, held_out) * count for size, count in several.items())),
    )


def _tested(entry: Entry) -> bool:
    return entry.held_out or entry.seen == "test"


def _leaks(size: int, held_out: float) -> float:
    """Expected rows of a cluster that a random split holds out while a near-duplicate is trained on."""
    return size * held_out * (1 - held_out ** (size - 1))
