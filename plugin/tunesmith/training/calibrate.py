"""Measure this machine for a few seconds: seconds per token and layer, as the plan needs them."""

import time
from collections.abc import Sequence

from torch.autograd import backward

from tunesmith.training.loss import FastLoss, RowLoss
from tunesmith.training.plan import ModelShape, Speed
from tunesmith.training.rows import Encoded

REPEATS = 3
STEP_OVERHEAD = 1.2  # a whole step over what its rows take alone: optimiser, clipping, rows longer than the middle one


def measure(loss: RowLoss, rows: Sequence[Encoded], model: ModelShape, adapted: int) -> Speed:
    """Best of a few tries on a row of middle length, because other work on the machine comes and goes (the plan is
    revised while it runs). The head's share is taken from the typical ratio; adapters stay as they are."""
    middle = sorted(rows, key=lambda row: len(row.ids))[len(rows) // 2]
    frozen_times, adapted_times = [], []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        if isinstance(loss, FastLoss):
            states = [loss.decoder.bottom(middle.ids)]
            between = time.perf_counter()
            backward(loss.decoder.loss(states, [middle]))
        else:
            between = begin
            backward(loss([middle], [None]))
        frozen_times.append(between - begin)
        adapted_times.append(time.perf_counter() - between)
    tokens, frozen_layers = len(middle.ids), model.layers - adapted
    head_share = Speed.typical(model)
    head = middle.labels * head_share.head
    body = tokens * adapted * head_share.adapted
    spent = STEP_OVERHEAD * min(adapted_times[1:])
    if not isinstance(loss, FastLoss):
        each = spent / (tokens * (adapted + frozen_layers * 0.7))
        return Speed(frozen=0.0, adapted=each, head=0.0, measured=True)
    per_frozen = min(frozen_times[1:]) / (tokens * frozen_layers) if frozen_layers else 0.0
    return Speed(
        frozen=per_frozen,
        adapted=spent * body / (body + head) / (tokens * adapted),
        head=spent * head / (body + head) / middle.labels,
        measured=True,
    )
