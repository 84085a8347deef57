"""Parity: the served model must see exactly the tokens that training used, or it is not published."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

from tunesmith.errors import ParityError
from tunesmith.serving import gguf_file, own_template
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


# Log-probabilities of the same prompt move by 0.1 and more between two askings: the batches that a server computes
# differ. Only a first choice by more than this is one.
NEAR_TIE = 0.5


@dataclass(frozen=True)
class Step:
    """One token of an answer, and the log-probabilities of those that the model thought likely there."""

    token: str
    likely: dict[str, float]

    def lead_over(self, token: str) -> float:
        """How much likelier the chosen one was; a lower bound where the other is not among the likely ones."""
        return max(self.likely.values()) - self.likely.get(token, min(self.likely.values()))


@dataclass(frozen=True)
class Reply:
    """`prompt_tokens`: of the whole prompt. `text`: of the greedy answer; None where the target could not read what the
    model wrote. `steps`: none where it shows none. `ended`: by the model, not because enough was asked for."""

    prompt_tokens: int
    text: str | None
    steps: list[Step] = field(default_factory=list)
    ended: bool = False


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

    def rendered(self, messages: Sequence[Message]) -> str | None:
        """The prompt as the target renders it, without a first token that it adds itself; None when it cannot tell."""
        ...

    def chat(self, messages: Sequence[Message]) -> Reply:
        """The greedy answer to the conversation, as callers send it."""
        ...

    def raw(self, prompt: str) -> Reply | None:
        """The greedy answer to an already rendered prompt; None where this proves nothing more."""
        ...


def check_metadata(report: ParityReport, gguf: Path, hf_dir: Path) -> None:
    """eos, bos, rope and chat template of the GGUF are those of the trained folder."""
    differences = own_template.differences(HfFolder(hf_dir), gguf_file.read_metadata(gguf))
    report.add("metadata", not differences, "; ".join(differences))


def check_conversations(report: ParityReport, served: ServedTokens, hf_dir: Path, system: str | None) -> None:
    """Every conversation: same ids or text, same count in a real chat, same greedy answer to the rendered prompt."""
    folder = HfFolder(hf_dir)
    for name, messages in CONVERSATIONS.items():
        trained = with_system(messages, system)
        expected, prompt = folder.token_ids(trained), folder.render(trained)
        ids = served.token_ids(messages)
        if ids is not None:
            report.add(f"{name}.token_ids", ids == expected, first_difference(expected, ids))
        check_text(report, name, served.rendered(messages), prompt, folder.token("bos") or "")
        reply = served.chat(messages)
        report.add(
            f"{name}.token_count",
            reply.prompt_tokens == len(expected),
            f"the served model is given {reply.prompt_tokens} tokens, training used {len(expected)}",
        )
        raw = served.raw(prompt)
        if raw is not None:
            difference = other_answer(reply, raw)
            report.add(f"{name}.raw", difference is None, difference or "")


def check_text(report: ParityReport, name: str, served: str | None, trained: str, bos: str) -> None:
    if served is None:
        return
    served, trained = served.removeprefix(bos), trained.removeprefix(bos)
    equal = takewhile(lambda pair: pair[0] == pair[1], zip(served, trained, strict=False))
    place = sum(1 for _ in equal)
    report.add(
        f"{name}.prompt",
        served == trained,
        f"after {trained[max(0, place - 20) : place]!r} the served model is given {served[place : place + 30]!r}, "
        f"training used {trained[place : place + 30]!r}",
    )


def other_answer(chat: Reply, raw: Reply) -> str | None:
    """What the answer to the rendered prompt says differently from the chat's. A near tie may fall either way."""
    if raw.prompt_tokens != chat.prompt_tokens:
        return f"the rendered prompt is {raw.prompt_tokens} tokens, the chat {chat.prompt_tokens}"
    if raw.text is None or chat.text is None:
        return None
    said = f"the rendered prompt gives {raw.text[:40]!r}, the chat {chat.text[:40]!r}"
    if raw.text == chat.text:  # where a template knows tools, steps are held back while a call may begin
        return None
    if not (chat.steps and raw.steps):
        return said
    for place in range(max(len(chat.steps), len(raw.steps))):
        pair = [_step(reply, place) for reply in (chat, raw)]
        tokens = [step.token if step else "" for step in pair]  # an answer that has ended chose the end
        if tokens[0] == tokens[1]:
            continue
        if any(step is None and not reply.ended for step, reply in zip(pair, (chat, raw), strict=True)):
            return None  # as far as both were asked
        leads = [step.lead_over(other) for step, other in zip(pair, reversed(tokens), strict=True) if step]
        return said if max(leads) > NEAR_TIE else None
    return None


def _step(reply: Reply, place: int) -> Step | None:
    return reply.steps[place] if place < len(reply.steps) else None


def with_system(messages: Sequence[Message], system: str | None) -> list[Message]:
    """A conversation without a system prompt gets the one that the model was published with."""
    if system is None or (messages and messages[0]["role"] == "system"):
        return list(messages)
    return [{"role": "system", "content": system}, *messages]


def first_difference(expected: list[int], ids: list[int]) -> str:
    for place, (a, b) in enumerate(zip(expected, ids, strict=False)):
        if a != b:
            return f"token {place} is {b}, training used {a} ({json.dumps(expected[max(0, place - 2) : place + 3])})"
    return f"{len(ids)} tokens, training used {len(expected)}"
