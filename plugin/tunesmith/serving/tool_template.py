"""The chat template of a model that was trained to call tools: it writes a caller's tools as they were trained.

Where the base's own template declares tools, the model is trained with exactly what that renders. Any other template is
wrapped: Jinja in front of it turns tools, calls and results into the text of `tasks.tools`, which it then renders.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from tunesmith.errors import BadInput
from tunesmith.serving.hf_folder import BASE_BEGINS, HfFolder
from tunesmith.tasks.conversation import Message, Row
from tunesmith.tasks.native_tools import Conversation, read_conversation
from tunesmith.tasks.tools import (
    BEFORE_RESULT,
    BEFORE_TOOLS,
    BEHIND_RESULT,
    BEHIND_TOOLS,
    Call,
    Tool,
    system_text,
    tools_of,
    write_calls,
)

Form = Literal["own", "wrapped"]
NAME = "tool_template.jinja"  # beside an adapter that was trained with it
READ = 0.97  # share of the rows about tools that must be readable as conversations
_TRIED = 50  # rows on which the base's own way is tried
_MARKS: dict[Form, str] = {"own": "{# tunesmith tools: own #}", "wrapped": "{# tunesmith tools: wrapped #}"}
_JINJA = Path(__file__).with_name("tools.jinja")


def form_of(template: str) -> Form | None:
    """How a model with this template takes tools; None for one that was not trained with them as callers send them."""
    return next((form for form, mark in _MARKS.items() if mark in template), None)


@lru_cache(64)
def form_at(hf_dir: str) -> Form | None:
    """The same for an exported model's folder."""
    try:
        template = (Path(hf_dir) / "chat_template.jinja").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return form_of(template)


def choose(folder: HfFolder, rows: Sequence[Row], system: str | None = None) -> str | None:
    """The template to train a base model with on these rows of tool use; None to leave it as it is, because too many
    rows list their tools in words of their own. `system`: the prompt of conversations that have none."""
    told = [row for row in rows if tools_of(row.messages)]
    read = [conversation for row in told if (conversation := read_conversation(row.messages))]
    if not told or len(read) < READ * len(told):
        return None
    if declares_tools(folder) and all(_is_rendered(folder, conversation) for conversation in read[:_TRIED]):
        before = _with_system(folder, system) if system else ""
        return _MARKS["own"] + before + BASE_BEGINS + folder.template
    return wrap(folder, system)


def wrap(folder: HfFolder, system: str | None = None) -> str:
    """The folder's template behind the Jinja that writes tools as text."""
    parts = {
        "DEFAULT": folder.default_system or "",
        "SYSTEM": system or "",
        "BEFORE": BEFORE_TOOLS,
        "BEHIND": BEHIND_TOOLS,
    }
    text = _JINJA.read_text(encoding="utf-8").rstrip("\n")
    for name, part in parts.items():
        text = text.replace(f"[[{name}]]", _literal(part))
    text = text.replace("[[HAS_SYSTEM]]", "true" if _has_system(folder) else "false")
    return _MARKS["wrapped"] + text + BASE_BEGINS + folder.template


def _has_system(folder: HfFolder) -> bool:
    """Whether the template knows a system prompt; else the first user turn begins with it."""
    try:
        return "\u2402" in folder.render([{"role": "system", "content": "\u2402"}, {"role": "user", "content": "q"}])
    except BadInput:
        return False


def _with_system(folder: HfFolder, system: str) -> str:
    """Jinja that begins a conversation without a system prompt, or with the base's default one, with this one."""
    ours, default = _literal(system), _literal(folder.default_system or "")
    return (
        f"{{%- if messages[0].role == 'system' and messages[0].content == {default} %}}"
        f"{{%- set messages = messages[1:] %}}{{%- endif %}}"
        f"{{%- if messages[0].role != 'system' %}}"
        f"{{%- set messages = [{{'role': 'system', 'content': {ours}}}] + messages %}}{{%- endif %}}"
    )


def _literal(text: str) -> str:
    escaped = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return "'" + "".join(escaped.get(c, c) for c in text if c >= " " or c in escaped) + "'"


def probe(*, several: bool = False) -> Conversation:
    """Turns with tools: a call, its result, a sentence, another call; with `several`, two calls side by side."""
    city = {"type": "string", "description": "Where – “wo”"}
    shape = {"city": city, "days": {"type": "integer"}, "unit": {"type": "string", "enum": ["C", "F"]}}
    tools = [
        Tool("get_weather", "The weather of a place.", {"type": "object", "required": ["city"], "properties": shape}),
        Tool("list_rooms", "All rooms <of the house>.\nNone is left out.", {"type": "object", "properties": {}}),
    ]
    first = [Call("get_weather", {"city": "Köln", "days": 3}), *([Call("list_rooms", {})] if several else [])]
    results = ['sky: grey, "8 °C"', *(["hall\nkitchen"] if several else [])]
    turns: list[Message] = [
        {"role": "system", "content": system_text(tools, "You look after a house.")},
        {"role": "user", "content": "Wie wird das Wetter am Dom?"},
        {"role": "assistant", "content": write_calls(first)},
        {"role": "user", "content": "\n".join(BEFORE_RESULT + text + BEHIND_RESULT for text in results)},
        {"role": "assistant", "content": "It stays grey."},
        {"role": "user", "content": "And in the old capital?"},
        {"role": "assistant", "content": write_calls([Call("get_weather", {"city": "Bonn"})])},
    ]
    read = read_conversation(turns)
    assert read is not None
    return read


def declares_tools(folder: HfFolder) -> bool:
    """Whether the template shows tools, calls and results by itself."""
    conversation = probe()
    text = ""
    try:
        text = folder.render(conversation.messages, tools=conversation.tools, add_generation_prompt=False)
    except Exception:  # a template may fail in any way
        return False
    shown = ("get_weather", "The weather of a place.", "unit", "Köln", "sky: grey", "stays grey", "Bonn", "look after")
    return all(part in text for part in shown) and text.count("get_weather") >= 3 and _is_rendered(folder, conversation)


def _is_rendered(folder: HfFolder, conversation: Conversation) -> bool:
    """Whether each prompt is the beginning of the conversation with its answer, as training needs it."""
    try:
        for place, message in enumerate(conversation.messages):
            if message["role"] != "assistant":
                continue
            turns, tools = conversation.messages, conversation.tools
            prompt = folder.render(turns[:place], tools=tools)
            whole = folder.render(turns[: place + 1], tools=tools, add_generation_prompt=False)
            called = [call["function"]["name"] for call in message.get("tool_calls", ())]
            if not whole.startswith(prompt) or not all(name in whole[len(prompt) :] for name in called):
                return False
    except Exception:
        return False
    return True
