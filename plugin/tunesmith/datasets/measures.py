"""What is measured on each row as it passes: readability, language, length, the answer's form, its labels."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tunesmith import json_safely
from tunesmith.datasets.languages import Languages
from tunesmith.datasets.lengths import Lengths
from tunesmith.datasets.splits import prompt_text
from tunesmith.tasks.conversation import Row

LOOK_AT, WORDS = 2000, 40  # characters and words of a text that its readability is judged by
MAX_VALUES = 100  # a field with more values is no choice
MAX_FORMS = 1000
SHORT = 60  # characters of an answer that may be a label

_BROKEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ue000-\uf8ff]")
_SIGNS = re.compile(r"[\W_]+")
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]{4,}")
_NO_WORD = re.compile(r"^[^aeiouyà-æè-ïò-öø-ýAEIOUYÀ-ÆÈ-ÏÒ-ÖØ-Ý]+$|[b-df-hj-np-tv-xz]{6}|(?:[a-z][A-Z]+){2}|(.)\1{3}")


def unreadable(text: str) -> bool:
    """Whether a text is mostly no words: broken characters, signs, or letters that no language puts together."""
    sample = "".join(text[:LOOK_AT].split())
    if not sample or len(_BROKEN.findall(sample)) > 0.05 * len(sample):
        return True
    if len(_SIGNS.sub("", sample)) < 0.45 * len(sample):
        return True
    words = _LATIN.findall(text[:LOOK_AT])[:WORDS]
    return len(words) >= 10 and sum(bool(_NO_WORD.search(w)) for w in words) > 0.4 * len(words)


def form(answer: str) -> tuple[str, ...]:
    """("text",) or ("json", fence and spacing, keys…) of an answer."""
    body = answer.strip()
    fence = body.startswith("```")
    if fence:
        body = re.sub(r"^```\w*|```$", "", body).strip()
    try:
        value = json_safely.loads(body, largest=json_safely.ANY_INTEGER) if body[:1] in "{[" else None
    except json_safely.NotJson:
        return ("broken json",)
    if isinstance(value, dict):
        style = f"{'fence ' if fence else ''}{'lines' if chr(10) in body else 'one line'}"
        return ("json", style, *value)
    return ("json list",) if isinstance(value, list) else ("text",)


def labels(answer: str, text: str) -> dict[str, str]:
    """Field → value of what may be a choice: short values that were not copied from the text. "" is the answer."""
    body = answer.strip()
    if body[:1] != "{":
        return {"": body} if len(body) <= SHORT else {}
    try:
        value = json_safely.loads(body, largest=json_safely.ANY_INTEGER)
    except json_safely.NotJson:
        return {}
    small = text.casefold()
    return {
        key: str(v)
        for key, v in value.items()
        if isinstance(v, str | bool) and len(str(v)) <= SHORT and str(v).casefold() not in small
    }


@dataclass
class Measures:
    """Counts over all rows; memory does not grow with them but for their lengths."""

    languages: Languages = field(default_factory=Languages)
    lengths: Lengths = field(default_factory=Lengths)
    unreadable: int = 0
    forms: Counter[tuple[str, ...]] = field(default_factory=Counter)
    values: dict[str, Counter[str]] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)

    def add(self, row: Row) -> None:
        text = prompt_text(row)
        self.languages.add(text)
        self.lengths.add(row)
        self.unreadable += unreadable(text)
        found = form(row.answer)
        self.forms[found if found in self.forms or len(self.forms) < MAX_FORMS else ("other",)] += 1
        for name, value in labels(row.answer, text).items():
            if name not in self.open:
                counts = self.values.setdefault(name, Counter())
                counts[value] += 1
                if len(counts) > MAX_VALUES or len(self.values) > MAX_VALUES:
                    self.open.add(name)
                    del self.values[name]

    def choices(self) -> dict[str, Counter[str]]:
        """Fields that are choices, with their values' counts: most rows have one, each value five times on average."""
        least = self.forms.total() / 2
        return {n: c for n, c in self.values.items() if c.total() >= max(least, 5 * len(c))}

    def inconsistent(self) -> float:
        """Share of answers whose form is not the usual one; keys may be missing or added, but not swapped."""
        usual = self.forms.most_common(1)
        if not usual:
            return 0.0
        fits = sum(n for found, n in self.forms.items() if _fits(found, usual[0][0]))
        return 1 - fits / self.forms.total()

    def summary(self) -> dict[str, Any]:
        return {
            "languages": dict(self.languages.rows.most_common()),
            "labels": {name or "answer": dict(counts.most_common()) for name, counts in self.choices().items()},
        }


def _fits(found: tuple[str, ...], usual: tuple[str, ...]) -> bool:
    if found[:2] != usual[:2]:
        return False
    here, there = set(found), set(usual)
    shared = [key for key in usual if key in here]
    return [key for key in found if key in there] == shared and (here <= there or there <= here)
