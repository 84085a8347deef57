"""The version that a candidate would replace, asked the candidate's rows and its own."""

from dataclasses import dataclass
from typing import Any

from tunesmith.datasets.splits import prompt_key
from tunesmith.evaluation.metrics import Metrics
from tunesmith.recipes import models, replacing
from tunesmith.recipes.answering import task_of
from tunesmith.recipes.context import Context, target_for
from tunesmith.recipes.stages.measuring import Measured
from tunesmith.recipes.stages.shared import choice, rows_of
from tunesmith.serving import routes
from tunesmith.store.tables import ModelVersion
from tunesmith.tasks.base import Task
from tunesmith.tasks.conversation import Row


@dataclass(frozen=True)
class Live:
    """The version now live, what it is served for, and the rows that it was itself measured on."""

    version: ModelVersion
    task: Task
    rows: list[Row]

    def report(self, by_route: dict[str, Any]) -> dict[str, Any] | None:
        """What was measured on its rows; None where it has none."""
        if not self.rows:
            return None
        version = self.version
        about = {"version": version.version, "dataset_version": version.dataset_version, "rows": len(self.rows)}
        return {**about, "routes": by_route}


@dataclass(frozen=True)
class Beside:
    """Its figures by route: on the candidate's rows, and on its own."""

    on_rows: dict[str, Metrics]
    on_its_own: dict[str, Metrics]


def find(context: Context, task: Task) -> Live | None:
    """What a candidate is held to. Raises Conflict where nothing could be shown."""
    replacing.require_same_task(context.workspace, context.recipe, task.name)
    version = replacing.live_version(context.workspace, context.recipe, context.run.id)
    if version is None:
        return None
    rows = choice(context, replacing.rows_of(context.workspace, version))
    if not rows:
        context.say(
            f"{version.version}, which is live, had too few rows to hold any out: the new rows alone decide.",
            level="warn",
        )
        return Live(version, task_of(version), [])
    learnt = {prompt_key(row) for row in rows_of(context, "train")}
    if seen := sum(prompt_key(row) in learnt for row in rows):
        context.say(
            f"{seen} of the {len(rows)} rows that the live version was measured on were now trained on.", level="warn"
        )
    return Live(version, task_of(version), rows)


def measure(context: Context, live: Live, proxy: routes.Mode | None, rows: list[Row], task: Task) -> Beside:
    """`rows` are the candidate's, which are examples of `task`."""
    deployment = models.deployment_of(context.workspace, live.version.deployment)
    target = target_for(context.settings, deployment.target)
    with target.serve(deployment) as endpoint:
        asked = Measured.opened(context, "live", target, deployment, endpoint, live.task, proxy)
        return Beside(asked.on(rows, task), asked.on(live.rows, live.task, "live_rows"))
