"""Measure this machine for a few seconds: seconds per token and layer, as the plan needs them."""

import time
from collections.abc import Sequence

from tunesmith.training.loss import FastLoss
from tunesmith.training.plan import ModelShape, Speed
from tunesmith.training.rows import Encoded
from tunesmith.training.workers import Workers

REPEATS = 3
STEP_OVERHEAD = 1.2  # a whole step over what its rows take alone: optimiser, clipping, rows of different lengths


def measure(workers: Workers, rows: Sequence[Encoded], model: ModelShape, adapted: int) -> Speed:
    """Best of a few tries on one row of middle length per worker, because other work on the machine comes and goes (the
    plan is revised while it runs). The head's share is taken from the typical ratio; adapters stay as they are."""
    middle = sorted(rows, key=lambda row: len(row.ids))[len(rows) // 2]
    decoder = workers.loss.decoder if isinstance(workers.loss, FastLoss) else None
    batch = [middle] * workers.count
    keyed = [(row, number) for number, row in enumerate(batch)]  # the first try keeps the frozen layers' result
    frozen_times, adapted_times = [], []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        if decoder:
            workers.map(lambda row: decoder.bottom(row.ids), batch)
        between = time.perf_counter()
        workers.backward(keyed, 1.0)
        frozen_times.append(between - begin)
        adapted_times.append(time.perf_counter() - between)
    for parameter in workers.parameters:
        parameter.grad = None
    tokens, labels, frozen_layers = len(middle.ids) * len(batch), middle.labels * len(batch), model.layers - adapted
    spent = STEP_OVERHEAD * min(adapted_times[1:])
    if not decoder:
        return Speed(frozen=0.0, adapted=spent / (tokens * (adapted + frozen_layers * 0.7)), head=0.0, measured=True)
    share = Speed.typical(model)
    head, body = labels * share.head, tokens * adapted * share.adapted
    return Speed(
        frozen=min(frozen_times[1:]) / (tokens * frozen_layers) if frozen_layers else 0.0,
        adapted=spent * body / (body + head) / (tokens * adapted),
        head=spent * head / (body + head) / labels,
        measured=True,
    )
