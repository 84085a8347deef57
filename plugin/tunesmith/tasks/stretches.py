"""Grammar rules for "a stretch of this document", built from its suffix automaton."""

from collections.abc import Iterable, Iterator, Sequence

from tunesmith.tasks.grounding import GAP, LEAD, MAX_PIECES, TAIL, Automaton, Piece, cut, segments
from tunesmith.tasks.style import Style

MAX_CHARACTERS = 400_000  # of rules for one document


def literal(text: str) -> str:
    """A GBNF string literal that matches the text and nothing else."""
    out = []
    for c in text:
        if c in '"\\':
            out.append("\\" + c)
        elif ord(c) < 32 or ord(c) == 127:
            out.append(f"\\x{ord(c):02x}")
        else:
            out.append(c)
    return '"' + "".join(out) + '"'


# The characters of `grounding.BETWEEN` as a GBNF class.
_MARK = r"[ !#-/:-@\[\]^_`{-~]"


class Stretches:
    """Makes each kind of stretch once, however many fields use it."""

    def __init__(self, text: str, style: Style):
        self.rules: list[str] = []
        self._text = text
        self._style = style
        self._made: dict[tuple[str, bool], str | None] = {}

    def rule(self, how: str, lines: bool) -> str | None:
        """Name of the rule; None when the document is empty or too long for a grammar."""
        key = (how, lines)
        if key not in self._made:
            self._made[key] = self._make(how, lines)
        return self._made[key]

    def _make(self, how: str, lines: bool) -> str | None:
        pieces = cut(self._text, how)
        if not 0 < len(pieces) <= MAX_PIECES:
            return None
        name = how if lines else f"{how}-line"
        parts = segments(pieces, lines)
        rules = list(self._words(name, parts) if how == "words" else self._pieces(name, parts))
        if sum(map(len, rules)) > MAX_CHARACTERS:
            return None
        self.rules += rules
        return name

    def _pieces(self, name: str, parts: Sequence[Sequence[Piece]]) -> Iterator[str]:
        """Symbols alternate piece, gap, piece, …; a value starts with a piece and may end after any."""
        edges = Automaton(_alternating(part) for part in parts).edges

        def after(state: int) -> str:
            return f"{name}-{state}" if edges[state] else ""

        start = {s: t for s, t in edges[0].items() if s[0] == "p"}
        yield f"{name} ::= {self._choice((s[1:], after(t)) for s, t in start.items())}"
        seen, todo = set(start.values()), list(start.values())
        while todo:
            state = todo.pop()
            options = []
            for gap, middle in edges[state].items():
                options.append(
                    f"{literal(gap[1:]) if gap[1:] else ''} "
                    f"({self._choice((s[1:], after(t)) for s, t in edges[middle].items())})"
                )
                fresh = set(edges[middle].values()) - seen
                seen |= fresh
                todo += fresh
            if options:
                yield f"{name}-{state} ::= ({' | '.join(options)})?"

    def _words(self, name: str, parts: Sequence[Sequence[Piece]]) -> Iterator[str]:
        """Words in the document's order, with any punctuation between them."""
        edges = Automaton([p.text for p in part] for part in parts).edges
        yield f"{name}-mark ::= {_MARK}"
        yield f"{name} ::= {name}-mark{{0,{LEAD}}} {name}-0"
        yield f"{name}-end ::= {name}-mark{{0,{TAIL}}}"
        for state, targets in enumerate(edges):
            if not targets:
                continue
            choice = self._choice((word, f"{name}-{t}" if edges[t] else f"{name}-end") for word, t in targets.items())
            if state == 0:
                yield f"{name}-0 ::= {choice}"
            else:
                yield f"{name}-{state} ::= {name}-mark{{1,{GAP}}} ({choice}) | {name}-end"

    def _choice(self, edges: Iterable[tuple[str, str]]) -> str:
        """Alternatives `piece rest`; first characters are shared, so that a sampler follows few paths at once."""
        by_first: dict[str, list[tuple[str, str]]] = {}
        for piece, rest in edges:
            by_first.setdefault(piece[0], []).append((piece[1:], rest))
        options = []
        for first, members in by_first.items():
            head = self._style.text(first)
            if len(members) == 1:
                tail, rest = members[0]
                options.append(f"{literal(head + self._style.text(tail))} {rest}")
            else:
                tails = [f"{literal(self._style.text(tail))} {rest}" for tail, rest in members]
                options.append(f"{literal(head)} ({' | '.join(tails)})")
        return " | ".join(options)


def _alternating(part: Sequence[Piece]) -> list[str]:
    symbols: list[str] = []
    for index, piece in enumerate(part):
        if index:
            symbols.append("g" + (" " if piece.gap else ""))
        symbols.append("p" + piece.text)
    return symbols
