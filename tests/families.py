"""Tiny random models of many families, with the real chat templates of those families where TRL carries them.

The tokenizer is the packaged model's, which llama.cpp's converter knows, with each family's own special tokens added.
`python families.py NAME FOLDER` makes one: torch stays out of the process that asks.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MISTRAL = (
    "{{ bos_token }}{% set lead = messages[0].content if messages[0].role == 'system' else '' %}"
    "{% set turns = messages[1:] if lead else messages %}{% for m in turns %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + (lead + '\\n\\n' if lead and loop.last else '') + m.content + '[/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}"
)
GRANITE = (
    "{% for m in messages %}{{ '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}"
)
SMOLLM3 = (
    "{% set thinks = true if enable_thinking is not defined else enable_thinking %}"
    "{{ '<|im_start|>system\\nReasoning: ' + ('/think' if thinks else '/no_think') + '<|im_end|>\\n' }}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' + ('' if thinks else '<think>\\n\\n</think>\\n') }}"
    "{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """`model`: transformers' name of the model class. `template`: the text, or the name of one that TRL carries."""

    model: str
    template: str
    eos: str
    bos: str | None = None
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def jinja(self) -> str:
        if "{" in self.template:
            return self.template
        import importlib.util

        place = importlib.util.find_spec("trl")
        assert place is not None
        assert place.origin is not None
        return (Path(place.origin).parent / "chat_templates" / f"{self.template}.jinja").read_text(encoding="utf-8")


_EXPERTS = {"moe_intermediate_size": 32, "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1}
FAMILIES = {
    "llama": Family("LlamaForCausalLM", "llama3", "<|eot_id|>", "<|begin_of_text|>"),
    "llama-3.2": Family("LlamaForCausalLM", "llama3_2", "<|eot_id|>", "<|begin_of_text|>"),
    # transformers gives every qwen2 folder that family's own tokenizer: its template stands on a llama here.
    "qwen2.5-template": Family("LlamaForCausalLM", "qwen2_5", "<|im_end|>"),
    "deepseek-r1-distill": Family(
        "LlamaForCausalLM", "deepseek_r1_distill", "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>"
    ),
    "qwen3": Family("Qwen3ForCausalLM", "qwen3", "<|im_end|>", config={"head_dim": 32}),
    "qwen3-moe": Family(
        "Qwen3MoeForCausalLM", "qwen3_instruct_2507", "<|im_end|>", config={"head_dim": 32, **_EXPERTS}
    ),
    "qwen3-unthinking": Family("Qwen3ForCausalLM", "qwen3_5_nothink", "<|im_end|>", config={"head_dim": 32}),
    "gemma3": Family("Gemma3ForCausalLM", "gemma3", "<end_of_turn>", "<bos>", {"head_dim": 32, "sliding_window": 64}),
    "phi3": Family("Phi3ForCausalLM", "phi3", "<|end|>", config={"sliding_window": 512}),
    "mistral": Family("MistralForCausalLM", MISTRAL, "</s>", "<s>"),
    "smollm3": Family("SmolLM3ForCausalLM", SMOLLM3, "<|im_end|>"),
    "granite": Family("GraniteForCausalLM", GRANITE, "<|end_of_text|>"),
    "lfm2": Family(
        "Lfm2ForCausalLM", "lfm2", "<|im_end|>", "<|startoftext|>", {"layer_types": ["conv", "full_attention"]}
    ),
}
_COMMON = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.2,  # answers that depend on the prompt
    "tie_word_embeddings": True,
}


def make(name: str, place: Path) -> Path:
    """The family's model in a folder of its own, made by a child process (about 10 s)."""
    done = subprocess.run([sys.executable, __file__, name, str(place)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return place


def _build(family: Family, place: Path) -> None:
    import torch
    import transformers
    from transformers import AutoTokenizer, GenerationConfig

    from tunesmith.serving import base_models
    from tunesmith.settings import Settings

    jinja = family.jinja
    tokenizer = AutoTokenizer.from_pretrained(base_models.prepare_packaged(Settings()))
    written = set(re.findall(r"<\|[a-zA-Z0-9_]+\|>|<[a-z_/]+>|\[/?[A-Z]+\]", jinja)) - set(tokenizer.get_vocab())
    marks = sorted({family.eos, *([family.bos] if family.bos else []), *written} - set(tokenizer.get_vocab()))
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.add_special_tokens({"eos_token": family.eos, "pad_token": family.eos})
    tokenizer.bos_token = family.bos
    tokenizer.chat_template = jinja
    torch.manual_seed(0)
    kind = getattr(transformers, family.model)
    eos = tokenizer.convert_tokens_to_ids(family.eos)
    bos = tokenizer.convert_tokens_to_ids(family.bos) if family.bos else None
    special = {"eos_token_id": eos, "bos_token_id": bos, "pad_token_id": eos, "vocab_size": len(tokenizer)}
    model = kind(kind.config_class(**{**_COMMON, **special, **family.config}))
    model.generation_config = GenerationConfig(eos_token_id=eos, bos_token_id=bos)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    if family.model.startswith("Phi3"):  # whose converter reads from the class which kind of tokenizer it is
        told = place / "tokenizer_config.json"
        settings = json.loads(told.read_text(encoding="utf-8"))
        told.write_text(json.dumps({**settings, "tokenizer_class": "GPT2Tokenizer"}), encoding="utf-8")


if __name__ == "__main__":
    _build(FAMILIES[sys.argv[1]], Path(sys.argv[2]))
