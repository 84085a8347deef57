"""Control tokens in data: a text that holds one could end its own turn or begin another, in training as in serving.

One way to put them, used for training rows, held-out rows, prompts that are measured and requests that are served:
they must all be the same text. A text without such tokens stays as it is.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from tunesmith.tasks.conversation import Message, Row

# What well-known templates write, for texts whose reader is not known yet.
COMMON = (
    *("<|", "|>", "<｜", "｜>", "<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    *("<start_of_turn>", "<end_of_turn>"),
)
_PASSES = 8  # putting one apart can leave another, as in <s<s>>


def neutralise(text: str, tokens: Sequence[str]) -> str:
    """The text with a space in each token, after its first character."""
    pattern = _pattern(tuple(tokens))
    if pattern is None:
        return text
    for _ in range(_PASSES):
        text, count = pattern.subn(lambda match: f"{match[0][0]} {match[0][1:]}", text)
        if not count:
            break
    return text


def neutral_value(value: Any, tokens: Sequence[str]) -> Any:
    """The same for every text in a JSON value, names of fields included."""
    if isinstance(value, str):
        return neutralise(value, tokens)
    if isinstance(value, Mapping):
        return {neutral_value(key, tokens): neutral_value(item, tokens) for key, item in value.items()}
    return [neutral_value(item, tokens) for item in value] if isinstance(value, list) else value


def neutral_row(row: Row, tokens: Sequence[str]) -> Row:
    """The same for every message of a row, and for its rejected answer."""
    messages: list[Message] = [{"role": m["role"], "content": neutralise(m["content"], tokens)} for m in row.messages]
    rejected = neutralise(row.rejected, tokens) if row.rejected is not None else None
    return replace(row, messages=messages, rejected=rejected)


def neutral_rows(rows: Iterable[Row], tokens: Sequence[str]) -> list[Row]:
    return [neutral_row(row, tokens) for row in rows]


@lru_cache(64)
def _pattern(tokens: tuple[str, ...]) -> re.Pattern[str] | None:
    """Longer tokens first. One of a single character, or with a space behind its first, cannot be put apart."""
    able = sorted({t for t in tokens if len(t) > 1 and not t.isspace() and t[1] != " "}, key=lambda t: (-len(t), t))
    return re.compile("|".join(map(re.escape, able))) if able else None
