"""What training saw: the tokenizer and chat template of a Hugging Face folder, rendered without torch or transformers.

jinja2 and tokenizers are imported inside functions: only child processes call them.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from tunesmith.errors import BadInput

# Beyond this a context costs more memory than a home server likes: 4 slots of it are held.
MAX_CONTEXT = 4096


_MARKS = re.compile(
    r"\[/?[A-Z][A-Z_]{1,30}\]|<</?[A-Z]{2,10}>>|<\|[^<>|\s'\"]{1,40}\|>|<｜[^<>｜\s]{1,40}｜>"
    r"|<(?:start|end)_of_[a-z_]{1,20}>|</?s>"
)
_OURS = {f"<{slash}{name}>" for slash in ("", "/") for name in ("tool_call", "tools", "tool_response", "document")}

# Stands in a template that was put around a base's own, where that begins: what is before it is ours.
BASE_BEGINS = "{# the base's own template #}"


class HfFolder:
    """Reads what transformers 5 writes (chat_template.jinja, rope_parameters) and what older versions wrote."""

    def __init__(self, path: Path):
        self.path = path

    def _json(self, name: str) -> dict[str, Any]:
        file = self.path / name
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return data

    @cached_property
    def config(self) -> dict[str, Any]:
        config = self._json("config.json")
        return {**config, **config.get("text_config", {})}

    @cached_property
    def tokenizer_config(self) -> dict[str, Any]:
        return self._json("tokenizer_config.json")

    @cached_property
    def template(self) -> str:
        """The Jinja chat template. Raises BadInput when the model has none."""
        file = self.path / "chat_template.jinja"
        found: Any = file.read_text(encoding="utf-8") if file.is_file() else self.tokenizer_config.get("chat_template")
        if isinstance(found, list):  # several named ones: the default is what apply_chat_template takes
            found = next((entry["template"] for entry in found if entry.get("name") == "default"), None)
        if not found:
            raise BadInput(
                f"{self.path.name} has no chat template.",
                code="no_chat_template",
                hint="Use an instruct model, or add a chat_template.jinja to the folder.",
            )
        return str(found)

    def token(self, role: str) -> str | None:
        """Text of a special token: "bos", "eos"."""
        return _text(self.tokenizer_config.get(f"{role}_token"))

    def token_id(self, role: str) -> int | None:
        text = self.token(role)
        found = self.tokenizer.token_to_id(text) if text else None
        if found is None:
            found = self.config.get(f"{role}_token_id")
        return found[0] if isinstance(found, list) else found

    @cached_property
    def tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(self.path / "tokenizer.json"))

    @property
    def num_ctx(self) -> int:
        return min(int(self.config.get("max_position_embeddings", MAX_CONTEXT)), MAX_CONTEXT)

    @cached_property
    def _compiled(self) -> Any:
        """As transformers compiles it: sandboxed, blocks trimmed, with its helper functions."""
        from datetime import datetime

        import jinja2
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def raise_exception(message: str) -> None:
            raise jinja2.exceptions.TemplateError(message)

        def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **rest: Any) -> str:
            return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **rest)

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = tojson
        environment.globals["raise_exception"] = raise_exception
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        return environment.from_string(_without_generation_marks(self.template))

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        add_generation_prompt: bool = True,
        **given: bool,
    ) -> str:
        """The prompt as training rendered it. Raises BadInput with the template's own reason when it refuses.

        `given`: what a server tells the template beside, and training did not.
        """
        import jinja2

        known = {f"{role}_token": self.token(role) or "" for role in ("bos", "eos", "unk", "pad")}
        offered = {"tools": tools} if tools else {}
        try:
            text = self._compiled.render(
                messages=messages, add_generation_prompt=add_generation_prompt, **offered, **known, **given
            )
        except jinja2.exceptions.TemplateError as error:
            raise BadInput(f"The chat template refuses the conversation: {error}", code="template_refused") from error
        return str(text)

    def token_ids(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """Ids of the rendered prompt; the template writes special tokens itself, so none are added."""
        return list(self.tokenizer.encode(self.render(messages, tools=tools), add_special_tokens=False).ids)

    @cached_property
    def default_system(self) -> str | None:
        """The system prompt that the template puts in when a conversation has none."""
        mark = "\u2402user\u2402"
        without = self.render([{"role": "user", "content": mark}])
        try:
            probe = self.render(
                [{"role": "system", "content": "\u2402system\u2402"}, {"role": "user", "content": mark}]
            )
        except BadInput:
            return None  # a template that knows no system role
        before, _, after = probe.partition("\u2402system\u2402")
        if after and without.startswith(before) and without.endswith(after) and len(without) >= len(before + after):
            return without[len(before) : len(without) - len(after)] or None
        return None

    @cached_property
    def thinking(self) -> bool | None:
        """Whether training, which told the template nothing, asked for thoughts; None where the template makes no
        difference."""
        question = [{"role": "user", "content": "q"}]
        on, off = (self.render(question, enable_thinking=told) for told in (True, False))
        return None if on == off else self.render(question) == on

    @cached_property
    def stop(self) -> list[str]:
        """Texts that end an answer: the end-of-sequence token, and what the template writes after an answer."""
        stops = [token for token in [self.token("eos")] if token]
        mark = "\u2402answer\u2402"
        turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": mark}]
        _, _, after = self.render(turns, add_generation_prompt=False).partition(mark)
        if after:
            encoded = self.tokenizer.encode(after, add_special_tokens=False)
            first = self.tokenizer.id_to_token(encoded.ids[0]) if encoded.ids else None
            if first and after.startswith(first) and first not in stops and self._is_special(first):
                stops.append(first)
        return stops

    @cached_property
    def control_tokens(self) -> list[str]:
        """Texts that the model does not read as text: its tokenizer's special tokens, and the marks that its template
        puts around turns, such as [INST]. What our own prompts are made of is none."""
        added = [*self._json("tokenizer.json").get("added_tokens", [])]
        added += self.tokenizer_config.get("added_tokens_decoder", {}).values()
        special = [token["content"] for token in added if token.get("special")]
        named = {**self._json("special_tokens_map.json"), **self.tokenizer_config}
        special += [text for role in ("bos", "eos") if (text := _text(named.get(f"{role}_token")))]
        special += [text for token in named.get("additional_special_tokens") or () if (text := _text(token))]
        with suppress(BadInput):  # a base without a template has no turns
            special += _MARKS.findall(self.template.rpartition(BASE_BEGINS)[2])
        return [text for text in dict.fromkeys(special) if text not in _OURS]

    def _is_special(self, token: str) -> bool:
        return any(t.content == token for t in self.tokenizer.get_added_tokens_decoder().values())

    @property
    def rope_theta(self) -> float | None:
        rope = self.config.get("rope_parameters") or {}
        value = rope.get("rope_theta", self.config.get("rope_theta"))
        return float(value) if value is not None else None

    def differences(self, metadata: Mapping[str, Any]) -> list[str]:
        """What a GGUF header says differently from this folder; empty when all of it agrees. The chat template is
        compared by `own_template`: it is carried with a mark."""
        architecture = metadata.get("general.architecture")
        found = [] if architecture else ["it names no architecture"]
        for role in ("eos", "bos"):
            said, expected = metadata.get(f"tokenizer.ggml.{role}_token_id"), self.token_id(role)
            if expected is not None and said != expected:
                found.append(f"{role} token is {said}, not {expected}")
        theta = metadata.get(f"{architecture}.rope.freq_base", 10000.0)
        if self.rope_theta is not None and not math.isclose(theta, self.rope_theta, rel_tol=1e-6):
            found.append(f"rope theta is {theta:g}, not {self.rope_theta:g}")
        return found


@lru_cache(32)
def control_tokens_of(folder: Path) -> tuple[str, ...]:
    """Of a model that was exported once and never changes; none for one whose folder is gone."""
    return tuple(HfFolder(folder).control_tokens)


def _text(token: Any) -> str | None:
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None


def _without_generation_marks(template: str) -> str:
    """`{% generation %}` only marks what is learnt; plain jinja2 does not know it."""
    return re.sub(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}", r"{#\1 \2#}", template)
