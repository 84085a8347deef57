"""A LoRA adapter merged into its base in fp32, tensor by tensor on the safetensors files.

Loading a model into transformers and PEFT takes longer than the whole merge; plain LoRA needs neither. What is not
plain LoRA (DoRA, trained biases, whole modules) goes through PEFT. torch is imported inside functions: only child
processes call them.
"""

import json
import math
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import BadInput, NotFound, as_disk_full
from tunesmith.serving import tool_template
from tunesmith.store.files import put_in_place

if TYPE_CHECKING:
    import torch

_KEY = re.compile(r"^base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight$")
_COPIED = ("*.json", "*.jinja", "tokenizer.model", "*.txt")


def merge(base: Path, adapter: Path, out: Path) -> None:
    """Write `base` with `adapter` merged into it as an fp32 safetensors folder. Idempotent: `out` appears whole.

    Raises NotFound when a file is missing, BadInput when adapter and base do not fit or the weights are not finite.
    """
    if (out / "config.json").is_file():
        return
    config = _read(adapter / "adapter_config.json")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        if _is_plain(config):
            _merge_by_hand(base, adapter, config, partial)
        else:
            _merge_with_peft(base, adapter, partial)
        _copy_companions(base, partial)
        if (adapter / tool_template.NAME).is_file():
            shutil.copyfile(adapter / tool_template.NAME, partial / "chat_template.jinja")
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)
        if full := as_disk_full(error):
            raise full from error
        raise
    put_in_place(partial, out)


def _is_plain(config: dict[str, Any]) -> bool:
    special = (
        "use_dora",
        "modules_to_save",
        "fan_in_fan_out",
        "trainable_token_indices",
        "target_parameters",
        "use_qalora",
    )
    return (
        config.get("peft_type") == "LORA" and config.get("bias", "none") == "none" and not any(map(config.get, special))
    )


def _merge_by_hand(base: Path, adapter: Path, config: dict[str, Any], out: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    deltas = _pairs(adapter)
    left = set(deltas)
    for shard in sorted(base.glob("*.safetensors")):
        merged: dict[str, torch.Tensor] = {}
        with safe_open(shard, framework="pt") as source:
            for name in source.keys():  # noqa: SIM118  not a dict
                tensor = source.get_tensor(name)
                module = name.removesuffix(".weight")
                if module in deltas:
                    tensor = _add(tensor, module, deltas[module], config)
                    left.discard(module)
                merged[name] = _fp32(tensor)
        save_file(merged, out / shard.name, metadata={"format": "pt"})
    if left:
        raise BadInput(
            f"The adapter changes {sorted(left)[0]}, which {base.name} does not have.",
            code="adapter_does_not_fit",
            hint="The adapter was trained on another base model.",
        )


def _pairs(adapter: Path) -> dict[str, "dict[str, torch.Tensor]"]:
    """Module → {"A": (rank, in), "B": (out, rank)}."""
    from safetensors.torch import load_file

    path = adapter / "adapter_model.safetensors"
    if not path.is_file():
        raise NotFound(f"The adapter has no {path.name}.", hint="Was the training finished?")
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(path).items():
        match = _KEY.match(key)
        if match is None:
            raise BadInput(f"The adapter holds {key}, which is not plain LoRA.", code="adapter_does_not_fit")
        found.setdefault(match["module"], {})[match["side"]] = tensor
    if not found or any(set(pair) != {"A", "B"} for pair in found.values()):
        raise BadInput("The adapter holds no pairs of LoRA matrices.", code="adapter_does_not_fit")
    return found


def _add(
    weight: "torch.Tensor", module: str, pair: "dict[str, torch.Tensor]", config: dict[str, Any]
) -> "torch.Tensor":
    import torch

    a, b = pair["A"].float(), pair["B"].float()
    if weight.shape != (b.shape[0], a.shape[1]) or a.shape[0] != b.shape[1]:
        raise BadInput(
            f"The adapter does not fit {module}: {tuple(b.shape)} × {tuple(a.shape)} on {tuple(weight.shape)}.",
            code="adapter_does_not_fit",
        )
    merged = torch.addmm(weight.float(), b, a, alpha=_scale(config, module, a.shape[0]))
    if not torch.isfinite(merged).all():
        raise BadInput(
            f"The trained weights of {module} are not finite.",
            code="training_diverged",
            hint="The training diverged: use a smaller learning rate.",
        )
    return merged


def _scale(config: dict[str, Any], module: str, rank: int) -> float:
    """As PEFT: alpha over rank (its root with rsLoRA); the alpha of a pattern comes before the general one."""
    alpha = config["lora_alpha"]
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = value
            break
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _fp32(tensor: "torch.Tensor") -> "torch.Tensor":
    return tensor.float().contiguous() if tensor.is_floating_point() else tensor


def _merge_with_peft(base: Path, adapter: Path, out: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
    PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True).save_pretrained(out)


def _copy_companions(base: Path, out: Path) -> None:
    """Tokenizer, template and configuration are the base's own, but for the weights' new type."""
    for pattern in _COPIED:
        for file in base.glob(pattern):
            if file.name != "config.json" and not (out / file.name).exists():
                shutil.copyfile(file, out / file.name)
    config = _read(base / "config.json")
    config.pop("quantization_config", None)
    config["torch_dtype" if "torch_dtype" in config else "dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFound(f"There is no {path.name} in {path.parent.name}.") from error
    except ValueError as error:
        raise BadInput(f"{path.parent.name}/{path.name} is not JSON: {error}") from error
    return data
