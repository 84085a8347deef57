"""train: dataset version → adapter."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from tunesmith.datasets.build import LEARN_FROM
from tunesmith.errors import Unavailable
from tunesmith.recipes import replacing
from tunesmith.recipes.context import Context
from tunesmith.recipes.stages.export import quantization_of
from tunesmith.serving import base_models, readiness, tool_template
from tunesmith.serving.hf_folder import HfFolder, control_tokens_of
from tunesmith.serving.targets.base import Target
from tunesmith.store.files import write_text
from tunesmith.tasks.control import neutral_row
from tunesmith.tasks.conversation import read_rows, write_rows
from tunesmith.tasks.tool_use import ToolUse
from tunesmith.training.plan import BASE_LEARNING_RATE, Plan
from tunesmith.training.trainer import Progress, TrainSpec, train


def run(context: Context) -> dict[str, Any]:
    replacing.check_before_training(context)
    recipe = context.recipe
    base_model = base_models.resolve(recipe.base_model, context.settings)
    _try_the_end(context, base_model)
    dataset = context.workspace.artifacts.dataset(context.outcome("build")["version"])
    validation = dataset / "validation.jsonl"
    given_validation = validation.exists() and validation.stat().st_size > 0
    minutes = recipe.training.minutes or context.settings.train_minutes
    given = recipe.training.hyperparameters
    control = control_tokens_of(base_model)
    train_file = _neutral(context, _rows(context, dataset), control)
    spec = TrainSpec(
        base_model=base_model,
        train_file=train_file,
        validation_file=_neutral(context, validation, control) if given_validation else None,
        output_dir=context.folder,
        backend=recipe.training.backend,
        method=recipe.training.method,
        hyperparameters={} if given == "auto" else given,
        seed=recipe.seed,
        context_tokens=HfFolder(base_model).num_ctx,
        time_budget_s=minutes * 60,
        tool_template=_tool_template(context, HfFolder(base_model), train_file),
    )
    result = train(spec, lambda progress: _report(context, progress), context.stop.is_set)
    if spec.tool_template:
        shutil.copyfile(spec.tool_template, result.adapter_dir / tool_template.NAME)
    plan = Plan.model_validate_json((context.folder / "plan.json").read_text(encoding="utf-8"))
    context.say(f"Trained {result.steps} steps, loss {result.train_loss:.3f}.", data={"reasons": plan.reasons})
    return {
        "adapter": str(result.adapter_dir.relative_to(context.folder)),
        "base_revision": base_models.revision_of(recipe.base_model, context.settings),
        "steps": result.steps,
        "train_loss": result.train_loss,
        "validation_loss": result.validation_loss,
        "trained_tokens": result.trained_tokens,
        "plan": plan.model_dump(mode="json"),
        "hyperparameters": {
            "n_epochs": plan.epochs,
            "batch_size": plan.batch_size,
            "learning_rate_multiplier": round(plan.learning_rate / BASE_LEARNING_RATE, 4),
        },
    }


def _try_the_end(context: Context, base_model: Path) -> None:
    """What fails after the training costs all of it: converter, quantiser, target and disk are tried now."""
    quantization, artifacts = quantization_of(context), context.workspace.artifacts
    if not context.has_stage("export"):
        artifacts.require_space(readiness.space_of_training(base_model))
        return
    artifacts.require_space(readiness.space_needed(base_model, quantization))
    readiness.try_export(base_model, quantization, context.settings)
    if context.has_stage("evaluate"):
        _try_target(context.target(), base_model)


def _try_target(target: Target, base_model: Path) -> None:
    check = target.check()
    if not check.ok:
        text = f"The serving target {target.name} is not there: {check.detail}"
        raise Unavailable(text, code="target_not_ready", hint=check.hint)
    if ask := getattr(target, "ready_for", None):  # a target from outside may be older than the question
        ask(base_model)


def _rows(context: Context, dataset: Path) -> Path:
    """The training rows, with the general ones of the version when it has some."""
    if not (dataset / "general.jsonl").exists():
        return dataset / "train.jsonl"
    together = context.folder / "rows.jsonl"
    write_rows(together, (row for name in ("train", "general") for row in read_rows(dataset / f"{name}.jsonl")))
    return together


def _neutral(context: Context, path: Path, control: Sequence[str]) -> Path:
    """The rows with the base's control tokens put apart, as they will be in what the model is served."""
    changed = sum(neutral_row(row, control) != row for row in read_rows(path))
    if not changed:
        return path
    context.say(f"{changed} rows of {path.stem} hold control tokens of the base model: they are learnt as plain text.")
    neutral = context.folder / f"neutral-{path.name}"
    write_rows(neutral, (neutral_row(row, control) for row in read_rows(path)))
    return neutral


def _tool_template(context: Context, base: HfFolder, train_file: Path) -> Path | None:
    """The template that a model for tools is trained and served with; None where the base's own stays as it is."""
    task, place = context.task(), context.folder / tool_template.NAME
    if not isinstance(task, ToolUse):
        return None
    if not place.exists():
        if (context.folder / "plan.json").exists():
            return None  # a training that goes on keeps what it began with
        template = tool_template.choose(base, list(islice(read_rows(train_file), LEARN_FROM)), task.system)
        if template is None:
            context.say("The rows list tools in words of their own: callers must ask in the same words.", level="warn")
            return None
        write_text(place, template)
    return place


def _report(context: Context, progress: Progress) -> None:
    data = {**asdict(progress), "train_loss": progress.loss}
    message = (
        f"Step {progress.step}/{progress.total_steps}: training loss={progress.loss:.3f}, "
        f"{progress.tokens_per_second:.0f} tokens/s, {_minutes(progress.seconds_left)} left"
    )
    context.say(message, type="metrics", data=data)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
