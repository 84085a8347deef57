"""Asking a model that was trained with tools as callers send them: its own template writes them, on every target."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tunesmith.serving.targets.base import Target
from tunesmith.tasks.base import Constraint
from tunesmith.tasks.native_tools import Conversation


@dataclass(frozen=True)
class Choice:
    """What a caller leaves the model to choose from. `names`: tools that it may call, None for all of them; `must`:
    whether it has to call one."""

    names: Collection[str] | None = None
    must: bool = False


def body(
    target: Target, request: dict[str, Any], told: Conversation, constraint: Constraint | None, choice: Choice
) -> dict[str, Any]:
    """An OpenAI chat body as the target understands it.

    Where the target holds to grammars, ours comes first: llama.cpp's own lets any text stand before a call. It takes no
    grammar beside tools that it may call itself, so it is told to call none, and the calls in the text are read by us.
    """
    sent = told.as_sent()
    held = target.body({**request, "messages": sent["messages"]}, constraint)
    if held.get("grammar") and sent.get("tools"):
        return {**held, "tools": sent["tools"], "tool_choice": "none"}
    if held.get("grammar"):
        return held
    tools = [tool for tool in told.tools if choice.names is None or tool["function"]["name"] in choice.names]
    if not tools:
        return held
    return target.body(
        {**request, **sent, "tools": tools, **({"tool_choice": "required"} if choice.must else {})}, None
    )
