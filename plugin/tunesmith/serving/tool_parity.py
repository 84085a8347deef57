"""Parity for tools: a caller's tools, calls and results must reach the model as the tokens that training used."""

from pathlib import Path
from typing import Protocol

from tunesmith.serving import tool_template
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.parity import ParityReport, check_text, first_difference
from tunesmith.tasks.native_tools import Conversation


class ServedTools(Protocol):
    """How a target shows which tokens its model is given of a conversation with tools."""

    def tool_ids(self, conversation: Conversation) -> list[int] | None:
        """Ids of the prompt as the target renders it; None when the target has no way to tell."""
        ...

    def tool_text(self, conversation: Conversation) -> str | None:
        """The prompt as the target renders it; None when the target does not tell, or its ids say more."""
        ...

    def tool_count(self, conversation: Conversation) -> int | None:
        """Prompt tokens of the conversation, as callers send it; None where the target could not read the answer."""
        ...


def check_tools(report: ParityReport, served: ServedTools, hf_dir: Path) -> None:
    """Adds nothing for a model that was not trained with tools as callers send them."""
    folder = HfFolder(hf_dir)
    form = tool_template.form_of(folder.template)
    if form is None:
        return
    # Some bases' own templates take one call at a time.
    for name, conversation in _conversations(tool_template.probe(several=form == "wrapped")).items():
        expected = folder.token_ids(conversation.messages, conversation.tools)
        ids = served.tool_ids(conversation)
        if ids is not None:
            report.add(f"{name}.token_ids", ids == expected, first_difference(expected, ids))
        prompt = folder.render(conversation.messages, tools=conversation.tools)
        text = served.tool_text(conversation)
        check_text(report, name, text, prompt, folder.token("bos") or "")
        if len(expected) >= folder.num_ctx:
            continue  # a very small model; how the prompt is rendered is known already
        count = served.tool_count(conversation)
        if count is None and text is not None:
            continue
        report.add(
            f"{name}.token_count",
            count == len(expected),
            f"the served model is given {count} tokens, training used {len(expected)}",
        )


def _conversations(whole: Conversation) -> dict[str, Conversation]:
    """The first request, and the later ones with calls and results before them."""
    asked = [place - 1 for place, message in enumerate(whole.messages) if message["role"] == "assistant"]
    without_system = Conversation(whole.messages[1 : asked[0] + 1], whole.tools)
    turns = [Conversation(whole.messages[: place + 1], whole.tools) for place in asked]
    return {"tools.without_system": without_system, **{f"tools.turn_{n}": turn for n, turn in enumerate(turns, 1)}}
