"""What a task is: it owns how an example is written, how an answer is checked and what it is held to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

from tunesmith.registry import Registry
from tunesmith.tasks.conversation import Message, Row
from tunesmith.tasks.document import Document


@dataclass(frozen=True)
class Constraint:
    """What a served answer is held to: GBNF for llama.cpp, a JSON Schema where only that is understood."""

    json_schema: dict[str, Any] | None = None
    grammar: str | None = None


@dataclass(frozen=True)
class Score:
    """One answer against the expected one.

    `fields` tells for every expected field whether it is right; `ungrounded` names the fields whose value
    does not occur in the document at all. `labels` are the expected ones and the answer's, where answers are labels.
    """

    format_ok: bool
    exact: bool
    fields: dict[str, bool] = field(default_factory=dict)
    ungrounded: list[str] = field(default_factory=list)
    similarity: float | None = None
    labels: tuple[list[str], list[str]] | None = None


class Task(Protocol):
    """Rebuilt anywhere from its name and `spec`: `TASKS.get(task.name)(task.spec)`."""

    name: ClassVar[str]
    minimum_examples: ClassVar[int]
    has_format: ClassVar[bool]  # whether an answer can be malformed in a way that a program trips over

    def __init__(self, spec: Mapping[str, Any] | None = None) -> None: ...

    @property
    def spec(self) -> dict[str, Any]:
        """JSON-able."""
        ...

    @classmethod
    def infer(cls, rows: Sequence[Row]) -> Self | None:
        """The task that a bare upload shows, or None when the rows are something else."""
        ...

    def fit(self, rows: Sequence[Row]) -> Self:
        """A copy that knows what the training answers look like (style, lengths, what is copied)."""
        ...

    def prompt(self, text: str) -> list[Message]:
        """System and user message for one document; the document is delimited data."""
        ...

    def example(self, document: Document) -> Row:
        """Raises `BadInput` with the reason when the document cannot be an example."""
        ...

    def check(self, row: Row) -> None:
        """Raises `BadInput` with the reason when an uploaded row cannot be an example."""
        ...

    def few_shot(self, rows: Sequence[Row], messages: list[Message]) -> list[Message]:
        """`messages` with the rows put before the last user message as turns of their own."""
        ...

    def constraint(self, messages: list[Message]) -> Constraint | None: ...

    def score(self, answer: str, expected: str, messages: list[Message]) -> Score: ...

    def quality(self, rows: Sequence[Row]) -> dict[str, float]:
        """Figures about training rows that quality gates know: shares from 0 to 1 by gate name."""
        ...


TASKS: Registry[Task] = Registry("tunesmith.tasks", "task")
# Asked last, in this order: any few answers that recur look like labels, and chat recognises everything.
_GENERAL = ("classification", "chat")


def infer_task(rows: Sequence[Row]) -> Task:
    """The most specific installed task that recognises the rows; `chat` recognises everything."""
    for name in sorted(TASKS.names(), key=lambda n: (_GENERAL.index(n) + 1 if n in _GENERAL else 0, n)):
        task = TASKS.get(name).infer(rows)
        if task is not None:
            return task
    raise AssertionError("the chat task recognises every row")


def insert_turns(rows: Sequence[Row], messages: list[Message]) -> list[Message]:
    """Example turns (without their system prompts) before the last user message."""
    turns = [m for row in rows for m in row.messages if m["role"] != "system"]
    last = max(i for i, m in enumerate(messages) if m["role"] == "user")
    return [*messages[:last], *turns, *messages[last:]]


def last_user_text(messages: Sequence[Message]) -> str:
    return next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
