"""Grammar rules for "a stretch of this document", built from an automaton of its pieces."""

from collections.abc import Iterable, Iterator
from typing import Any

from tunesmith.tasks.grounding import GAP, LEAD, MAX_PIECES, TAIL, WORDS, Automaton, cut, resembles, segments
from tunesmith.tasks.schema import Field
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
        self._made: dict[tuple[Any, ...], str | None] = {}
        self._vocabulary = set(WORDS.findall(text))

    def known(self, f: Field) -> list[str]:
        """Training answers that most of this document's words could stand for."""
        return [value for value in f.known if resembles(value, self._vocabulary)]

    def rule(self, f: Field) -> str | None:
        """Name of the rule for a field's values; None when the document is empty or too long for a grammar."""
        kind = (f.grounding, f.lines, f.starts_line, f.ends_line, f.never)
        if kind not in self._made:
            name = f"{f.grounding}-{len(self._made)}"
            self._made[kind] = name if self._make(name, f) else None
        return self._made[kind]

    def _make(self, name: str, f: Field) -> bool:
        pieces = cut(self._text, f.grounding)
        if not 0 < len(pieces) <= MAX_PIECES:
            return False
        words = f.grounding == "words"
        for never in (f.never, ()):  # all lines may begin so
            automaton = Automaton(segments(pieces, f.lines, never), f.grounding, f.starts_line, f.ends_line)
            if automaton.edges[0]:
                break
        rules = list(self._words(name, automaton) if words else self._pieces(name, automaton))
        if sum(map(len, rules)) > MAX_CHARACTERS:
            return False
        self.rules += rules
        return True

    def _pieces(self, name: str, automaton: Automaton) -> Iterator[str]:
        """A value is pieces in the document's order, with a space where the document has white space."""
        edges, final = automaton.edges, automaton.final

        def after(state: int) -> str:
            return f"{name}-{state}" if edges[state] else ""

        for state, targets in enumerate(edges):
            options = []
            for gap, written in (("", ""), (" ", literal(" ")), ("?", f"{literal(' ')}?")):
                some = [(text, after(t)) for (space, text), t in targets.items() if space == gap]
                if some:
                    options.append(f"{written} ({self._choice(some)})")
            if options:
                head = name if state == 0 else f"{name}-{state}"
                yield f"{head} ::= ({' | '.join(options)}){'?' if final[state] else ''}"

    def _words(self, name: str, automaton: Automaton) -> Iterator[str]:
        """Words in the document's order, with any punctuation between them."""
        edges, final = automaton.edges, automaton.final
        yield f"{name}-mark ::= {_MARK}"
        yield f"{name} ::= {name}-mark{{0,{LEAD}}} {name}-0"
        yield f"{name}-tail ::= {name}-mark{{0,{TAIL}}}"
        for state, targets in enumerate(edges):
            if not targets:
                continue
            choice = self._choice(
                (word, f"{name}-{t}" if edges[t] else f"{name}-tail") for (_, word), t in targets.items()
            )
            if state == 0:
                yield f"{name}-0 ::= {choice}"
            else:
                stop = f" | {name}-tail" if final[state] else ""
                yield f"{name}-{state} ::= {name}-mark{{1,{GAP}}} ({choice}){stop}"

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
