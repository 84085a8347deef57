"""The gradient of one step, its rows shared out to threads.

A row's matrices are small: several threads on one of them often wait for each other (on two cores, two rows at once
gave 740 tokens a second, two threads on one row 520). So each thread takes rows of its own, both ways. Shares
and the order of their sums are fixed by the rows alone, so the same step gives the same gradient after a restart.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from tunesmith.training.loss import FastLoss, RowLoss
from tunesmith.training.order import micro_batches, shares
from tunesmith.training.rows import Encoded

CORES = torch.get_num_threads()
MOST_WORKERS = 4  # as many as an automatic plan has rows in its batches
MICRO_TOKENS_CPU, MICRO_TOKENS_GPU = 1024, 16384

Keyed = tuple[Encoded, int | None]
T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """Threads that compute a `RowLoss`; one for the general forward and for graphics cards, which need no more."""

    def __init__(self, loss: RowLoss, model: Any, count: int | None = None):
        self.loss = loss
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        on_cpu = self.parameters[0].device.type == "cpu"
        most = min(CORES, MOST_WORKERS) if on_cpu and isinstance(loss, FastLoss) else 1
        self.count = count or most
        self.micro_tokens = MICRO_TOKENS_CPU if on_cpu else MICRO_TOKENS_GPU
        self._pool = ThreadPoolExecutor(self.count)
        torch.set_num_threads(max(1, CORES // self.count))

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """`work` of each item, in their order; as many at once as there are workers."""
        return list(self._pool.map(work, items)) if self.count > 1 else [work(item) for item in items]

    def backward(self, rows: Sequence[Keyed], scale: float) -> Tensor:
        """Adds the gradient of scale × the rows' loss to the parameters; returns scale × that loss."""
        parts = [[rows[i] for i in share] for share in shares([len(row.ids) for row, _ in rows], self.count)]
        done = self.map(lambda part: self._gradient(part, scale), parts)
        for number, parameter in enumerate(self.parameters):
            for _, gradients in done:
                new = gradients[number]
                parameter.grad = new if parameter.grad is None else parameter.grad.add_(new)
        return torch.stack([loss for loss, _ in done]).sum()

    def _gradient(self, part: Sequence[Keyed], scale: float) -> tuple[Tensor, Sequence[Tensor]]:
        total, summed = torch.zeros((), device=self.parameters[0].device), list[Tensor]()
        for group in micro_batches([len(row.ids) for row, _ in part], self.micro_tokens):
            loss = self.loss([part[i][0] for i in group], [part[i][1] for i in group]) * scale
            gradients = torch.autograd.grad(loss, self.parameters)
            total += loss.detach()
            summed = list(gradients) if not summed else [a.add_(b) for a, b in zip(summed, gradients, strict=True)]
        return total, summed

    def mean_loss(self, rows: Sequence[Encoded]) -> float:
        """Mean loss per learnt token, weights counted; nothing is kept for a backward."""

        def loss(row: Encoded) -> float:
            with torch.no_grad():
                return float(self.loss([row], [None]))

        return sum(self.map(loss, rows)) / sum(row.labels * row.weight for row in rows)
