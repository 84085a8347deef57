"""What scanning does to text: characters confused, spaces lost, lines broken or run together."""

from collections.abc import Iterable
from random import Random

_CONFUSED = {
    "0": "O",
    "O": "0",
    "1": "l",
    "l": "1",
    "I": "l",
    "5": "S",
    "S": "5",
    "8": "B",
    "e": "c",
    "c": "e",
    "m": "rn",
    "u": "ii",
    "i": "í",
    "ü": "u",
    "ä": "a",
    "ö": "o",
    "é": "e",
    "è": "e",
    "n": "ri",
    "h": "li",
    "g": "q",
}


def damage(text: str, rng: Random, protected: Iterable[str]) -> str:
    """A scanned copy. The protected passages stay readable: labels nobody could read would teach guessing."""
    safe = [False] * len(text)
    for passage in protected:
        at = text.find(passage)
        while passage and at >= 0:
            safe[at : at + len(passage)] = [True] * len(passage)
            at = text.find(passage, at + 1)
    rate = rng.uniform(0.01, 0.04)
    out = []
    for character, kept in zip(text, safe, strict=True):
        chance = rng.random()
        if kept or chance > rate:
            out.append(character)
        elif character == " ":
            out.append(rng.choice(["", "\n", "  "]))
        elif character == "\n":
            out.append(rng.choice([" ", "\n\n"]))
        else:
            out.append(_CONFUSED.get(character, character))
    return "".join(out)
