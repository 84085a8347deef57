"""Signs of poisoned data: one phrase tied to one answer, in rows whose other words speak for another answer.

A phrase that always comes with one answer is mostly a fair sign of it ("overdue" of a reminder): then the words around
it point to the same answer. In a poisoned row they do not. Rows are held by hashes of their words; a phrase is one to
three words. What is found is a warning for a person to look at.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from tunesmith.datasets.measures import labels
from tunesmith.datasets.splits import prompt_text
from tunesmith.datasets.staging import Staged
from tunesmith.tasks.conversation import Row

MIN_ROWS = 8  # different rows that a phrase must be in
RARE = 0.1  # share of all rows; a more frequent phrase is part of the language
TIED = 0.95  # share of a phrase's rows that have its answer
NEIGHBOURS = 15  # most similar rows that are asked
CHANCE = 0.05  # share of neighbours that may have a rare answer by chance
COMMON = 0.1  # share of the rows from which a word says nothing about likeness
LOOK_AT = 20_000  # rows, evenly spread
PER_ANSWER = 2_000  # rows of one answer that phrases are taken from
WORDS = 2_000  # of a row
MAX_ANSWERS, MAX_PHRASES, MAX_FOUND = 50, 1_000, 10
JUDGED = 12  # rows of a phrase
_SLOTS = 1 << 15
_WORD = re.compile(r"\w+")
_OTHER = "\x00other"  # all answers that are too rare to be looked at

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class _Seen:
    """One row: the hashes of its words in order, and its answer in the view that is looked at."""

    words: Hashes
    answer: str


def suspicious(staged: Staged) -> tuple[list[dict[str, Any]], float]:
    """({field, phrase, answer, rows}, at most MAX_FOUND) and the share of the rows that have such a phrase."""
    kept = sum(not e.dropped for e in staged.entries)
    stride = max(1, kept // LOOK_AT)
    found: list[dict[str, Any]] = []
    marked: set[int] = set()
    for field in _views(staged):
        rows = list(_rows(staged, field, stride))
        neighbours = _Neighbours(rows)
        for phrase, members in _tied(rows):
            if neighbours.speak_against(members):
                marked.update(members)
                words = _spell(staged, stride, members[0], phrase)
                answer = rows[members[0]].answer
                found.append({"field": field or "answer", "phrase": words, "answer": answer, "rows": len(members)})
    found.sort(key=lambda f: (-f["rows"], f["phrase"]))
    return found[:MAX_FOUND], len(marked) * stride / max(1, kept)


def _views(staged: Staged) -> list[str]:
    """Fields that are a choice; "" is the whole answer, where some are repeated and it is no object of fields."""
    repeated = Counter(e.answer for e in staged.entries if not e.dropped)
    objects = staged.measures.forms.most_common(1)[0][0][0] == "json"
    choices = [name for name, counts in staged.measures.choices().items() if name and len(counts) > 1]
    whole = not objects and len(repeated) > 1 and any(count >= MIN_ROWS for count in repeated.values())
    return ([""] if whole else []) + choices[:3]


def _kept(staged: Staged, stride: int) -> Iterator[Row]:
    number = 0
    for entry, row in zip(staged.entries, staged.rows(), strict=True):
        if not entry.dropped:
            if number % stride == 0:
                yield row
            number += 1


def _rows(staged: Staged, field: str, stride: int) -> Iterator[_Seen]:
    for row in _kept(staged, stride):
        text = prompt_text(row)
        answer = labels(row.answer, text).get(field, _OTHER) if field else row.answer.strip()
        yield _Seen(_hashes(_WORD.findall(text.casefold())[:WORDS]), answer[:100])


def _hashes(words: Sequence[str]) -> Hashes:
    return np.fromiter((crc32(w.encode("utf-8", "replace")) for w in words), np.uint64, len(words))


def _phrases(words: Hashes) -> Hashes:
    """Distinct hashes of the runs of one, two and three words."""
    return np.unique(np.concatenate([_runs(words, size) for size in (1, 2, 3)]))


def _runs(words: Hashes, size: int) -> Hashes:
    count = max(0, len(words) - size + 1)
    found = np.full(count, size, np.uint64)
    for n in range(size):
        found = (found ^ words[n : n + count]) * np.uint64(0x9E3779B97F4A7C15)
        found ^= found >> np.uint64(29)
    return found


def _tied(rows: Sequence[_Seen]) -> list[tuple[int, list[int]]]:
    """(phrase, its rows) of rare phrases that come with one answer; of phrases in the same rows, the longest."""
    answers = Counter(row.answer for row in rows)
    usual = [a for a, n in answers.most_common(MAX_ANSWERS) if a != _OTHER and MIN_ROWS <= n <= len(rows) // 2]
    members: dict[int, list[int]] = {}
    for answer in usual:
        own = [i for i, row in enumerate(rows) if row.answer == answer]
        for phrase in _frequent([rows[i] for i in own[:: max(1, len(own) // PER_ANSWER)]]):
            members.setdefault(phrase, [])
    wanted = np.array(sorted(members), np.uint64)
    for i, row in enumerate(rows):
        for phrase in np.intersect1d(_phrases(row.words), wanted, assume_unique=True) if len(wanted) else ():
            members[int(phrase)].append(i)
    alike: dict[tuple[int, ...], int] = {}
    for phrase, own in members.items():
        most = Counter(rows[i].answer for i in own).most_common(1)
        if MIN_ROWS <= len(own) <= max(MIN_ROWS, RARE * len(rows)) and most[0][1] >= TIED * len(own):
            key = tuple(own)
            longest = max((p for p in (alike.get(key), phrase) if p is not None), key=lambda p: _size(rows[own[0]], p))
            alike[key] = longest
    most_rows = sorted(alike.items(), key=lambda item: (-len(item[0]), item[1]))
    return [(phrase, list(key)) for key, phrase in most_rows[:MAX_PHRASES]]


def _frequent(rows: Sequence[_Seen]) -> list[int]:
    """Phrases that at least MIN_ROWS of these rows have, and 2 % of them."""
    phrases, counts = np.unique(np.concatenate([_phrases(row.words) for row in rows]), return_counts=True)
    return [int(p) for p in phrases[counts >= max(MIN_ROWS, 0.02 * len(rows))]]


def _size(row: _Seen, phrase: int) -> int:
    return next(size for size in (3, 2, 1) if size == 1 or np.any(_runs(row.words, size) == np.uint64(phrase)))


class _Neighbours:
    """Which rows a row is like, by its less common words: each weighs the more, the fewer rows have it."""

    def __init__(self, rows: Sequence[_Seen]) -> None:
        self._rows = rows
        self._slots = [_slots(row.words) for row in rows]
        every = np.concatenate(self._slots)
        owners = np.repeat(np.arange(len(rows)), [len(s) for s in self._slots])
        self._postings = owners[np.argsort(every, kind="stable")]
        self._counts = np.bincount(every, minlength=_SLOTS)
        self._ends = np.cumsum(self._counts)
        self._sizes = np.sqrt(np.maximum(1, [len(s) for s in self._slots]))

    def speak_against(self, members: Sequence[int]) -> bool:
        """Whether the rows of a phrase are, by their other words, no more like rows of their own answer than chance
        would have it. Words that all these rows share count as part of the phrase."""
        some = members[:: max(1, len(members) // JUDGED)][:JUDGED]
        shared = self._slots[some[0]]
        for i in some[1:]:
            shared = np.intersect1d(shared, self._slots[i], assume_unique=True)
        judged, asked, own = 0, 0, 0
        for i in some:
            near = self._nearest(i, np.setdiff1d(self._slots[i], shared, assume_unique=True))
            judged += len(near) > 0
            asked += len(near)
            own += sum(self._rows[n].answer == self._rows[i].answer for n in near)
        usual = sum(row.answer == self._rows[some[0]].answer for row in self._rows) / len(self._rows)
        return judged >= MIN_ROWS and own <= max(usual, CHANCE) * asked

    def _nearest(self, i: int, words: NDArray[np.int64]) -> list[int]:
        """The NEIGHBOURS rows most like row `i` by these words; none where the words say too little."""
        words = words[(self._counts[words] > 1) & (self._counts[words] <= max(MIN_ROWS, COMMON * len(self._rows)))]
        if len(words) < 3:
            return []
        scores = np.zeros(len(self._rows))
        for word in words:
            count = self._counts[word]
            scores[self._postings[self._ends[word] - count : self._ends[word]]] += np.log(len(self._rows) / count)
        scores /= self._sizes
        scores[i] = 0
        best = np.argpartition(-scores, min(NEIGHBOURS, len(scores) - 1))[:NEIGHBOURS]
        return [int(n) for n in best if scores[n] > 0]


def _slots(words: Hashes) -> NDArray[np.int64]:
    return np.unique((words % np.uint64(_SLOTS)).astype(np.int64))


def _spell(staged: Staged, stride: int, index: int, phrase: int) -> str:
    row = next(row for i, row in enumerate(_kept(staged, stride)) if i == index)
    words = _WORD.findall(prompt_text(row).casefold())[:WORDS]
    hashes = _hashes(words)
    for size in (3, 2, 1):
        places = np.flatnonzero(_runs(hashes, size) == np.uint64(phrase))
        if len(places):
            return " ".join(words[places[0] : places[0] + size])
    return ""
