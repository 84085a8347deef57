"""What scanning does to text: lines in another order, characters confused, spaces lost, lines broken or joined."""

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


def reordered(lines: list[str], rng: Random) -> list[str]:
    """As scanners read columns and boxes: up to four lines elsewhere than on the page."""
    out = list(lines)
    for _ in range(rng.randint(1, 4)):
        out.insert(rng.randrange(len(out)), out.pop(rng.randrange(len(out))))
    return out


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
