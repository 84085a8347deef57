"""A fast forward for Llama-like decoders (llama, mistral, qwen2): exact, and several times cheaper.

Where the time goes, and what is done about it:
- rows lie one after the other without padding, what they all begin with only once; attention runs per row;
- layers below the lowest adapter run once per row, without autograd, and their result can be kept (`bottom`);
- the adapters of q, k, v (and of gate, up) are multiplied together;
- the last layer computes queries and feed-forward, and the head its logits, only where there is a label.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tunesmith.training.fast_ops import causal_attention, label_loss, low_rank_linear, rms_norm, rotate, swi_glu
from tunesmith.training.rows import Encoded

_block_diagonal: Callable[..., Tensor] = torch.block_diag
FAST_ARCHITECTURES = ("llama", "mistral", "qwen2")
ADAPTER = "default"


def supports(config: Any) -> bool:
    return (
        config.model_type in FAST_ARCHITECTURES
        and getattr(config, "hidden_act", "") == "silu"
        and not getattr(config, "mlp_bias", False)
        and getattr(config, "sliding_window", None) is None
        and getattr(config, "pretraining_tp", 1) == 1
    )


class _Group:
    """Linear layers with the same input, multiplied as one: frozen weights stacked, adapters side by side."""

    def __init__(self, layers: Sequence[Any], compute: torch.dtype):
        self.layers = list(layers)
        bases = [layer.base_layer if hasattr(layer, "base_layer") else layer for layer in self.layers]
        self.weight = torch.cat([base.weight.detach() for base in bases]).to(compute)
        biases = [base.bias for base in bases]
        self.bias = None if biases[0] is None else torch.cat([b.detach() for b in biases]).to(compute)
        self.adapted = all(hasattr(layer, "lora_A") for layer in self.layers)

    def __call__(self, x: Tensor) -> Tensor:
        if not self.adapted:
            return functional.linear(x, self.weight, self.bias)
        a = torch.cat([layer.lora_A[ADAPTER].weight for layer in self.layers])
        blocks = [layer.lora_B[ADAPTER].weight * layer.scaling[ADAPTER] for layer in self.layers]
        b = _block_diagonal(*blocks) if len(blocks) > 1 else blocks[0]
        return low_rank_linear(x, self.weight, self.bias, a, b)


class _Layer:
    def __init__(self, layer: Any, config: Any, compute: torch.dtype):
        attention, mlp = layer.self_attn, layer.mlp
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.eps, self.compute = config.rms_norm_eps, compute
        self.norm1 = layer.input_layernorm.weight.detach().float()
        self.norm2 = layer.post_attention_layernorm.weight.detach().float()
        self.qkv = _Group([attention.q_proj, attention.k_proj, attention.v_proj], compute)
        self.out = _Group([attention.o_proj], compute)
        self.gate_up = _Group([mlp.gate_proj, mlp.up_proj], compute)
        self.down = _Group([mlp.down_proj], compute)

    def __call__(
        self,
        x: Tensor,
        lengths: Sequence[int],
        cos: Tensor,
        sin: Tensor,
        keep: Sequence[Tensor] | None = None,
        shared: int = 0,
    ) -> Tensor:
        """x [n, h]: rows of `lengths` one after the other. `keep`: per row, the positions whose result is wanted.

        `shared`: how many positions at the beginning of the first row the other rows go on from.
        """
        normed = rms_norm(x, self.norm1, self.eps, self.compute)
        qkv = self.qkv(normed).view(len(x), -1, self.head_dim)
        turned = rotate(qkv[:, : self.heads + self.kv_heads], cos, sin)
        q, k = turned[:, : self.heads], turned[:, self.heads :]
        v = qkv[:, self.heads + self.kv_heads :]
        mixed, begin = [], 0
        for row, length in enumerate(lengths):
            part = slice(begin, begin + length)
            keys, values = k[part], v[part]
            if shared and row:
                keys, values = torch.cat([k[:shared], keys]), torch.cat([v[:shared], values])
            mixed.append(self._attend(q[part], keys, values, None if keep is None else keep[row]))
            begin += length
        if keep is not None:
            starts = [0, *torch.tensor(list(lengths)).cumsum(0)[:-1].tolist()]
            x = x[torch.cat([index + start for index, start in zip(keep, starts, strict=True)])]
        x = x + self.out(torch.cat(mixed) if len(mixed) > 1 else mixed[0])
        normed = rms_norm(x, self.norm2, self.eps, self.compute)
        return x + self.down(swi_glu(self.gate_up(normed)))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None) -> Tensor:
        """The queries are those of the last positions of k and v, or of these only the ones in `keep`."""
        mask, before = None, len(k) - len(q)
        if keep is None and torch.is_grad_enabled() and q.device.type == "cpu":
            return causal_attention(q, k, v)
        if keep is not None or before:
            wanted = torch.arange(len(q), device=q.device) if keep is None else keep
            mask = torch.arange(len(k), device=k.device)[None, :] <= before + wanted[:, None]
            q = q[wanted]
        repeat = self.heads // self.kv_heads
        q, k, v = (t.transpose(0, 1)[None] for t in (q, k, v))
        if repeat > 1:
            k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return mixed[0].transpose(0, 1).reshape(q.shape[2], -1)


class FastDecoder:
    """The fast forward of one PEFT model. Adapters sit on the layers from `first_adapted` upwards."""

    def __init__(self, model: Any, first_adapted: int, compute: torch.dtype):
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.config, self.body, self.first_adapted = causal.config, causal.model, first_adapted
        self.layers = [_Layer(layer, self.config, compute) for layer in self.body.layers]
        self.norm = self.body.norm.weight.detach().float()
        self.head = causal.lm_head.weight.detach().to(compute)
        self.compute = compute
        self.device = self.head.device
        self._tables: tuple[Tensor, Tensor] | None = None

    def bottom(self, ids: Sequence[int]) -> Tensor:
        """What enters the lowest adapted layer for one row: [tokens, h], float32. Never depends on the adapters."""
        with torch.no_grad():
            x: Tensor = self.body.embed_tokens(torch.tensor(ids, device=self.device)).float()
            cos, sin = self._positions([range(len(ids))])
            for layer in self.layers[: self.first_adapted]:
                x = layer(x, [len(ids)], cos, sin)
            return x

    def top(self, bottoms: Sequence[Tensor], rows: Sequence[Encoded]) -> Tensor:
        """Normed hidden states [labels, h] from which each row's learnt tokens are predicted, row after row."""
        shared = self._shared(rows)
        begins = [0] + [shared] * (len(rows) - 1)
        lengths = [len(row.ids) - begin for row, begin in zip(rows, begins, strict=True)]
        keep = [
            torch.arange(row.answer_start - 1 - begin, length - 1, device=self.device)
            for row, begin, length in zip(rows, begins, lengths, strict=True)
        ]
        parts = [bottom[begin:].float() for bottom, begin in zip(bottoms, begins, strict=True)]
        x = torch.cat(parts) if len(parts) > 1 else parts[0]
        cos, sin = self._positions([range(begin, len(row.ids)) for row, begin in zip(rows, begins, strict=True)])
        layers = self.layers[self.first_adapted :]
        for number, layer in enumerate(layers, 1):
            x = layer(x, lengths, cos, sin, keep if number == len(layers) else None, shared)
        return rms_norm(x, self.norm, self.config.rms_norm_eps, torch.float32)

    def loss(self, bottoms: Sequence[Tensor], rows: Sequence[Encoded]) -> Tensor:
        """Sum over the learnt tokens of weight × cross entropy (not a mean: the caller divides)."""
        labels = torch.tensor([i for row in rows for i in row.ids[row.answer_start :]], device=self.device)
        weights = torch.tensor([row.weight for row in rows for _ in range(row.labels)], device=self.device)
        return label_loss(self.top(bottoms, rows), self.head, labels, weights)

    def _shared(self, rows: Sequence[Encoded]) -> int:
        """How many tokens all rows begin with, none of them learnt; on a graphics card, whose own attention takes whole
        rows, none."""
        if len(rows) == 1 or self.device.type != "cpu":
            return 0
        least = min(row.answer_start - 1 for row in rows)
        heads = zip(*(row.ids[:least] for row in rows), strict=True)
        return next((place for place, tokens in enumerate(heads) if len(set(tokens)) > 1), least)

    def _positions(self, rows: Sequence[range]) -> tuple[Tensor, Tensor]:
        """cos and sin [n, 1, head_dim] in `compute`, made by the model's own rotary module."""
        longest, tables = max(row.stop for row in rows), self._tables
        if tables is None or len(tables[0]) < longest:
            places = torch.arange(longest, device=self.device)[None]
            cos, sin = self.body.rotary_emb(torch.empty(1, dtype=torch.float32, device=self.device), places)
            # Another thread may put a shorter one in its place at any time: it is not read again.
            self._tables = tables = (cos[0, :, None].to(self.compute), sin[0, :, None].to(self.compute))
        cos, sin = (torch.cat([table[row.start : row.stop] for row in rows]) for table in tables)
        return cos, sin
