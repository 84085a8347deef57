"""publish: what has passed its gate goes live, in the target, under its route, and in our books."""

from pathlib import Path
from typing import Any

from tunesmith.evaluation import gate
from tunesmith.recipes import models
from tunesmith.recipes.context import Context, target_for
from tunesmith.serving import publish

KEPT = ("rows", "in_sample", "measured", "routes", "live_rows", "forgetting", "gate")  # of the evaluation, for good


def run(context: Context) -> dict[str, Any]:
    evaluation, built = context.outcome("evaluate"), context.outcome("build")
    deployment = models.deployment_of(context.workspace, evaluation["deployment"])
    for weights in Path(deployment.hf_dir).glob("*.safetensors"):
        weights.unlink()  # half a gigabyte a run, live or not, that the adapter and the base give again
    gate.require(evaluation["gate"])
    publish.promote(target_for(context.settings, deployment.target), deployment, context.settings)
    models.record(
        context.workspace,
        models.Release(
            name=context.recipe.model_name,
            version=context.version,
            run_id=context.run.id,
            base_model=context.recipe.base_model,
            dataset_version=built["version"],
            task=built["task"],
            deployment=evaluation["deployment"],
            evaluation={key: evaluation.get(key) for key in KEPT},
        ),
    )
    # After our own books: a route to the embedded target leads back to this service, which must know the model.
    route = publish.route(deployment, context.settings, built["task"]) if context.recipe.publish.litellm else None
    context.say(f"{context.recipe.model_name}:{context.version} is live.", data={"route": route})
    usage = models.usage(context.workspace, models.find(context.workspace, f"{deployment.name}:{context.version}"))
    return {"model": context.recipe.model_name, "version": context.version, "route": route, "usage": usage}
