"""A question and its answer in named fields: Alpaca, and prompt/completion."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from tunesmith.datasets.formats.base import Format, Wrong, finished, optional_text, text_of, with_system
from tunesmith.datasets.formats.conversations import turns
from tunesmith.tasks.conversation import Message, Row


def _read_alpaca(data: Mapping[str, Any]) -> Row:
    messages = _history(data.get("history") or [])
    messages += _exchange(instruction_of(data), text_of(data["output"], "'output'"))
    return finished(with_system(optional_text(data, "system"), messages), data)


def instruction_of(data: Mapping[str, Any]) -> str:
    """`instruction` and `input`, joined by a line break as other trainers do."""
    asked = (text_of(data["instruction"], "'instruction'"), optional_text(data, "input"))
    return "\n".join(text for text in asked if text)


def _history(history: Any) -> list[Message]:
    if not isinstance(history, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in history):
        raise Wrong("'history' is no list of pairs", 'Write [["question", "answer"], …].', "bad_turn")
    said: list[Message] = []
    for asked, answered in history:
        said += _exchange(text_of(asked, "'history'"), text_of(answered, "'history'"))
    return said


def _exchange(asked: str, answered: str) -> list[Message]:
    if not asked.strip():
        raise Wrong("has an empty question", "A row is a question and its answer.", "no_prompt")
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def _write_alpaca(row: Row) -> dict[str, Any]:
    system, said = split_system(row)
    if [m["role"] for m in said] != ["user", "assistant"] * (len(said) // 2):
        raise Wrong("has turns other than question and answer in turn", "Export it as messages.", "not_in_this_format")
    texts = [m["content"] for m in said]
    data: dict[str, Any] = {"instruction": texts[-2], "input": "", "output": texts[-1]}
    if system:
        data["system"] = system
    if len(texts) > 2:
        data["history"] = [list(pair) for pair in list(pairwise(texts[:-2]))[::2]]
    return data


def _read_prompt_completion(data: Mapping[str, Any]) -> Row:
    prompt, completion = data["prompt"], data["completion"]
    asked = prompt_turns(prompt)
    answer: list[Message] = (
        turns(completion)
        if isinstance(completion, list) and completion
        else [{"role": "assistant", "content": text_of(completion, "'completion'")}]
    )
    return finished(with_system(optional_text(data, "system"), [*asked, *answer]), data)


def prompt_turns(prompt: Any) -> list[Message]:
    """A prompt as one user turn, or as the turns that it lists."""
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], Mapping) and "role" in prompt[0]:
        return turns(prompt)
    text = text_of(prompt, "'prompt'")
    if not text.strip():
        raise Wrong("has an empty question", "A row is a question and its answer.", "no_prompt")
    return [{"role": "user", "content": text}]


def _write_prompt_completion(row: Row) -> dict[str, Any]:
    system, said = split_system(row)
    if [m["role"] for m in said] != ["user", "assistant"]:
        raise Wrong("has more than one question and its answer", "Export it as messages.", "not_in_this_format")
    data: dict[str, Any] = {"prompt": said[0]["content"], "completion": said[1]["content"]}
    return {"system": system, **data} if system else data


def split_system(row: Row) -> tuple[str, list[Message]]:
    """The system prompt ("" for none) and the turns after it."""
    first = row.messages[0]
    return (first["content"], row.messages[1:]) if first["role"] == "system" else ("", row.messages)


ALPACA = Format(
    "alpaca",
    '{"instruction": "…", "input": "…", "output": "…"}',
    lambda data: {"instruction", "output"} <= set(data),
    _read_alpaca,
    _write_alpaca,
)
PROMPT_COMPLETION = Format(
    "prompt_completion",
    '{"prompt": "…", "completion": "…"}',
    lambda data: {"prompt", "completion"} <= set(data),
    _read_prompt_completion,
    _write_prompt_completion,
)
