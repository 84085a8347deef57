"""Dataset rows → token ids, exactly as the model will see them when it is served."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Row
from tunesmith.tasks.native_tools import Conversation, read_conversation


@dataclass
class Encoded:
    """One row as token ids. All ids from `answer_start` on are learnt, the end mark being the last of them."""

    ids: list[int]
    answer_start: int
    weight: float = 1.0

    @property
    def labels(self) -> int:
        return len(self.ids) - self.answer_start


@dataclass
class EncodedRows:
    rows: list[Encoded]
    source: list[int] = field(default_factory=list)
    """Index in the file of the conversation that each is an answer of."""
    too_long: int = 0

    @property
    def tokens(self) -> int:
        return sum(len(row.ids) for row in self.rows)

    @property
    def labels(self) -> int:
        return sum(row.labels for row in self.rows)


def encode(row: Row, tokenizer: Any, end_ids: set[int], *, native: bool = False) -> Encoded:
    """Render with the chat template; the prompt must be a prefix of the whole, and the answer must end in an end mark.
    `native`: the template takes tools, calls and results as callers send them, so it is given them in that form.

    Prompt and answer are tokenised apart, because that is what happens when the model is served: it gets the
    prompt's tokens and makes the answer's one by one. What the template writes behind the end mark is not learnt.
    """
    told = (read_conversation(row.messages) if native else None) or Conversation([dict(m) for m in row.messages], [])
    tools = told.tools or None
    prompt = tokenizer.apply_chat_template(told.messages[:-1], tools=tools, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(told.messages, tools=tools, tokenize=False)
    if not whole.startswith(prompt):
        raise BadInput(
            "The model's chat template does not render the prompt as the beginning of the conversation.",
            code="template_not_prefix",
            hint="Use a base model whose template adds turns without rewriting earlier ones.",
        )
    head = tokenizer(prompt, add_special_tokens=False).input_ids
    tail = tokenizer(whole[len(prompt) :], add_special_tokens=False).input_ids
    end = next((place for place, token in enumerate(tail) if token in end_ids), None)
    if end is None:
        raise BadInput(
            "The chat template writes no end-of-answer token, so the model could not learn when to stop.",
            code="end_token_missing",
            hint="Use a chat model whose template closes each answer with its end token.",
        )
    return Encoded(head + tail[: end + 1], len(head), row.weight)


def end_tokens(tokenizer: Any, generation_config: Any = None) -> set[int]:
    """Ids that stop generation: the tokenizer's end token and those of the generation config."""
    found = {tokenizer.eos_token_id}
    more = getattr(generation_config, "eos_token_id", None)
    found.update(more if isinstance(more, list) else [more])
    return {token for token in found if token is not None}


def encode_rows(
    rows: Iterable[Row], tokenizer: Any, end_ids: set[int], max_length: int | None, *, native: bool = False
) -> EncodedRows:
    """Each answer of each conversation. Those longer than `max_length` tokens are left out and counted: a cut document
    would teach invention."""
    result = EncodedRows([])
    for number, conversation in enumerate(rows):
        for row in conversation.answers():
            encoded = encode(row, tokenizer, end_ids, native=native)
            if max_length is not None and len(encoded.ids) > max_length:
                result.too_long += 1
                continue
            result.rows.append(encoded)
            result.source.append(number)
    return result
