"""A chat model of about 90,000 parameters, built on the spot, that llama.cpp's converter and server take.

The converter knows byte-level tokenizers by a fingerprint of their vocabulary and refuses one that was trained on the
spot. So this one has a token for each character and falls back to bytes, which it does take.
"""

import json
import string
from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are tiny<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_tiny_model(folder: Path) -> Path:
    """Write a Hugging Face folder (fp32 safetensors) and return it. Needs torch and transformers: about 3 s."""
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    texts = ["<unk>", "<|im_start|>", "<|im_end|>", *(f"<0x{i:02X}>" for i in range(256)), "▁"]
    texts += [c for c in string.printable if c not in string.whitespace] + ["\n", "é", "€"]
    raw = Tokenizer(models.BPE({t: i for i, t in enumerate(texts)}, [], unk_token="<unk>", byte_fallback=True))
    raw.normalizer = normalizers.Replace(" ", "▁")
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token="<unk>",
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
    )
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(texts),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 50000.0},
        tie_word_embeddings=True,
        initializer_range=0.3,  # answers that depend on the prompt
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    place = folder / "tokenizer_config.json"  # what the converter reads and transformers does not write
    settings = json.loads(place.read_text(encoding="utf-8"))
    place.write_text(json.dumps({**settings, "add_bos_token": False, "add_prefix_space": False}), encoding="utf-8")
    return folder


def build_adapter(base: Path, folder: Path, *, rank: int = 4, spread: float = 0.05, **config: object) -> Path:
    """A plain LoRA adapter of random matrices on all projections of `base`; `config` overrides adapter_config.json."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    with safe_open(base / "model.safetensors", framework="pt") as weights:
        for name in weights.keys():  # noqa: SIM118  not a dict
            if "_proj" in name:
                out, width = weights.get_slice(name).get_shape()
                module = f"base_model.model.{name.removesuffix('.weight')}"
                tensors[f"{module}.lora_A.weight"] = torch.randn(rank, width, generator=generator) * spread
                tensors[f"{module}.lora_B.weight"] = torch.randn(out, rank, generator=generator) * spread
    save_file(tensors, folder / "adapter_model.safetensors")
    targets = sorted({name.split(".")[-3] for name in tensors})
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "bias": "none"}
    settings |= {"target_modules": targets, "base_model_name_or_path": str(base), "inference_mode": True, **config}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder
