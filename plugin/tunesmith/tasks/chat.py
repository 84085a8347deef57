"""Chat: answers in a style. There is nothing to parse: not empty, not looping, close to the reference."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from tunesmith.errors import BadInput
from tunesmith.tasks.base import Constraint, Score, insert_turns
from tunesmith.tasks.conversation import Message, Row
from tunesmith.tasks.document import Document

CLOSE = 0.8  # token F1 from which an answer counts as the expected one
_WORD = re.compile(r"\w+|[^\w\s]")


class Chat:
    """`spec`: `system`, the system prompt that `prompt` puts first."""

    name: ClassVar[str] = "chat"
    minimum_examples: ClassVar[int] = 10
    has_format: ClassVar[bool] = False

    def __init__(self, spec: Mapping[str, Any] | None = None) -> None:
        given = dict(spec or {})
        unknown = sorted(set(given) - {"type", "system"})
        if unknown:
            raise BadInput(f"The chat task has no setting {unknown[0]!r}.", param="task", hint="Known: system.")
        self.system: str | None = given.get("system")

    @property
    def spec(self) -> dict[str, Any]:
        return {"system": self.system} if self.system else {}

    @classmethod
    def infer(cls, rows: Sequence[Row]) -> Self | None:
        systems = Counter(row.messages[0]["content"] for row in rows if row.messages[0]["role"] == "system")
        usual = systems.most_common(1)
        return cls({"system": usual[0][0]} if usual and usual[0][1] > len(rows) / 2 else {})

    def fit(self, rows: Sequence[Row]) -> Self:
        return type(self)(self.spec)

    def prompt(self, text: str) -> list[Message]:
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": text}]

    def example(self, document: Document) -> Row:
        raise BadInput(
            "A document is no conversation.",
            code="task_needs_rows",
            param="task",
            hint="Use the task extraction for documents, or a file source with conversations.",
        )

    def check(self, row: Row) -> None:
        """Any conversation will do."""

    def few_shot(self, rows: Sequence[Row], messages: list[Message]) -> list[Message]:
        return insert_turns(rows, messages)

    def constraint(self, messages: list[Message]) -> Constraint | None:
        return None

    def quality(self, rows: Sequence[Row]) -> dict[str, float]:
        common = Counter(row.answer.strip() for row in rows).most_common(1)
        return {"largest_label": common[0][1] / len(rows)} if common else {}

    def score(self, answer: str, expected: str, messages: list[Message]) -> Score:
        similarity = token_f1(answer, expected)
        return Score(
            format_ok=bool(answer.strip()) and not loops(answer),
            exact=similarity >= CLOSE,
            similarity=similarity,
        )


def token_f1(answer: str, expected: str) -> float:
    """Harmonic mean of precision and recall over words, each counted as often as it occurs; 0 to 1."""
    a, b = (Counter(_WORD.findall(t.casefold())) for t in (answer, expected))
    common = (a & b).total()
    return 2 * common / (a.total() + b.total()) if common else 0.0


def loops(answer: str) -> bool:
    """Whether the end of the answer repeats one short passage at least four times in a row."""
    words = answer.split()
    for size in range(1, min(40, len(words) // 4) + 1):
        tail = words[-size:]
        if size * 4 >= 8 and all(words[-size * k : len(words) - size * (k - 1)] == tail for k in range(2, 5)):
            return True
    return len(words) >= 8 and len(set(words[-8:])) == 1
