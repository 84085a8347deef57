"""evaluate: put the candidate up, prove parity, and measure it as it will be served, beside what it would replace."""

import random
from typing import Any

from tunesmith.evaluation import forgetting, gate
from tunesmith.evaluation.answers import Examination, examine
from tunesmith.evaluation.forgetting import Forgetting
from tunesmith.evaluation.metrics import Metrics
from tunesmith.recipes import models
from tunesmith.recipes.context import Context, target_for
from tunesmith.recipes.stages import baselines
from tunesmith.recipes.stages.shared import candidate, rows_of
from tunesmith.serving.targets.base import Endpoint, Target
from tunesmith.store.tables import ModelVersion
from tunesmith.tasks.base import Task
from tunesmith.tasks.conversation import Row


def run(context: Context) -> dict[str, Any]:
    task, target = context.task(), context.target()
    rows, in_sample = _questions(context)
    replaces = models.live_version(context.workspace, context.recipe.model_name)
    deployment = target.deploy(candidate(context))
    target.parity(deployment).require()
    context.say("Parity proven: the served model sees the tokens that training used.")

    with target.serve(deployment) as endpoint:
        tuned = examine(Examination(target, endpoint, task), rows, context.folder / "tuned.jsonl", context.say)
        lost = _forgetting(context, target, endpoint)
    live = _live(context, task, rows, replaces)
    verdict = gate.judge(
        tuned,
        format_adherence=_adherence_rule(context, task),
        field_accuracy=context.recipe.gate.field_accuracy,
        live=live,
        held_out=not in_sample,
    )
    measured: dict[str, Any] = {"tuned": tuned.as_dict()}
    if live is not None:
        measured["live"] = live.as_dict()
    if context.recipe.evaluation.baselines:
        measured = {**baselines.measure(context, task, rows), **measured}
    for check in verdict.checks:
        context.say(check.sentence(), level="info" if check.passed else "warn")
    return {
        "deployment": deployment.as_dict(),
        "replaces": replaces.version if replaces else None,
        "rows": len(rows),
        "in_sample": in_sample,
        "measured": measured,
        "forgetting": lost.as_dict() if lost else None,
        "gate": verdict.as_dict(),
    }


def _questions(context: Context) -> tuple[list[Row], bool]:
    """Held-out rows (a fixed choice of them when there are many); training rows when the dataset is too small."""
    rows = rows_of(context, "test")
    in_sample = not rows
    if in_sample:
        rows = rows_of(context, "train")[:8]
        context.say("Too few rows to hold any out: the figures are of rows that were trained on.", level="warn")
    limit = context.recipe.evaluation.rows
    if len(rows) > limit:
        rows = random.Random(0).sample(rows, limit)  # noqa: S311  the same rows for every version
    return rows, in_sample


def _forgetting(context: Context, target: Target, endpoint: Endpoint) -> Forgetting | None:
    """On the general rows that the dataset keeps for it; None when it keeps none."""
    rows = rows_of(context, "general_test")[: context.recipe.evaluation.rows]
    if not rows:
        return None
    tuned = forgetting.answers(target, endpoint, rows, context.folder / "tuned_general.jsonl", context.say)
    found = forgetting.compare(baselines.general(context, rows), tuned)
    context.say(found.sentence())
    return found


def _adherence_rule(context: Context, task: Task) -> float | None:
    """The default rule is about formats; a task without one (chat) is held to it only when the recipe says so."""
    rule = context.recipe.gate
    chosen = "format_adherence" in rule.model_fields_set
    return rule.format_adherence if chosen or task.has_format else None


def _live(context: Context, task: Task, rows: list[Row], version: ModelVersion | None) -> Metrics | None:
    """`version`, which is live now, on the same rows, unless the recipe replaces nothing."""
    if version is None or context.recipe.gate.not_worse_than == "none" or version.run_id == context.run.id:
        return None
    deployment = models.deployment_of(context.workspace, version.deployment)
    target = target_for(context.settings, deployment.target)
    with target.serve(deployment) as endpoint:
        return examine(Examination(target, endpoint, task), rows, context.folder / "live.jsonl", context.say)
