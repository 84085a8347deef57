"""How long rows are, against what a model can read at once."""

import json
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.tasks.conversation import Row

CHARACTERS_PER_TOKEN = 3.0  # of small English-centred vocabularies on European documents
TEMPLATE_TOKENS = 30  # what a chat template writes around a row


@dataclass(frozen=True)
class ModelContext:
    """A base model's longest row in tokens; `count`, where its tokenizer is at hand, counts the tokens of a text."""

    tokens: int
    count: Callable[[str], int] | None = None


def model_context(folder: Path) -> ModelContext | None:
    """Of a Hugging Face folder; None when its configuration does not say."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokens = int(config.get("text_config", config)["max_position_embeddings"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return ModelContext(tokens, _counter(folder / "tokenizer.json"))


def _counter(path: Path) -> Callable[[str], int] | None:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    if not path.is_file():
        return None
    tokenizer = Tokenizer.from_file(str(path))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


@dataclass
class Lengths:
    """Characters of every row's prompt and answer (8 bytes a row)."""

    prompts: "array[int]" = field(default_factory=lambda: array("I"))
    answers: "array[int]" = field(default_factory=lambda: array("I"))

    def add(self, row: Row) -> None:
        self.prompts.append(sum(len(m["content"]) for m in row.prompt))
        self.answers.append(len(row.answer))

    def report(self, context: ModelContext | None, some: list[Row], shortened: int) -> dict[str, Any]:
        """Rows that do not fit, and what of them a cut at the end would take. `some`: rows to calibrate on;
        `shortened`: documents whose middle the task left out already."""
        rate = _characters_per_token(context, some)
        totals = sorted(a + b for a, b in zip(self.prompts, self.answers, strict=True))
        found: dict[str, Any] = {
            "characters_per_token": round(rate, 2),
            "counted_by": "tokenizer" if context and context.count and some else "estimate",
            "median_tokens": _tokens(totals[len(totals) // 2], rate) if totals else 0,
            "longest_tokens": _tokens(totals[-1], rate) if totals else 0,
            "shortened_in_the_middle": shortened,
        }
        if context:
            over = [
                _tokens(p, rate) >= context.tokens
                for p, a in zip(self.prompts, self.answers, strict=True)
                if _tokens(p + a, rate) > context.tokens
            ]
            found |= {
                "context_tokens": context.tokens,
                "over_context": len(over),
                "whole_answer_lost": sum(over),
                "end_of_answer_lost": len(over) - sum(over),
            }
        return found


def _tokens(characters: int, rate: float) -> int:
    return round(characters / rate) + TEMPLATE_TOKENS


def _characters_per_token(context: ModelContext | None, some: list[Row]) -> float:
    if context is None or context.count is None or not some:
        return CHARACTERS_PER_TOKEN
    texts = [m["content"] for row in some for m in row.messages]
    return sum(map(len, texts)) / max(1, sum(map(context.count, texts)))
