"""The plan of a training: how many steps on which layers, at what rate, and why. Pure arithmetic; no heavy imports.

The API drafts a plan from typical speeds; the trainer makes the real one from speeds it has measured, writes it once to
`plan.json` and reads it again whenever it resumes.
"""

import json
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunesmith.errors import BadInput
from tunesmith.store.files import write_text

Auto = Literal["auto"]

BASE_LEARNING_RATE = 1.5e-3
RANK = 16
TARGET_EPOCHS = 4.0
MOST_EPOCHS_SMALL = 8
SAMPLES_WANTED = 600
# Layers come before more passes than these. On 190 receipts, at about equal cost, the loss per field on unseen ones was
# 2.28 with 8 layers and 4 passes, 1.79 with 12 and 2.5, 1.66 with 16 and 2, 1.63 with 22 and 1.6.
LEAST_PASSES, LEAST_SAMPLES = 1.6, 380
MOST_ADAPTED_SHARE, LEAST_ADAPTED_SHARE = 0.75, 0.27
MARGIN = 0.9
SETUP_S = 12.0


class Hyperparameters(BaseModel):
    """OpenAI's three, and what a recipe may add. "auto" leaves the choice to the plan; anything else is kept to."""

    model_config = ConfigDict(extra="forbid")

    n_epochs: Auto | int = Field("auto", description="How often each row is seen.")
    batch_size: Auto | int = Field("auto", description="Rows per optimiser step.")
    learning_rate_multiplier: Auto | float = Field("auto", description="Times the plan's own learning rate.")
    learning_rate: Auto | float = Field("auto", description="Instead of a multiplier.")
    lora_rank: Auto | int = "auto"
    lora_alpha: Auto | int = "auto"
    adapted_layers: Auto | int = Field("auto", description="How many layers, counted from the top, are adapted.")
    max_length: Auto | int = Field("auto", description="Longest row in tokens; longer rows are left out.")

    @classmethod
    def parse(cls, data: dict[str, Any]) -> "Hyperparameters":
        """Raises BadInput that names the hyper-parameter."""
        try:
            parsed = cls.model_validate({k: v for k, v in data.items() if v is not None})
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "hyperparameters"
            raise BadInput(
                f"hyperparameters.{name}: {first['msg']}",
                code="bad_hyperparameter",
                hint=f"Known: {', '.join(cls.model_fields)}; each may be 'auto'.",
                param=f"hyperparameters.{name}",
            ) from None
        for name, value in parsed:
            if value != "auto" and not 0 < value < 1e6:
                raise BadInput(
                    f"hyperparameters.{name} must be above 0.",
                    code="bad_hyperparameter",
                    hint="Leave it out, or send 'auto'.",
                    param=f"hyperparameters.{name}",
                )
        return parsed


class DataShape(BaseModel):
    """Size of the training rows in tokens; `labels` are the learnt ones."""

    rows: int
    tokens: int
    labels: int
    longest: int


class ModelShape(BaseModel):
    layers: int
    hidden: int
    layer_parameters: int
    vocabulary: int
    positions: int

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + self.vocabulary * self.hidden

    @classmethod
    def read(cls, base_model: Path) -> "ModelShape":
        """From a model folder's config.json."""
        config = json.loads((base_model / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config") or config
        hidden = config["hidden_size"]
        heads = config["num_attention_heads"]
        head = config.get("head_dim") or hidden // heads
        kv = config.get("num_key_value_heads") or heads
        attention = 2 * hidden * head * (heads + kv)
        return cls(
            layers=config["num_hidden_layers"],
            hidden=hidden,
            layer_parameters=attention + 3 * hidden * (config.get("intermediate_size") or 4 * hidden),
            vocabulary=config["vocab_size"],
            positions=config.get("max_position_embeddings") or 2048,
        )


class Speed(BaseModel):
    """Seconds per token and layer run once without adapters (`frozen`) or trained through (`adapted`); per label."""

    frozen: float
    adapted: float
    head: float
    measured: bool = False

    @classmethod
    def typical(cls, model: ModelShape, accelerator: bool = False) -> "Speed":
        """Of a two-core desktop processor, or of a graphics card; good enough for a draft."""
        flops = 2.0e13 if accelerator else 2.0e11
        return cls(
            frozen=2 * model.layer_parameters / flops,
            adapted=5 * model.layer_parameters / flops,
            head=4 * model.vocabulary * model.hidden / flops,
        )


class Estimate(BaseModel):
    seconds: float
    peak_memory_bytes: int
    tokens: int
    """Real tokens trained on, all epochs together."""


class Plan(BaseModel):
    """Everything that decides what the trained weights will be, apart from the rows themselves."""

    backend: str
    method: str = "lora"
    epochs: float
    steps: int
    batch_size: int
    learning_rate: float
    lora_rank: int
    lora_alpha: int
    adapted_layers: int
    max_length: int
    precision: str
    seed: int = 0
    checkpoint_every: int
    estimate: Estimate
    reasons: list[str]
    steps_are_open: bool = False
    """The number of epochs was left to us, so a machine that turns out slower or faster may change it."""
    most_steps: int = 0
    """Steps that are useful if there is time: `steps` may grow to this, never beyond."""
    steps_per_pass: float = 1.0
    first_step_s: float = 0.0
    """Seconds planned for a step of the first pass, which also runs the frozen layers."""
    later_step_s: float = 0.0
    revisions: list[tuple[int, int]] = Field(default_factory=list)
    """(after step, new number of steps): how the plan was shortened or lengthened while it ran."""

    @property
    def final_steps(self) -> int:
        return self.revisions[-1][1] if self.revisions else self.steps

    def seconds_between(self, begin: int, end: int) -> float:
        """Planned seconds of the steps from `begin` to `end`."""
        first = max(0.0, min(end, self.steps_per_pass) - min(begin, self.steps_per_pass))
        return first * self.first_step_s + (end - begin - first) * self.later_step_s

    def steps_within(self, step: int, seconds: float) -> int:
        """How far the training gets in `seconds` of planned time after `step`."""
        first_left = max(0.0, self.steps_per_pass - step)
        in_first = seconds / max(self.first_step_s, 1e-9)
        if in_first <= first_left:
            return step + int(in_first)
        rest = seconds - first_left * self.first_step_s
        return step + int(first_left + rest / max(self.later_step_s, 1e-9))

    def progress(self, step: int) -> float:
        """Share of the learning-rate schedule done after `step` steps; continuous across revisions."""
        done, since, total = 0.0, 0, self.steps
        for at, new_total in self.revisions:
            if step <= at:
                break
            done += (1 - done) * (at - since) / max(1, total - since)
            since, total = at, new_total
        return min(1.0, done + (1 - done) * (step - since) / max(1, total - since))

    def save(self, path: Path) -> None:
        write_text(path, self.model_dump_json(indent=2))

    @classmethod
    def load(cls, path: Path) -> "Plan | None":
        return cls.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else None


def make_plan(
    data: DataShape,
    model: ModelShape,
    hyperparameters: Hyperparameters,
    *,
    budget_s: float,
    speed: Speed,
    precision: str = "float32",
    backend: str = "trl",
    seed: int = 0,
    spent_s: float = 0.0,
) -> Plan:
    """Choose what is "auto" so that the training fits `budget_s` (seconds, of which `spent_s` are gone)."""
    reasons: list[str] = []
    batch = hyperparameters.batch_size
    if batch == "auto":
        batch = 8 if data.rows >= 800 else 4 if data.rows >= 32 else 2
        reasons.append(f"Batches of {batch} rows give {data.rows} rows enough optimiser steps.")
    room = max(1.0, (budget_s - spent_s) * MARGIN - SETUP_S)
    layers, epochs, most_epochs = _layers_and_epochs(data, model, hyperparameters, room, speed, reasons)
    steps = max(1, math.ceil(round(data.rows * epochs, 6) / batch))
    seconds = cost(data, model, speed, layers, epochs)
    if seconds > room and hyperparameters.n_epochs != "auto":
        reasons.append(
            f"n_epochs={hyperparameters.n_epochs} was asked for: about {seconds:.0f} s, more than the {budget_s:.0f} s "
            "an automatic plan would take."
        )
    rate = hyperparameters.learning_rate
    if rate == "auto":
        multiplier = hyperparameters.learning_rate_multiplier
        rate = BASE_LEARNING_RATE * (1.0 if multiplier == "auto" else multiplier)
    rank = RANK if hyperparameters.lora_rank == "auto" else hyperparameters.lora_rank
    alpha = 2 * rank if hyperparameters.lora_alpha == "auto" else hyperparameters.lora_alpha
    per_pass = max(1.0, data.rows / batch)
    first_step = cost(data, model, speed, layers, 1.0) / per_pass
    later_step = (cost(data, model, speed, layers, 2.0) - cost(data, model, speed, layers, 1.0)) / per_pass
    return Plan(
        backend=backend,
        epochs=epochs,
        steps=steps,
        batch_size=batch,
        learning_rate=rate,
        lora_rank=rank,
        lora_alpha=alpha,
        adapted_layers=layers,
        max_length=data.longest if hyperparameters.max_length == "auto" else hyperparameters.max_length,
        precision=precision,
        seed=seed,
        checkpoint_every=max(1, min(math.ceil(steps / 8), math.ceil(45 / max(first_step, 1e-6)))),
        estimate=Estimate(
            seconds=round(seconds + SETUP_S, 1),
            peak_memory_bytes=memory(data, model, layers, rank),
            tokens=round(data.tokens * epochs),
        ),
        reasons=reasons,
        steps_are_open=hyperparameters.n_epochs == "auto",
        most_steps=max(steps, math.ceil(round(data.rows * most_epochs, 6) / batch)),
        steps_per_pass=per_pass,
        first_step_s=first_step,
        later_step_s=later_step,
    )


def cost(data: DataShape, model: ModelShape, speed: Speed, layers: int, epochs: float) -> float:
    """Seconds of the training itself. The frozen layers run once per row, however many epochs follow."""
    frozen = data.tokens * min(1.0, epochs) * (model.layers - layers) * speed.frozen
    return frozen + epochs * (data.tokens * layers * speed.adapted + data.labels * speed.head)


def memory(data: DataShape, model: ModelShape, layers: int, rank: int) -> int:
    """Bytes at the peak, roughly: libraries, weights twice, adapters with their optimiser, kept states, activations."""
    adapters = layers * 14 * rank * model.hidden * 2
    activations = data.longest * (layers * model.hidden * 60 + model.vocabulary)
    return int(8e8 + 6 * model.parameters + 16 * adapters + 2 * data.tokens * model.hidden + activations)


def _layers_and_epochs(
    data: DataShape, model: ModelShape, asked: Hyperparameters, room: float, speed: Speed, reasons: list[str]
) -> tuple[int, float, float]:
    """Layers, passes, and passes that would still help: a few passes first, then layers, then more passes."""
    most = max(1, round(model.layers * MOST_ADAPTED_SHARE))
    least = max(1, round(model.layers * LEAST_ADAPTED_SHARE))
    wanted = float(asked.n_epochs) if asked.n_epochs != "auto" else _wanted_epochs(data.rows)
    if asked.adapted_layers != "auto":
        layers = min(asked.adapted_layers, model.layers)
        reasons.append(f"Adapters on the top {layers} of {model.layers} layers, as asked.")
    else:
        enough = wanted if asked.n_epochs != "auto" else min(wanted, max(LEAST_PASSES, LEAST_SAMPLES / data.rows))
        fitting = [n for n in range(least, most + 1) if cost(data, model, speed, n, enough) <= room]
        layers = max(fitting, default=least)
        reasons.append(
            f"Adapters on the top {layers} of {model.layers} layers: as many as leave time for {enough:.1f} passes; "
            "the other layers run once per row and are kept."
        )
    if asked.n_epochs != "auto":
        reasons.append(f"{asked.n_epochs} epochs, as asked.")
        return layers, wanted, wanted
    once = cost(data, model, speed, layers, 1.0)
    again = cost(data, model, speed, layers, 2.0) - once
    possible = 1 + (room - once) / again if room >= once else room / once
    epochs = max(min(wanted, possible), 1 / data.rows)
    if epochs < wanted:
        epochs = math.floor(epochs * 20) / 20 or epochs
        reasons.append(f"{epochs:g} passes over the rows instead of {wanted:g}: that is what the time budget allows.")
    else:
        reasons.append(f"{epochs:g} passes over {data.rows} rows: few rows need more passes, many need fewer.")
    return layers, epochs, wanted


def _wanted_epochs(rows: int) -> float:
    return float(min(MOST_EPOCHS_SMALL, max(TARGET_EPOCHS, math.ceil(SAMPLES_WANTED / max(1, rows)))))
