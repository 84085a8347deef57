"""Near-duplicates: MinHash finds pairs that may be alike; where it matters, the shingles themselves decide.

A text is the set of its runs of SHINGLE characters (case and white space evened out); two texts are near-duplicates
when the Jaccard similarity of their sets reaches the threshold. One hash per shingle fills all bins of a sketch
(one-permutation MinHash; an empty bin takes the next one's value), so a sketch costs about one sort.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHINGLE = 5  # characters
BINS = 256
BANDS, PER_BAND = 32, 8  # a pair with similarity 0.8 shares a band with probability 0.997, one with 0.5 with 0.12
SLACK = 0.1  # how far below the threshold an estimate may lie (3 standard deviations at 256 bins) to be looked at
TEMPLATE_ROWS = 20  # what so many rows have may be a template
SAMPLE = 4000  # rows that templates are looked for in
SMALL_BUCKET = 16  # rows of a bucket that are all compared with each other

Hashes = NDArray[np.uint64]
_SLOTS = 1 << 20
_EDGES = (np.arange(BINS, dtype=np.uint64) << np.uint64(56)).astype(np.uint64)
_TO_NEXT_BIN = np.uint64(0x9E3779B97F4A7C15)
_POWERS = [np.uint64(pow(0x100000001B3, n, 1 << 64)) for n in range(SHINGLE)]
_MIX = [np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)]


def shingles(text: str) -> Hashes:
    """Sorted distinct 64-bit hashes of a text's shingles; a text shorter than one shingle has one."""
    even = " ".join(text.casefold().split())
    codes = np.frombuffer(even.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    if len(codes) < SHINGLE:
        codes = np.concatenate([codes, np.zeros(SHINGLE - len(codes), np.uint64)])
    size = len(codes) - SHINGLE + 1
    hashes = codes[:size].copy()
    for n in range(1, SHINGLE):
        hashes += codes[n : n + size] * _POWERS[n]
    for factor in _MIX:
        hashes ^= hashes >> np.uint64(33)
        hashes *= factor
    hashes ^= hashes >> np.uint64(33)
    hashes.sort()
    return _distinct(hashes)


def _distinct(ordered: NDArray[Any]) -> NDArray[Any]:
    keep = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=keep[1:])
    return ordered[keep]


def jaccard(a: Hashes, b: Hashes) -> float:
    """Shared shingles over all shingles of two sorted sets."""
    both = np.concatenate([a, b])
    both.sort(kind="stable")  # two sorted runs: a merge
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / max(1, len(both) - shared)


class Templates:
    """Shingles that more than a share of the rows have, so that they say nothing about likeness: a prompt's
    instructions, the letterhead of the only sender."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._counts = np.zeros(_SLOTS, np.uint32)
        self._rows = 0
        self._common = np.zeros(_SLOTS, bool)

    def learn(self, found: Hashes) -> None:
        self._rows += 1
        slots = _slot(found)
        slots.sort()
        self._counts[_distinct(slots)] += 1

    def close(self) -> None:
        """Decide, from the rows learnt, what is a template."""
        self._common = self._counts > max(TEMPLATE_ROWS, self._share * self._rows)

    def without(self, found: Hashes) -> Hashes:
        """The shingles that are no template; all of them where too few would be left to compare."""
        own = found[~self._common[_slot(found)]]
        return own if len(own) >= 2 * SHINGLE else found


def _slot(hashes: Hashes) -> NDArray[np.int64]:
    return (hashes & np.uint64(_SLOTS - 1)).astype(np.int64)


def sketch(found: Hashes) -> tuple[Hashes, NDArray[np.uint8]]:
    """(BANDS band keys, BINS bytes whose equal share estimates the similarity) of sorted shingles."""
    place = found.searchsorted(_EDGES)
    bins = found[np.where(place < len(found), place, 0)]
    away = (np.arange(BINS, dtype=np.uint64) - (bins >> np.uint64(56))) % np.uint64(BINS)
    bins = bins + away * _TO_NEXT_BIN
    bins = (bins ^ (bins >> np.uint64(29))) * _MIX[1]
    # Bins of one band lie far apart, so that neighbours which borrowed the same value do not fill a whole band.
    bands = np.zeros(BANDS, np.uint64)
    for part in bins.reshape(PER_BAND, BANDS):
        bands = (bands ^ part) * _MIX[0]
        bands ^= bands >> np.uint64(32)
    return bands, (bins >> np.uint64(56)).astype(np.uint8)


@dataclass
class Index:
    """Sketches of all rows (512 bytes each), in the order they were added."""

    bands: list[Hashes] = field(default_factory=list)
    bytes: list[NDArray[np.uint8]] = field(default_factory=list)

    def add(self, found: Hashes) -> None:
        bands, estimate = sketch(found)
        self.bands.append(bands)
        self.bytes.append(estimate)

    def candidates(self, answers: Sequence[int], threshold: float) -> Iterator[tuple[int, int, float]]:
        """(i, j, estimate) with i < j that share a band, estimated near the threshold or above, the likeliest first.

        `answers`: one number per row; rows of one bucket are compared with those of the same answer first.
        """
        if len(self.bands) < 2:
            return
        pairs = _pairs(np.stack(self.bands), np.asarray(answers, np.int64))
        table = np.stack(self.bytes)
        left, right = np.divmod(pairs, len(table))
        found = []
        for start in range(0, len(pairs), 1 << 14):
            part = slice(start, start + (1 << 14))
            found.append(np.count_nonzero(table[left[part]] == table[right[part]], axis=1))
        estimate = np.concatenate(found) / BINS if found else np.zeros(0)
        good = np.flatnonzero(estimate >= threshold - SLACK)
        for at in good[np.argsort(-estimate[good], kind="stable")]:
            yield int(left[at]), int(right[at]), float(estimate[at])


def _pairs(bands: NDArray[np.uint64], answers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Distinct pairs of rows that share a band, as i * rows + j with i < j.

    A small bucket gives all its pairs. In a large one each row is paired with the first and with its neighbour in
    the order of the answers, so that a family of like documents costs as many pairs as it has members.
    """
    rows = len(bands)
    found: list[NDArray[np.int64]] = []
    for column in bands.T:
        order = np.lexsort((answers, column))
        keys = column[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        sizes = np.diff(np.concatenate([starts, [rows]]))
        for step in range(1, SMALL_BUCKET):
            same = np.flatnonzero(keys[step:] == keys[:-step])
            if step > 1:
                owner = np.searchsorted(starts, same, side="right") - 1
                same = same[sizes[owner] <= SMALL_BUCKET]
            if len(same) == 0:
                break
            found.append(_encode(order[same], order[same + step], rows))
        first = np.repeat(order[starts], sizes)
        found.append(_encode(first, order, rows))
    together: NDArray[np.int64] = np.unique(np.concatenate(found))
    different: NDArray[np.int64] = together[together // rows != together % rows]
    return different


def _encode(a: NDArray[np.int64], b: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    return np.minimum(a, b) * rows + np.maximum(a, b)


def similar_pairs(
    index: Index,
    answers: Sequence[int],
    threshold: float,
    read: Callable[[int], Hashes],
    *,
    exact: Callable[[int, int], bool] = lambda i, j: True,
    skip: Callable[[int, int], bool] = lambda i, j: False,
) -> Iterator[tuple[int, int, float]]:
    """Near-duplicates (i, j, likeness) with i < j.

    `read` gives a row's shingles, which decide where `exact` asks for it; elsewhere the estimate does, which is free.
    `skip` may spare a pair that adds nothing.
    """
    cached: Any = lru_cache(maxsize=2000)(read)
    for i, j, estimate in index.candidates(answers, threshold):
        if not skip(i, j):
            likeness = jaccard(cached(i), cached(j)) if exact(i, j) else estimate
            if likeness >= threshold:
                yield i, j, likeness
