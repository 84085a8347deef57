"""Ollama's Go TEMPLATE that renders exactly what a model's own Jinja chat template renders.

It is found by probing: the Jinja template renders marked turns, and the text between the marks is what stands around
each role. That covers ChatML and all templates that wrap every turn in fixed text. A template that does more (moves the
system prompt into the first user turn, strips white space, prints a date) cannot be said in Go: ParityError.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.errors import BadInput, ParityError
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.parity import CONVERSATIONS, with_system
from tunesmith.tasks.conversation import Message

_S, _U, _A, _V = "\u2402s\u2402", "\u2402u\u2402", "\u2402a\u2402", "\u2402v\u2402"


@dataclass(frozen=True)
class Wrapping:
    """Text around each role's content, before all of it, and where the answer begins."""

    start: str
    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    answer: str

    def render(self, messages: Sequence[Message]) -> str:
        around = {"system": self.system, "user": self.user, "assistant": self.assistant}
        turns = [around[m["role"]][0] + m["content"] + around[m["role"]][1] for m in messages]
        return self.start + "".join(turns) + self.answer

    def go(self) -> str:
        branches: list[str] = []
        for role, (before, after) in (("system", self.system), ("user", self.user), ("assistant", self.assistant)):
            keyword = "if" if not branches else "else if"
            branches.append(f'{{{{ {keyword} eq .Role "{role}" }}}}{_text(before)}{{{{ .Content }}}}{_text(after)}')
        body = "".join(branches)
        return f"{_text(self.start)}{{{{ range .Messages }}}}{body}{{{{ end }}}}{{{{ end }}}}{_text(self.answer)}"


def derive(folder: HfFolder, *, adds_bos: bool) -> str:
    """The Go template. `adds_bos`: the GGUF has Ollama put the first token in, so the template must not.

    Raises ParityError when it cannot render what the model's own template renders.
    """
    wrapping = _probe(folder)
    for name, messages in _trials().items():
        trained = with_system(messages, folder.default_system)
        if wrapping is None or wrapping.render(trained) != folder.render(messages):
            raise ParityError(
                f"Ollama's template language cannot render what this model was trained with (conversation {name}).",
                code="template_not_expressible",
                hint="Serve it with the target llamacpp, which renders the model's own template.",
            )
    assert wrapping is not None
    bos = folder.token("bos") or ""
    if adds_bos and bos and wrapping.start.startswith(bos):
        wrapping = Wrapping(**{**vars(wrapping), "start": wrapping.start.removeprefix(bos)})
    return wrapping.go()


def _probe(folder: HfFolder) -> Wrapping | None:
    """None when the marks do not come back once each and in order."""
    turns: list[Message] = [
        {"role": "system", "content": _S},
        {"role": "user", "content": _U},
        {"role": "assistant", "content": _A},
        {"role": "user", "content": _V},
    ]
    try:
        whole, bare = folder.render(turns), folder.render(turns[1:])
        after_user = folder.render(turns, add_generation_prompt=False).partition(_V)[2]
        after_assistant = folder.render(turns[:3], add_generation_prompt=False).partition(_A)[2]
    except BadInput:
        return None
    pieces = _between(whole, _S, _U, _A, _V)
    if pieces is None or _U not in bare:
        return None
    head, system_user, user_assistant, assistant_user, tail = pieces
    before_user = assistant_user.removeprefix(after_assistant)
    # Without a default system prompt, what a bare conversation opens with stands before every conversation.
    start = bare[: bare.index(_U)].removesuffix(before_user) if folder.default_system is None else ""
    return Wrapping(
        start=start,
        system=(head.removeprefix(start), system_user.removesuffix(before_user)),
        user=(before_user, after_user),
        assistant=(user_assistant.removeprefix(after_user), after_assistant),
        answer=tail.removeprefix(after_user),
    )


def _trials() -> dict[str, list[Message]]:
    return {
        **CONVERSATIONS,
        "white_space": [{"role": "user", "content": "  kept\n"}],
        "two_turns": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": " b\n"},
            {"role": "user", "content": "c"},
        ],
    }


def _between(text: str, *marks: str) -> list[str] | None:
    pieces = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            return None
        pieces.append(before)
    return [*pieces, text]


def _text(literal: str) -> str:
    """Literal text in a Go template."""
    return literal.replace("{{", '{{ "{{" }}')
