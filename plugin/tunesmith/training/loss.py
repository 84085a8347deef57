"""The training loss of a few rows, by the fast forward where it fits the model, by the general one elsewhere."""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Protocol

import psutil
import torch
from torch import Tensor
from torch.nn import functional

from tunesmith.training.fast import FastDecoder, supports
from tunesmith.training.fast_ops import bf16_is_faster
from tunesmith.training.rows import Encoded

TOLERANCE = 0.05


class RowLoss(Protocol):
    kind: str

    def __call__(self, rows: Sequence[Encoded], keys: Sequence[int | None]) -> Tensor:
        """Sum of weight × cross entropy over the learnt tokens. `keys`: same key, same row (None: do not keep)."""


class GeneralLoss:
    """Any causal language model: right padding, logits only from the first learnt position on."""

    kind = "general"

    def __init__(self, causal: Any, forward: Callable[..., Any] | None = None):
        self.forward = forward or causal.forward
        self.device = next(causal.parameters()).device

    def __call__(self, rows: Sequence[Encoded], keys: Sequence[int | None]) -> Tensor:
        longest, first = max(len(row.ids) for row in rows), min(row.answer_start for row in rows) - 1
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        weights = torch.zeros(len(rows), longest)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            mask[number, : len(row.ids)] = 1
            weights[number, row.answer_start : len(row.ids)] = row.weight
        ids, mask, weights = (t.to(self.device) for t in (ids, mask, weights))
        logits = self.forward(input_ids=ids, attention_mask=mask, logits_to_keep=longest - first).logits
        wanted = weights[:, first + 1 :] > 0
        losses = functional.cross_entropy(logits[:, :-1][wanted].float(), ids[:, first + 1 :][wanted], reduction="none")
        return (losses * weights[:, first + 1 :][wanted]).sum()


class FastLoss:
    """The fast forward; the frozen layers' result is kept per key as bfloat16 while memory lasts."""

    def __init__(self, decoder: FastDecoder, memory_bytes: int | None = None):
        self.decoder = decoder
        self.kind = f"fast, {str(decoder.compute).removeprefix('torch.')}"
        self.room = psutil.virtual_memory().available // 4 if memory_bytes is None else memory_bytes
        self.kept: dict[int, Tensor] = {}
        self._lock = Lock()

    def __call__(self, rows: Sequence[Encoded], keys: Sequence[int | None]) -> Tensor:
        return self.decoder.loss([self._bottom(r, k) for r, k in zip(rows, keys, strict=True)], rows)

    def _bottom(self, row: Encoded, key: int | None) -> Tensor:
        if key is not None and key in self.kept:
            return self.kept[key]
        # Rounded also when it is not kept: the same row must give the same gradient after a restart.
        state = self.decoder.bottom(row.ids)
        if self.decoder.compute == torch.bfloat16:
            state = state.to(torch.bfloat16)
        size = state.element_size() * state.numel()
        with self._lock:
            if key is not None and self.decoder.first_adapted and size <= self.room:
                self.kept[key] = state
                self.room -= size
        return state


def choose_loss(model: Any, first_adapted: int, probe: Encoded, precision: str | None = None) -> RowLoss:
    """The fast forward if it agrees with the model's own on `probe`, else the general one.

    `precision`: "bfloat16" or "float32" as in a written plan; None measures which one this machine prefers.
    """
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    general = GeneralLoss(causal)
    if not supports(causal.config):
        return general
    device = next(causal.parameters()).device
    if precision is None:
        precision = "bfloat16" if device.type == "cuda" or bf16_is_faster() else "float32"
    fast = FastLoss(FastDecoder(model, first_adapted, getattr(torch, precision)))
    with torch.no_grad():
        ours, theirs = fast([probe], [None]).item(), general([probe], [None]).item()
    return fast if abs(ours - theirs) <= TOLERANCE * max(1.0, abs(theirs)) else general
