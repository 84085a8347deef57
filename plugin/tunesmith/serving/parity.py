"""Parity: the served model must see exactly the tokens that training used, or it is not published."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tunesmith.errors import ParityError
from tunesmith.serving import gguf_file
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.tasks.conversation import Message

# With a system prompt, without one, and several turns with what tokenizers stumble over.
CONVERSATIONS: dict[str, list[Message]] = {
    "with_system": [
        {"role": "system", "content": "You read receipts. Answer with JSON."},
        {"role": "user", "content": "TOTAL 12.50 EUR\nThank you!"},
    ],
    "without_system": [{"role": "user", "content": "Which day is on this letter: 2024-03-01?"}],
    "several_turns": [
        {"role": "system", "content": "Du bist knapp.  Zwei Leerzeichen bleiben."},
        {"role": "user", "content": "Größe — 12,50 € für „Müller & Söhne“ 请 🙂"},
        {"role": "assistant", "content": '{"company": "Müller & Söhne", "total": "12,50 €", "tags": ["a", "b"]}'},
        {"role": "user", "content": 'And this?\n\n\t{"x": "\\u00e9\\n", "n": 1234567}'},
    ],
}


@dataclass(frozen=True)
class ParityCheck:
    name: str
    passed: bool
    detail: str = ""


@dataclass
class ParityReport:
    """Named checks; `require()` refuses a model of which one failed."""

    target: str
    checks: list[ParityCheck] = field(default_factory=list)

    def add(self, name: str, passed: bool, detail: str = "") -> None:
        self.checks.append(ParityCheck(name, passed, "" if passed else detail))

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        return {"target": self.target, "ok": self.ok, "checks": [asdict(check) for check in self.checks]}

    def require(self) -> None:
        """Raises ParityError naming every failed check."""
        failed = [f"{check.name}: {check.detail}" for check in self.checks if not check.passed]
        if failed or not self.checks:
            raise ParityError(
                f"The model as served by {self.target} is not the model that was trained. {'; '.join(failed)}",
                hint="It was not published. Its template or special tokens are lost on the way: serve it with the "
                "target llamacpp, or choose another base model.",
            )


class ServedTokens(Protocol):
    """How a target shows which tokens its model is given."""

    def token_ids(self, messages: Sequence[Message]) -> list[int] | None:
        """Ids of the prompt as the target renders it; None when the target has no way to tell."""
        ...

    def chat(self, messages: Sequence[Message]) -> tuple[int, str]:
        """(prompt tokens, greedy answer) of the conversation, as callers send it."""
        ...

    def raw(self, prompt: str) -> tuple[int, str] | None:
        """(prompt tokens, greedy answer) of an already rendered prompt; None where this proves nothing more."""
        ...


def check_metadata(report: ParityReport, gguf: Path, hf_dir: Path) -> None:
    """eos, bos, rope and chat template of the GGUF are those of the trained folder."""
    differences = HfFolder(hf_dir).differences(gguf_file.read_metadata(gguf))
    report.add("metadata", not differences, "; ".join(differences))


def check_conversations(report: ParityReport, served: ServedTokens, hf_dir: Path, system: str | None) -> None:
    """Every conversation: same ids, same count in a real chat, same greedy answer to the rendered prompt."""
    folder = HfFolder(hf_dir)
    for name, messages in CONVERSATIONS.items():
        trained = with_system(messages, system)
        expected, prompt = folder.token_ids(trained), folder.render(trained)
        ids = served.token_ids(messages)
        if ids is not None:
            report.add(f"{name}.token_ids", ids == expected, difference(expected, ids))
        count, answer = served.chat(messages)
        report.add(
            f"{name}.token_count",
            count == len(expected),
            f"the served model is given {count} tokens, training used {len(expected)}",
        )
        raw = served.raw(prompt)
        if raw is not None:
            report.add(
                f"{name}.raw",
                raw == (count, answer),
                f"the rendered prompt gives {raw[0]} tokens and {raw[1][:40]!r}, the chat {count} and {answer[:40]!r}",
            )


def with_system(messages: Sequence[Message], system: str | None) -> list[Message]:
    """A conversation without a system prompt gets the one that the model was published with."""
    if system is None or (messages and messages[0]["role"] == "system"):
        return list(messages)
    return [{"role": "system", "content": system}, *messages]


def difference(expected: list[int], ids: list[int]) -> str:
    for place, (a, b) in enumerate(zip(expected, ids, strict=False)):
        if a != b:
            return f"token {place} is {b}, training used {a} ({json.dumps(expected[max(0, place - 2) : place + 3])})"
    return f"{len(ids)} tokens, training used {len(expected)}"
