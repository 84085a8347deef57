"""publish: what has passed its gate goes live, in the target, under its route, and in our books."""

from pathlib import Path
from typing import Any

from tunesmith.evaluation import gate
from tunesmith.recipes import claims, models
from tunesmith.recipes.context import Context


def run(context: Context) -> dict[str, Any]:
    evaluation, built = context.outcome("evaluate"), context.outcome("build")
    deployment = models.deployment_of(context.workspace, evaluation["deployment"])
    for weights in Path(deployment.hf_dir).glob("*.safetensors"):
        weights.unlink()  # half a gigabyte a run, live or not, that the adapter and the base give again
    gate.require(evaluation["gate"])
    release = models.Release(
        name=context.recipe.model_name,
        version=context.version,
        run_id=context.run.id,
        base_model=context.recipe.base_model,
        dataset_version=built["version"],
        task=built["task"],
        deployment=evaluation["deployment"],
        evaluation={key: evaluation.get(key) for key in ("rows", "in_sample", "measured", "forgetting", "gate")},
    )
    # What was measured before it was written down which version is live may only be the first of its name.
    change = models.publish_release(
        context.workspace,
        release,
        replaces=evaluation.get("replaces"),
        recheck=lambda: claims.require(context.workspace, context.recipe, may_replace=context.run.may_replace),
    )
    for warning in change.warnings:
        context.say(warning, level="warn")
    if change.row is not None:
        context.say(f"{release.name}:{release.version} is live.", data={"route": change.route})
    return {
        "model": release.name,
        "version": release.version,
        "route": change.route,
        "warnings": change.warnings,
    }
