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

MIN_ROWS = 5  # different rows that a phrase must be in
RARE = 0.1  # share of all rows; a more frequent phrase is part of the language
TIED = 0.95  # share of a phrase's rows that have its answer
AGAINST = 0.5  # share of a phrase's rows whose other words speak for another answer
LOOK_AT = 20_000  # rows, evenly spread
PER_ANSWER = 2_000  # rows of one answer that phrases are taken from
WORDS = 2_000  # of a row
MAX_ANSWERS, MAX_PHRASES, MAX_FOUND = 50, 2_000, 10
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
        bayes = _Bayes(rows)
        for phrase, members in _tied(rows):
            if bayes.speaks_against(members):
                marked.update(members)
                words = _spell(staged, stride, members[0], phrase)
                answer = rows[members[0]].answer
                found.append({"field": field or "answer", "phrase": words, "answer": answer, "rows": len(members)})
    found.sort(key=lambda f: (-f["rows"], f["phrase"]))
    return found[:MAX_FOUND], len(marked) * stride / max(1, kept)


def _views(staged: Staged) -> list[str]:
    """Fields that are a choice; "" is the whole answer, where some are repeated."""
    repeated = Counter(e.answer for e in staged.entries if not e.dropped)
    choices = [name for name, counts in staged.measures.choices().items() if name and len(counts) > 1]
    whole = len(repeated) > 1 and any(count >= MIN_ROWS for count in repeated.values())
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


class _Bayes:
    """Naive Bayes over the words of all rows; a row is judged by the others."""

    def __init__(self, rows: Sequence[_Seen]) -> None:
        usual = Counter(row.answer for row in rows).most_common(MAX_ANSWERS)
        self._rows = rows
        self._number = {answer: i for i, (answer, _) in enumerate(usual)}
        self._counts = np.full((len(usual) + 1, _SLOTS), 0.1)
        for row in rows:
            self._counts[self._label(row), _slots(row.words)] += 1
        self._totals = self._counts.sum(axis=1)

    def _label(self, row: _Seen) -> int:
        return self._number.get(row.answer, len(self._number))

    def speaks_against(self, members: Sequence[int]) -> bool:
        """Whether the other words of most of a phrase's rows speak for another answer; words that all of these rows
        share count as part of the phrase."""
        some = members[:: max(1, len(members) // JUDGED)][:JUDGED]
        slots = [_slots(self._rows[i].words) for i in some]
        shared = slots[0]
        for own in slots[1:]:
            shared = np.intersect1d(shared, own, assume_unique=True)
        against = judged = 0
        for i, own in zip(some, slots, strict=True):
            rest = np.setdiff1d(own, shared, assume_unique=True)
            if len(rest) >= 3:
                judged += 1
                against += self._best(self._label(self._rows[i]), own, rest) != self._label(self._rows[i])
        return judged >= MIN_ROWS and against > AGAINST * judged

    def _best(self, label: int, own: NDArray[np.int64], rest: NDArray[np.int64]) -> int:
        counts, totals = self._counts[:, rest], self._totals.copy()
        counts[label] -= 1
        totals[label] -= len(own)
        return int((np.log(counts).sum(axis=1) - len(rest) * np.log(totals)).argmax())


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
