"""What a training backend is, and what goes in and comes out of it. Imports nothing heavy: the API reads this too."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tunesmith.errors import TunesmithError
from tunesmith.registry import Registry


@dataclass
class TrainSpec:
    """One training. `output_dir` belongs to it alone; training again into the same folder resumes."""

    base_model: Path
    train_file: Path
    output_dir: Path
    validation_file: Path | None = None
    backend: str = "auto"
    method: str = "supervised"
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    context_tokens: int | None = None
    """What the served model reads at once: longer rows could never be asked. None: as much as the base model reads."""
    time_budget_s: float = 570.0
    tool_template: Path | None = None
    """A chat template in place of the base's own, which takes tools, calls and results as callers send them."""


@dataclass
class Progress:
    """Sent after each optimiser step. Seconds, bytes; tokens are all real ones of the rows trained on, no padding."""

    step: int
    total_steps: int
    epoch: float
    loss: float
    learning_rate: float
    tokens_per_second: float
    seconds_left: float
    peak_memory_bytes: int
    stage: str = "train"


@dataclass
class TrainResult:
    adapter_dir: Path
    steps: int
    train_loss: float
    """Mean loss per learnt token over the last tenth of the steps."""
    validation_loss: float | None
    trained_tokens: int
    checkpoints: list[Path]


class Interrupted(TunesmithError):
    """The training was asked to stop and has saved a checkpoint; the same call goes on from there."""

    status = 409
    code = "interrupted"


@dataclass
class Availability:
    ok: bool
    hint: str | None = None


Report = Callable[[Progress], None]
ShouldStop = Callable[[], bool]


class Backend(Protocol):
    name: str

    def available(self) -> Availability:
        """Whether its libraries are installed; never imports them."""

    def train(self, spec: TrainSpec, report: Report, should_stop: ShouldStop) -> TrainResult: ...


BACKENDS: Registry[Backend] = Registry("tunesmith.backends", "backend")
