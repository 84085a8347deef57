"""Conversations, and how a dataset row lies on disk: one ShareGPT object per line."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypedDict

from tunesmith.store.files import replacing

Role = Literal["system", "user", "assistant", "tool"]

_TO_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt", "tool": "tool"}
_FROM_SHAREGPT: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "tool": "tool",
}


class Message(TypedDict):
    role: Role
    content: str


@dataclass
class Row:
    """One training example. The last message is the assistant's answer; earlier answers are learnt as well.

    `rejected` makes it a preference pair: another answer to the same prompt, which somebody liked less.
    `unlearnt`: places of earlier answers that are only read (OpenAI's `weight: 0`).
    """

    messages: list[Message]
    provenance: dict[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    rejected: str | None = None
    unlearnt: list[int] = field(default_factory=list)

    def answers(self) -> Iterator["Row"]:
        """A row for each answer to learn, with the conversation up to it; the last is the row's own."""
        for place, message in enumerate(self.messages):
            if message["role"] == "assistant" and message["content"].strip() and place not in self.unlearnt:
                yield replace(self, messages=self.messages[: place + 1])

    @property
    def prompt(self) -> list[Message]:
        return self.messages[:-1]

    @property
    def answer(self) -> str:
        return self.messages[-1]["content"]


def from_sharegpt(conversations: list[dict[str, str]]) -> list[Message]:
    return [{"role": _FROM_SHAREGPT[turn["from"]], "content": turn["value"]} for turn in conversations]


def to_sharegpt(messages: list[Message]) -> list[dict[str, str]]:
    return [{"from": _TO_SHAREGPT[m["role"]], "value": m["content"]} for m in messages]


def row_to_json(row: Row) -> str:
    data: dict[str, Any] = {"conversations": to_sharegpt(row.messages)}
    if row.provenance:
        data["provenance"] = row.provenance
    if row.weight != 1.0:
        data["weight"] = row.weight
    if row.rejected is not None:
        data["rejected"] = row.rejected
    if row.unlearnt:
        data["unlearnt"] = row.unlearnt
    return json.dumps(data, ensure_ascii=False)


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a split that Tunesmith wrote itself. Uploads go through `datasets.formats` instead."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            data = json.loads(line)
            yield Row(
                messages=from_sharegpt(data["conversations"]),
                provenance=data.get("provenance", {}),
                weight=data.get("weight", 1.0),
                rejected=data.get("rejected"),
                unlearnt=data.get("unlearnt", []),
            )


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows whole or not at all; returns how many."""
    count = 0
    with replacing(path) as out:
        for row in rows:
            out.write(f"{row_to_json(row)}\n".encode())
            count += 1
    return count
