"""What a document lets a copied value be: a stretch of its pieces, and nothing from the middle of one.

Three cuts, strict to loose:
- "numbers": words, whole numbers with their separators (60.31, 19/10/2018, 2018-03-04), single punctuation marks;
- "pieces": the same, but numbers fall apart at their separators;
- "words": runs of letters and digits; any punctuation may stand between two (addresses, whose lines get joined).
White space between two pieces counts as one space. Case is kept.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

NUMBERS: Final = re.compile(r"\d+(?:[.,:/\-]\d+)*|[^\W\d_]+|\S")
PIECES: Final = re.compile(r"\d+|[^\W\d_]+|\S")
WORDS: Final = re.compile(r"[^\W_]+")
# Between two words: 1–4 of these; before the first and after the last: up to 2.
BETWEEN: Final = " !#$%&'()*+,-./:;<=>?@[]^_`{|}~"
LEAD, GAP, TAIL = 2, 4, 2
MAX_PIECES = 1500  # beyond that a grammar costs more than it saves

_CUTS = {"numbers": NUMBERS, "pieces": PIECES, "words": WORDS}
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Piece:
    text: str
    gap: str  # what stood before it: "", " " or "\n"


def cut(text: str, how: str) -> list[Piece]:
    """Pieces of a text in order. Lone surrogates, which no UTF-8 can carry, are dropped."""
    pieces: list[Piece] = []
    position = 0
    text = _SURROGATE.sub("\n", text)
    for match in _CUTS[how].finditer(text):
        between = text[position : match.start()]
        gap = "\n" if re.search(r"[\n\r\x0b\x0c\x85\u2028\u2029]", between) else " " if between else ""
        pieces.append(Piece(match.group(), gap))
        position = match.end()
    return pieces


def segments(pieces: list[Piece], lines: bool) -> list[list[Piece]]:
    """Stretches that a value may not leave: the whole text, or its lines."""
    if lines:
        return [pieces] if pieces else []
    found: list[list[Piece]] = []
    for piece in pieces:
        if not found or piece.gap == "\n":
            found.append([])
        found[-1].append(piece)
    return found


def shape(value: str) -> str:
    """What a value looks like: runs of digits as 9, of letters as A. "RM 60.31" → "A 9.9"."""
    return "".join(_shape(p) if i == 0 or not p.gap else " " + _shape(p) for i, p in enumerate(cut(value, "numbers")))


def _shape(piece: Piece) -> str:
    return "A" if piece.text[0].isalpha() else re.sub(r"\d+", "9", piece.text)


def shaped(text: str, shapes: Sequence[str], lines: bool) -> list[str]:
    """Stretches of the text that have one of the shapes, in order, each once."""
    wanted, longest = set(shapes), max(len(cut(s, "numbers")) for s in shapes)
    found: dict[str, None] = {}
    for part in segments(cut(text, "numbers"), lines):
        for start in range(len(part)):
            value = form = ""
            for index in range(start, min(start + longest, len(part))):
                gap = " " if index > start and part[index].gap else ""
                value += gap + part[index].text
                form += gap + _shape(part[index])
                if form in wanted:
                    found[value] = None
    return list(found)


class Cuts:
    """One document, ready to be asked whether it admits a value."""

    def __init__(self, text: str, how: str):
        self.how = how
        self.pieces = cut(text, how)

    def admits(self, value: str, lines: bool = True) -> bool:
        """Whether the grammar built from this document lets the value be written."""
        if self.how == "words":
            return any(self._words(value, part) for part in segments(self.pieces, lines))
        return any(
            self._walk(value, part, start) for part in segments(self.pieces, lines) for start in range(len(part))
        )

    @staticmethod
    def _walk(value: str, part: list[Piece], start: int) -> bool:
        at = 0
        for index in range(start, len(part)):
            gap = "" if index == start or not part[index].gap else " "
            if not value.startswith(gap + part[index].text, at):
                return False
            at += len(gap) + len(part[index].text)
            if at == len(value):
                return True
        return False

    @staticmethod
    def _words(value: str, part: list[Piece]) -> bool:
        spans = [(m.start(), m.end()) for m in WORDS.finditer(value)]
        if not spans or spans[0][0] > LEAD or len(value) - spans[-1][1] > TAIL:
            return False
        between = [value[a[1] : b[0]] for a, b in pairwise(spans)]
        edges = (value[: spans[0][0]], value[spans[-1][1] :])
        if any(len(b) > GAP for b in between) or not all(c in BETWEEN for b in (*between, *edges) for c in b):
            return False
        words = [value[a:b] for a, b in spans]
        texts = [p.text for p in part]
        return any(texts[i : i + len(words)] == words for i in range(len(texts) - len(words) + 1))


class Automaton:
    """Suffix automaton over the symbols of some sequences: its paths from state 0 are exactly their factors."""

    def __init__(self, sequences: Iterable[list[str]]):
        self.edges: list[dict[str, int]] = [{}]
        self._link = [-1]
        self._length = [0]
        for sequence in sequences:
            last = 0
            for symbol in sequence:
                last = self._extend(last, symbol)

    def _add(self, edges: dict[str, int], link: int, length: int) -> int:
        self.edges.append(edges)
        self._link.append(link)
        self._length.append(length)
        return len(self.edges) - 1

    def _extend(self, last: int, symbol: str) -> int:
        if symbol in self.edges[last]:
            known = self.edges[last][symbol]
            return known if self._length[known] == self._length[last] + 1 else self._clone(last, known, symbol)
        new = self._add({}, 0, self._length[last] + 1)
        state = last
        while state != -1 and symbol not in self.edges[state]:
            self.edges[state][symbol] = new
            state = self._link[state]
        if state != -1:
            known = self.edges[state][symbol]
            exact = self._length[known] == self._length[state] + 1
            self._link[new] = known if exact else self._clone(state, known, symbol)
        return new

    def _clone(self, state: int, known: int, symbol: str) -> int:
        clone = self._add(dict(self.edges[known]), self._link[known], self._length[state] + 1)
        self._link[known] = clone
        while state != -1 and self.edges[state].get(symbol) == known:
            self.edges[state][symbol] = clone
            state = self._link[state]
        return clone
