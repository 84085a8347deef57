"""Fused building blocks of the fast forward: frozen weights, trained low-rank adapters, hand-written backward.

Autograd would keep several fp32 copies of every activation and multiply adapters as separate layers. These functions
keep what the backward needs and nothing else. `compute` is the number format of the frozen multiplications: bfloat16
where this processor multiplies it faster, float32 elsewhere. Residual stream, norms and adapters stay in float32.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FORMATS = (torch.float32, torch.bfloat16)


class LowRankLinear(torch.autograd.Function):
    """`x W^T + bias + (x A^T) B^T` with W and bias frozen. x [n, in], W [out, in], A [k, in], B [out, k]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
        a, b = a.to(x.dtype), b.to(x.dtype)
        low = x @ a.T
        y = functional.linear(x, weight, bias)
        y.addmm_(low, b.T)
        ctx.save_for_backward(x, weight, a, b, low)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b, low = ctx.saved_tensors
        grad_low = grad @ b
        grad_b = (grad.T @ low).float()
        grad_a = (grad_low.T @ x).float()
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ weight
            grad_x.addmm_(grad_low, a)
        return grad_x, None, None, grad_a, grad_b


class RmsNorm(torch.autograd.Function):
    """Root-mean-square norm of a float32 stream [n, h] with a frozen gain; the result is in `compute`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float, compute: torch.dtype) -> Tensor:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, gain, scale)
        return (x * scale).mul_(gain).to(compute)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, scale = ctx.saved_tensors
        scaled = grad.float().mul_(gain)
        projection = (scaled * x).mean(-1, keepdim=True) * scale.pow(3)
        return scaled.mul_(scale).addcmul_(x, projection, value=-1), None, None, None


class SwiGlu(torch.autograd.Function):
    """`silu(gate) * up` of one tensor [n, 2m] that holds gate and up side by side."""

    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, -1)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, -1)
        out = torch.empty_like(gate_up)
        grad_gate, grad_up = out.chunk(2, -1)
        sigmoid = torch.sigmoid(gate)
        silu = gate * sigmoid
        torch.mul(grad, silu, out=grad_up)
        # d silu = sigmoid + silu * (1 - sigmoid)
        slope = torch.addcmul(sigmoid, silu, 1 - sigmoid)
        torch.mul(slope.mul_(up), grad, out=grad_gate)
        return out


class LabelLoss(torch.autograd.Function):
    """Weighted sum of the cross entropies at the labelled positions only.

    hidden [l, h] float32, head [v, h] in `compute`, labels [l], weights [l]. Logits are multiplied in `compute`; what
    follows is float32, a few positions at a time on a CPU, so that it stays in the cache. Their gradient takes
    the place of the logits.
    """

    POSITIONS = 8

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        logits = functional.linear(hidden.to(head.dtype), head)
        size = LabelLoss.POSITIONS if hidden.device.type == "cpu" else len(labels)
        total = torch.zeros((), device=hidden.device)
        for part, label, weight in zip(*(torch.split(t, size) for t in (logits, labels, weights)), strict=True):
            likelihood = functional.log_softmax(part, -1, dtype=torch.float32)
            total -= likelihood.gather(1, label[:, None]).squeeze(1) @ weight
            if ctx.needs_input_grad[0]:
                grad = likelihood.exp_()
                grad[torch.arange(len(label), device=label.device), label] -= 1
                part.copy_(grad.mul_(weight[:, None]))
        ctx.save_for_backward(logits, head)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_logits, head = ctx.saved_tensors
        return (grad_logits @ head).float() * grad, None, None, None


class CausalAttention(torch.autograd.Function):
    """Causal attention of one row, grouped queries included; twice as fast backwards as PyTorch's own on a CPU.

    q [m, heads, d], k and v [n, kv_heads, d] → [m, heads * d]; the queries are those of the last m positions. Works
    through blocks of queries, so that the half of the scores that is masked anyway is mostly not computed;
    probabilities are kept for the backward.
    """

    BLOCK = 128

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        (m, heads, d), (n, kv, _) = q.shape, k.shape
        group, before = heads // kv, n - m
        qh = q.reshape(m, kv, group, d).transpose(0, 1).contiguous()
        kh, vh = k.transpose(0, 1).contiguous(), v.transpose(0, 1).contiguous()
        out, saved = torch.empty_like(qh), []
        for begin in range(0, m, CausalAttention.BLOCK):
            end = min(m, begin + CausalAttention.BLOCK)
            seen = before + end
            queries = qh[:, begin:end].reshape(kv, -1, d)
            scores = torch.bmm(queries, kh[:, :seen].transpose(1, 2)).view(kv, end - begin, group, seen)
            future = torch.ones(end - begin, end - begin, dtype=torch.bool, device=q.device).triu_(1)
            scores[..., before + begin :].masked_fill_(future[:, None], float("-inf"))
            weights = torch.softmax(scores.float().mul_(d**-0.5), -1).to(q.dtype).view(kv, -1, seen)
            out[:, begin:end] = torch.bmm(weights, vh[:, :seen]).view(kv, end - begin, group, d)
            saved.append(weights)
        ctx.save_for_backward(qh, kh, vh, out, *saved)
        return out.transpose(0, 1).reshape(m, heads * d)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        qh, kh, vh, out, *saved = ctx.saved_tensors
        (kv, m, group, d), n = qh.shape, kh.shape[1]
        grad = grad.reshape(m, kv, group, d).transpose(0, 1).contiguous()
        mean = (grad.float() * out).sum(-1).to(grad.dtype)
        grad_q = torch.empty_like(qh)
        grad_k, grad_v = (torch.zeros(kv, n, d, device=qh.device) for _ in range(2))
        for weights, begin in zip(saved, range(0, m, CausalAttention.BLOCK), strict=True):
            end = min(m, begin + CausalAttention.BLOCK)
            seen = n - m + end
            part = grad[:, begin:end].reshape(kv, -1, d)
            grad_v[:, :seen] += torch.bmm(weights.transpose(1, 2), part)
            scores = torch.bmm(part, vh[:, :seen].transpose(1, 2))
            scores.sub_(mean[:, begin:end].reshape(kv, -1, 1)).mul_(weights)
            grad_q[:, begin:end] = torch.bmm(scores, kh[:, :seen]).view(kv, end - begin, group, d)
            grad_k[:, :seen] += torch.bmm(scores.transpose(1, 2), qh[:, begin:end].reshape(kv, -1, d))
        grad_q.mul_(d**-0.5)
        grad_k.mul_(d**-0.5)
        return (
            grad_q.transpose(0, 1).reshape(m, kv * group, d),
            grad_k.to(qh.dtype).transpose(0, 1),
            grad_v.to(qh.dtype).transpose(0, 1),
        )


# The same as plain functions with a type.
low_rank_linear: Callable[..., Tensor] = LowRankLinear.apply
rms_norm: Callable[..., Tensor] = RmsNorm.apply
swi_glu: Callable[..., Tensor] = SwiGlu.apply
causal_attention: Callable[..., Tensor] = CausalAttention.apply
label_loss: Callable[..., Tensor] = LabelLoss.apply


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions for x [n, heads, d]; cos and sin [n, 1, d]."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def bf16_is_faster(tokens: int = 512, width: int = 1024) -> bool:
    """Whether this processor multiplies bfloat16 clearly faster than float32 (about 0.4 s).

    The best of many short tries, taken in turns: beside other work, most of them are interrupted.
    """
    inputs = {kind: (torch.randn(tokens, width).to(kind), torch.randn(width, width).to(kind)) for kind in FORMATS}
    best = dict.fromkeys(FORMATS, float("inf"))
    with torch.no_grad():
        for _ in range(25):
            for kind, (x, weight) in inputs.items():
                begin = time.perf_counter()
                functional.linear(x, weight)
                best[kind] = min(best[kind], time.perf_counter() - begin)
    return best[torch.bfloat16] < 0.8 * best[torch.float32]
