"""How a GGUF carries its model's own chat template, so that a server renders that and nothing like it.

Ollama replaces a template that resembles one it knows (fewer than 100 edits away) by its own translation. What is put
in front here is farther from all of them, and renders to nothing. Servers ask templates that know `enable_thinking` to
think unless a caller forbids it; a model whose training did not think would then be asked what it never saw, so such a
template is told in front, too.
"""

from collections.abc import Mapping
from typing import Any

from tunesmith.serving.hf_folder import HfFolder

# Carets occur in no template that Ollama knows, so each is an edit. Words that make servers believe in tools or
# thoughts must not stand here. The line break belongs to the comment: it is trimmed with it.
COMMENT = f"{{# The model's own template, kept as it was trained. {'^' * 128} #}}\n"
UNTHINKING = "{% set enable_thinking = false %}\n"


def carried(folder: HfFolder) -> str:
    """The template of `folder` as its GGUF carries it."""
    if folder.template.startswith(COMMENT):  # a base that was made from such a GGUF
        return folder.template
    return COMMENT + (UNTHINKING if folder.thinking is False else "") + folder.template


def is_of(template: object, folder: HfFolder) -> bool:
    """Is this the template of `folder`, as it is carried, or as a GGUF of another making has it?"""
    return template in (carried(folder), folder.template)


def differences(folder: HfFolder, metadata: Mapping[str, Any]) -> list[str]:
    """What a GGUF header says differently from the folder, its template included; empty when all of it agrees."""
    same = is_of(metadata.get("tokenizer.chat_template"), folder)
    return [*folder.differences(metadata), *([] if same else ["the chat template is another one"])]
