"""What a document lets a copied value be: a stretch of its pieces, and nothing from the middle of one.

Four cuts, strict to loose:
- "numbers": words, whole numbers with their separators (60.31, 19/10/2018, 2018-03-04), single punctuation marks;
- "pieces": the same, but numbers fall apart at their separators;
- "marks": pieces, and beside a punctuation mark a space or not ("27,Hill Road" is often copied as "27, Hill Road");
- "words": runs of letters and digits; any punctuation may stand between two (addresses, whose lines get joined).
White space between two pieces counts as one space. Case is kept.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

NUMBERS: Final = re.compile(r"\d+(?:[.,:/\-]\d+)*|[^\W\d_]+|\S")
PIECES: Final = re.compile(r"\d+|[^\W\d_]+|\S")
WORDS: Final = re.compile(r"[^\W_]+")
# Between two words: 1–4 of these; before the first and after the last: up to 2.
BETWEEN: Final = " !#$%&'()*+,-./:;<=>?@[]^_`{|}~"
LEAD, GAP, TAIL = 2, 4, 2
RESEMBLES = 0.7  # share of a known value's words that a document must have
MAX_PIECES = 1500  # beyond that a grammar costs more than it saves

_CUTS = {"numbers": NUMBERS, "pieces": PIECES, "marks": PIECES, "words": WORDS}
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Piece:
    text: str
    gap: str  # what stood before it: "", " " or "\n"
    starts_line: bool
    ends_line: bool


def cut(text: str, how: str) -> list[Piece]:
    """Pieces of a text in order. Lone surrogates, which no UTF-8 can carry, are dropped."""
    found: list[tuple[str, str]] = []
    position = 0
    text = _SURROGATE.sub("\n", text)
    for match in _CUTS[how].finditer(text):
        between = text[position : match.start()]
        gap = "\n" if re.search(r"[\n\r\x0b\x0c\x85\u2028\u2029]", between) else " " if between else ""
        found.append((match.group(), gap))
        position = match.end()
    breaks = [True, *(gap == "\n" for _, gap in found[1:]), True]
    return [Piece(word, gap, breaks[n], breaks[n + 1]) for n, (word, gap) in enumerate(found)]


def white_space(how: str, before: Piece, piece: Piece) -> str:
    """What stands between two pieces of a value: "" nothing, " " a space, "?" a space or nothing."""
    if how == "words":
        return ""
    if how == "marks" and not (before.text.isalnum() and piece.text.isalnum()):
        return "?"
    return " " if piece.gap else ""


def segments(pieces: list[Piece], lines: bool, never: Collection[str] = ()) -> list[list[Piece]]:
    """Stretches that a value may not leave: the whole text, or its lines; none goes into a line that begins with one
    of the words in `never`."""
    found: list[list[Piece]] = [[]]
    for piece in pieces:
        if piece.starts_line and not lines:
            found.append([])
        if piece.starts_line and piece.text in never:
            found.append([])
        else:
            found[-1].append(piece)
    return [part for part in found if part]


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


def resembles(value: str, words: Collection[str]) -> bool:
    """Whether most of the value's words are among these words of a document."""
    own = WORDS.findall(value)
    return bool(own) and sum(word in words for word in own) >= RESEMBLES * len(own)


@dataclass(frozen=True)
class Place:
    """Where a document has a value: whether there a line begins with it, and whether one ends with it."""

    starts_line: bool
    ends_line: bool


class Cuts:
    """One document, ready to be asked whether it admits a value."""

    def __init__(self, text: str, how: str):
        self.how = how
        self.pieces = cut(text, how)

    def places(self, value: str, lines: bool = True) -> list[Place]:
        """Every place from which the grammar built from this document lets the value be written."""
        match = self._words if self.how == "words" else self._walk
        found = []
        for part in segments(self.pieces, lines):
            found += [Place(part[a].starts_line, part[b].ends_line) for a, b in match(value, part)]
        return found

    def _walk(self, value: str, part: list[Piece]) -> Iterator[tuple[int, int]]:
        """(first, last) piece of each stretch that reads as the value."""
        for start in range(len(part)):
            at = 0
            for index in range(start, len(part)):
                gap = "" if index == start else white_space(self.how, part[index - 1], part[index])
                if gap == "?":
                    gap = " " if value.startswith(" ", at) else ""
                if not value.startswith(gap + part[index].text, at):
                    break
                at += len(gap) + len(part[index].text)
                if at == len(value):
                    yield start, index
                    break

    @staticmethod
    def _words(value: str, part: list[Piece]) -> Iterator[tuple[int, int]]:
        spans = [(m.start(), m.end()) for m in WORDS.finditer(value)]
        if not spans or spans[0][0] > LEAD or len(value) - spans[-1][1] > TAIL:
            return
        between = [value[a[1] : b[0]] for a, b in pairwise(spans)]
        edges = (value[: spans[0][0]], value[spans[-1][1] :])
        if any(len(b) > GAP for b in between) or not all(c in BETWEEN for b in (*between, *edges) for c in b):
            return
        words = [value[a:b] for a, b in spans]
        texts = [p.text for p in part]
        for i in range(len(texts) - len(words) + 1):
            if texts[i : i + len(words)] == words:
                yield i, i + len(words) - 1


Symbol = tuple[str, str]  # white space before it (see `white_space`), the piece itself


class Automaton:
    """Accepts exactly the stretches of some sequences of pieces, by subset construction over the places they end at.

    `edges[state]` maps a symbol to the next state, `final[state]` says whether a stretch may end there. State 0 has
    read nothing; its symbols carry no white space. `starts`, `ends`: only from the first piece of a line, only to the
    last one of a line.
    """

    def __init__(self, parts: Sequence[Sequence[Piece]], how: str, starts: bool = False, ends: bool = False):
        symbols = [
            [(white_space(how, before, piece), piece.text) for before, piece in pairwise([part[0], *part])]
            for part in parts
        ]
        self.edges: list[dict[Symbol, int]] = [{}]
        self.final = [False]
        known: dict[frozenset[tuple[int, int]], int] = {}
        begin: dict[Symbol, set[tuple[int, int]]] = {}
        for number, part in enumerate(parts):
            for index, piece in enumerate(part):
                if not starts or piece.starts_line:
                    begin.setdefault(("", piece.text), set()).add((number, index))
        todo: list[tuple[int, dict[Symbol, set[tuple[int, int]]]]] = [(0, begin)]
        while todo:
            state, options = todo.pop()
            for symbol, places in options.items():
                key = frozenset(places)
                if key not in known:
                    known[key] = len(self.edges)
                    self.edges.append({})
                    self.final.append(not ends or any(parts[n][i].ends_line for n, i in key))
                    following: dict[Symbol, set[tuple[int, int]]] = {}
                    for n, i in key:
                        if i + 1 < len(symbols[n]):
                            following.setdefault(symbols[n][i + 1], set()).add((n, i + 1))
                    todo.append((known[key], following))
                self.edges[state][symbol] = known[key]
