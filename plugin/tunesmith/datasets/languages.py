"""Which language a text is in, by py3langid (a small n-gram model; loaded when the first text is looked at)."""

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

UNKNOWN = "unknown"
EVERY_ROW, STRIDE = 10_000, 5
LOOK_AT = 300  # characters, from the middle: letterheads are of no language
# What is told apart. The model knows 200 languages; rare relatives (Pidgin, Luxembourgish, Aragonese) only mislead it.
KNOWN = (
    "ar", "bg", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he", "hi", "hr", "hu", "id", "it",
    "ja", "ko", "lt", "lv", "ms", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "sv", "th", "tr", "uk", "ur",
    "vi", "zh",
)  # fmt: skip
_LETTERS = re.compile(r"[^\W\d_]+")
_NORWEGIAN = {"nb": "no", "nn": "no"}


@dataclass
class Languages:
    """Counts of rows by ISO 639-1 code. Telling a language costs most of all that a row is measured for, and a share is
    known well enough from many rows: after the first EVERY_ROW of them, one in STRIDE stands for its neighbours."""

    rows: Counter[str] = field(default_factory=Counter)
    seen: int = 0

    @cached_property
    def _model(self) -> Any:
        import py3langid

        py3langid.set_languages(KNOWN)
        return py3langid

    def add(self, text: str) -> None:
        """Counts one text; "unknown" when it has too few letters to tell."""
        self.seen += 1
        if self.seen <= EVERY_ROW:
            self.rows[self.tell(text)] += 1
        elif self.seen % STRIDE == 0:
            self.rows[self.tell(text)] += STRIDE

    def tell(self, text: str) -> str:
        start = max(0, len(text) - LOOK_AT) // 2
        words = " ".join(_LETTERS.findall(text[start : start + LOOK_AT]))
        return str(self._model.classify(words)[0]) if len(words) >= 20 else UNKNOWN

    def others(self, expected: list[str]) -> float:
        """Share of the rows whose language could be told that are in none of the expected ones."""
        codes = {_NORWEGIAN.get(code, code) for code in (e.casefold()[:2] for e in expected)}
        told = sum(n for code, n in self.rows.items() if code != UNKNOWN)
        return sum(n for code, n in self.rows.items() if code not in codes | {UNKNOWN}) / max(1, told)
