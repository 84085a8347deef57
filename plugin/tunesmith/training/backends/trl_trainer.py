"""SFTTrainer with our training step. Optimiser, clipping, schedule, checkpoints and resume are the library's."""

import math
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import SequentialSampler
from transformers import TrainerCallback
from trl import SFTTrainer

from tunesmith.training import checkpoints
from tunesmith.training.backends.base import Progress, Report, ShouldStop
from tunesmith.training.plan import Plan
from tunesmith.training.rows import Encoded
from tunesmith.training.workers import Workers

WARMUP = 0.05
LAST_RATE = 0.02
CHECK_EVERY = 0.1
CHANGE = 1.08
BUDGET_SHARE = 0.93


def rate_factor(progress: float) -> float:
    """Warm-up, then a half cosine down to a fiftieth of the rate."""
    if progress < WARMUP:
        return max(progress / WARMUP, 0.1)
    done = (progress - WARMUP) / (1 - WARMUP)
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + float(torch.cos(torch.tensor(done * torch.pi))))


def peak_memory() -> int:
    """Highest resident memory of this process so far, bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Trainer(SFTTrainer):  # type: ignore[misc]
    """One dataset item is the number of a row; one batch is one optimiser step, shared out to the workers."""

    lr_scheduler: Any

    def __init__(self, *, plan: Plan, workers: Workers, rows: Sequence[Encoded], **kwargs: Any):
        self.plan, self.workers, self.rows = plan, workers, rows
        self.step_losses: list[float] = []
        self.trained_tokens = 0
        super().__init__(**kwargs)

    def _get_train_sampler(self, *_: Any) -> Any:
        return SequentialSampler(self.train_dataset)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.lr_scheduler is None:
            self.lr_scheduler = LambdaLR(
                optimizer or self.optimizer, lambda step: rate_factor(self.plan.progress(step))
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        model.train()
        batch = [(self.rows[number], number) for number in inputs["row"]]
        weight = sum(row.labels * row.weight for row, _ in batch)
        total = self.workers.backward(batch, 1 / weight)
        self.trained_tokens += sum(len(row.ids) for row, _ in batch)
        self.step_losses.append(float(total))
        return total

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        # A pickle nobody reads, and a card for a hub this never goes to.
        (folder / "training_args.bin").unlink(missing_ok=True)
        (folder / "README.md").unlink(missing_ok=True)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        return


class Watch(TrainerCallback):  # type: ignore[misc]
    """Progress, the time budget, stopping, and sealed checkpoints."""

    def __init__(
        self,
        plan: Plan,
        plan_file: Path,
        rows: int,
        budget_s: float,
        before: dict[str, Any],
        report: Report,
        should_stop: ShouldStop,
        begin: float,
    ):
        """`before`: what the checkpoint that is resumed from says of the time and tokens until then."""
        self.plan, self.plan_file, self.rows, self.budget_s = plan, plan_file, rows, budget_s
        self.spent_s, self.report, self.should_stop = before.get("spent_s", 0.0), report, should_stop
        self.tokens_before = before.get("trained_tokens", 0)
        self.losses_before: list[float] = before.get("losses", [])
        self.trainer: Trainer | None = None
        self.begin = self.loop_begin = begin
        self.first_step: int | None = None
        self.last_look = (0, begin)
        self.stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.first_step, self.loop_begin = state.global_step, time.monotonic()
        self.last_look = (state.global_step, self.loop_begin)
        if self.trainer is not None:
            self.trainer.trained_tokens = self.tokens_before
            self.trainer.step_losses = list(self.losses_before)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer, plan = self.trainer, self.plan
        if trainer is None or self.first_step is None:
            return
        step, took = state.global_step, max(time.monotonic() - self.loop_begin, 1e-9)
        self._revise(step)
        planned = max(plan.seconds_between(self.first_step, step), 1e-9)
        left = plan.seconds_between(step, plan.final_steps) * took / planned
        self.report(
            Progress(
                step=step,
                total_steps=plan.final_steps,
                epoch=round(step * plan.batch_size / self.rows, 3),
                loss=trainer.step_losses[-1],
                learning_rate=float(kwargs["lr_scheduler"].get_last_lr()[0]),
                tokens_per_second=(trainer.trained_tokens - self.tokens_before) / took,
                seconds_left=left,
                peak_memory_bytes=peak_memory(),
            )
        )
        if step >= plan.final_steps:
            control.should_training_stop = control.should_save = True
        elif self.should_stop():
            self.stopped = control.should_training_stop = control.should_save = True
        elif step % plan.checkpoint_every == 0:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        root = Path(args.output_dir)
        if self.trainer is None:
            return
        known = {
            "spent_s": round(self.spent_s + time.monotonic() - self.begin, 3),
            "trained_tokens": self.trainer.trained_tokens,
            "losses": self.trainer.step_losses,
        }
        checkpoints.seal(root / f"checkpoint-{state.global_step}", known)
        checkpoints.rotate(root)

    def _revise(self, step: int) -> None:
        """Fit the number of steps to how fast the machine really is, so that the schedule ends on time.

        Written into the plan, so that a resumed training takes the same steps. Compares the time of the steps since
        the last look with the time planned for them: first-pass steps cost more than later ones.
        """
        plan = self.plan
        every = max(4, round(plan.steps * CHECK_EVERY))
        known = plan.revisions and step <= plan.revisions[-1][0]
        if not plan.steps_are_open or step % every or step >= plan.final_steps or known:
            return
        now, (since, at) = time.monotonic(), self.last_look
        self.last_look = (step, now)
        planned = plan.seconds_between(since, step)
        if step - since < 4 or planned <= 0:
            return
        slowdown = (now - at) / planned
        left = self.budget_s * BUDGET_SHARE - self.spent_s - (now - self.begin)
        least = min(plan.final_steps, math.ceil(plan.steps_per_pass))
        wanted = max(plan.steps_within(step, max(left, 0.0) / slowdown), least, step + 1)
        wanted = min(wanted, plan.most_steps)
        if max(wanted, plan.final_steps) > CHANGE * min(wanted, plan.final_steps):
            word = "Shortened" if wanted < plan.final_steps else "Lengthened"
            plan.revisions.append((step, wanted))
            plan.reasons.append(
                f"{word} to {wanted} steps after step {step}: time per step is {slowdown:.1f} x planned."
            )
            plan.save(self.plan_file)


def collate(items: Sequence[dict[str, int]]) -> dict[str, list[int]]:
    return {"row": [item["row"] for item in items]}


def quiet() -> None:
    """No progress bars, no telemetry, no hub."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
