"""Which type each tensor of a model gets in q4_k_m and its kin: the rules of llama.cpp's `llama-quantize`.

Source: src/llama-quant.cpp of llama.cpp (MIT), `llama_tensor_get_type_impl` and `tensor_allows_quantization`, for the
k-quants that Tunesmith offers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Name → (llama.cpp's `general.file_type`, the type of a tensor that no rule singles out).
FILE_TYPES = {"q4_k_s": (14, "Q4_K"), "q4_k_m": (15, "Q4_K"), "q5_k_m": (17, "Q5_K"), "q6_k": (18, "Q6_K")}
_BLOCK = {"Q4_K": 256, "Q5_K": 256, "Q6_K": 256, "Q5_0": 32, "Q5_1": 32, "Q8_0": 32}
_FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}  # for rows that are no multiple of 256
_KEPT = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_",
    "attn_rel_b.weight", ".position_embd", ".patch_embd", ".patch_merger", ".rel_pos",
)  # fmt: skip
_KEPT_WHOLE = ("position_embd.weight", "token_types.weight")
_ATTENTION_V = ("attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight")
_EMBEDDINGS = ("token_embd.weight", "per_layer_token_embd.weight")


def in_order(tensors: Sequence[Any]) -> list[Any]:
    """By layer, then by name: the order in which the rules count."""
    return sorted(tensors, key=lambda tensor: (_layer(tensor.name), tensor.name))


@dataclass
class Mixture:
    """Asked for the tensors one after the other, `in_order`."""

    kind: str
    layers: int
    experts: int
    tied: bool
    values: int  # tensors of attention values in the model
    seen_values: int = 0
    seen_down: int = 0

    @classmethod
    def of(cls, kind: str, metadata: Mapping[str, Any], names: Sequence[str]) -> "Mixture":
        architecture = metadata["general.architecture"]
        return cls(
            kind=kind,
            layers=int(metadata[f"{architecture}.block_count"]),
            experts=int(metadata.get(f"{architecture}.expert_count") or 0),
            tied="output.weight" not in names,
            values=sum(any(part in name for part in _ATTENTION_V) for name in names),
        )

    @property
    def file_type(self) -> int:
        return FILE_TYPES[self.kind][0]

    def type_of(self, name: str, width: int, dimensions: int) -> str | None:
        """Name of the type; None for a tensor that is kept as it is. `width`: elements of a row."""
        if dimensions < 2 or not name.endswith("weight") or name in _KEPT_WHOLE or any(part in name for part in _KEPT):
            return None
        wanted = self._wanted(name, width)
        if width % _BLOCK[wanted]:
            wanted = _FALLBACK.get(wanted, "F16")
        return "F16" if wanted != "F16" and width % _BLOCK[wanted] else wanted

    def _wanted(self, name: str, width: int) -> str:
        usual = FILE_TYPES[self.kind][1]
        if name == "output.weight" or (self.tied and name in _EMBEDDINGS):
            return "Q8_0" if width % _BLOCK[usual] else "Q6_K"
        if any(part in name for part in _ATTENTION_V):
            return self._of_values(usual)
        if "attn_k.weight" in name:
            return "Q8_0" if self.experts == 8 else usual
        if "attn_output.weight" in name:
            return "Q5_K" if self.experts == 8 and usual == "Q4_K" else usual
        if "ffn_down" in name:
            return self._of_down(name, usual)
        return usual

    def _of_values(self, usual: str) -> str:
        place, self.seen_values = self.seen_values, self.seen_values + 1
        if self.experts == 8:
            return "Q8_0"
        if self.kind in ("q4_k_m", "q5_k_m") and _more_bits(place, self.values):
            return "Q6_K"
        return "Q5_K" if self.kind == "q4_k_s" and place < 4 else usual

    def _of_down(self, name: str, usual: str) -> str:
        place, self.seen_down = self.seen_down, self.seen_down + 1
        if self.experts > 1:
            place = _layer(name)
        if self.kind in ("q4_k_m", "q5_k_m") and _more_bits(place, self.layers):
            return "Q6_K"
        return "Q5_K" if self.kind == "q4_k_s" and place < self.layers // 8 else usual


def _more_bits(place: int, count: int) -> bool:
    """The first and last eighth, and every third between them."""
    return place < count // 8 or place >= 7 * count // 8 or (place - count // 8) % 3 == 2


def _layer(name: str) -> int:
    """Of `blk.<layer>.…`; -1 for tensors outside the layers."""
    first, _, rest = name.partition(".")
    number = rest.partition(".")[0]
    return int(number) if first == "blk" and number.isdecimal() else -1
