"""Train one adapter: pick the backend, run it, keep its folder in order. Heavy imports happen inside the backend."""

import os
import shutil

from tunesmith.errors import BadInput, Unavailable
from tunesmith.training.backends.base import (
    BACKENDS,
    Backend,
    Interrupted,
    Progress,
    Report,
    ShouldStop,
    TrainResult,
    TrainSpec,
)
from tunesmith.training.plan import Hyperparameters

__all__ = ["Interrupted", "Progress", "TrainResult", "TrainSpec", "pick_backend", "train"]

PREFERRED = ("trl",)


def pick_backend(name: str) -> Backend:
    """The backend called `name`, or for "auto" the first preferred one that is installed.

    Raises NotFound for an unknown name, Unavailable with what to install otherwise.
    """
    names = [n for n in PREFERRED if n in BACKENDS.names()] if name == "auto" else [name]
    hint = None
    for candidate in names:
        backend = BACKENDS.get(candidate)()
        state = backend.available()
        if state.ok:
            return backend
        hint = hint or state.hint
    raise Unavailable(
        f"No training backend is installed (asked for {name!r}).",
        code="backend_not_installed",
        hint=hint or "pip install 'tunesmith[train]'",
        retryable=False,
    )


def train(spec: TrainSpec, report: Report, should_stop: ShouldStop) -> TrainResult:
    """Train, or go on with a training that was cut off in `spec.output_dir`.

    Raises BadInput (method, hyper-parameters, rows that cannot be learnt), Unavailable (backend missing),
    Interrupted after `should_stop()` said so and a checkpoint was saved.
    """
    if spec.method not in ("supervised", "lora"):
        raise BadInput(
            f"method {spec.method} is not available yet; use supervised",
            code="method_not_available",
            hint="Send method.type = supervised, or leave it out.",
            param="method",
        )
    Hyperparameters.parse(spec.hyperparameters)
    backend = pick_backend(spec.backend)
    spec.output_dir.mkdir(parents=True, exist_ok=True)
    for leftover in spec.output_dir.glob("*.partial"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    # On a busy machine, threads that spin while they wait for each other slow everything down many times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return backend.train(spec, report, should_stop)
