"""The live version that a run would replace: it does the same task, and the rows that it was measured on are kept."""

from pathlib import Path

from tunesmith.errors import Conflict
from tunesmith.recipes import models
from tunesmith.recipes.context import Context
from tunesmith.recipes.schema import Recipe
from tunesmith.store.tables import ModelVersion
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.conversation import Row, read_rows


def live_version(workspace: Workspace, recipe: Recipe, run_id: str | None = None) -> ModelVersion | None:
    """The version that another one of this recipe is held to; None when it replaces none, or its gate asks for
    nothing of the kind. `run_id`: the run that asks, which is not held to itself."""
    live = models.live_version(workspace, recipe.model_name)
    return None if live is None or recipe.gate.not_worse_than == "none" or live.run_id == run_id else live


def check(workspace: Workspace, recipe: Recipe) -> None:
    """What the recipe itself shows, before any work is done. Raises Conflict."""
    if recipe.task.type or recipe.task.preset:
        require_same_task(workspace, recipe, recipe.task.type or "extraction")


def check_before_training(context: Context) -> None:
    """What is known once the dataset is built. Raises Conflict."""
    workspace, recipe = context.workspace, context.recipe
    if not context.publishes:
        return
    require_same_task(workspace, recipe, context.outcome("build")["task"]["name"])
    live = live_version(workspace, recipe, context.run.id)
    if live is not None:
        _dataset_of(workspace, live)


def require_same_task(workspace: Workspace, recipe: Recipe, task: str) -> None:
    """Who asks a name relies on what it answers. Raises Conflict when the live version does another task."""
    live = models.live_version(workspace, recipe.model_name)
    if live is not None and live.task["name"] != task:
        raise Conflict(
            f"{recipe.model_name} does the task {live.task['name']}, and this recipe makes a model for {task}.",
            code="another_task",
            hint="Publish it under another name (publish.name), or remove the model first.",
        )


def rows_of(workspace: Workspace, live: ModelVersion) -> list[Row]:
    """The rows that the version was not trained on, in its own dataset; none when that was too small to keep any.
    Raises Conflict when the dataset is gone."""
    path = _dataset_of(workspace, live) / "test.jsonl"
    return list(read_rows(path)) if path.exists() else []


def _dataset_of(workspace: Workspace, live: ModelVersion) -> Path:
    folder = workspace.artifacts.dataset(live.dataset_version)
    if not folder.is_dir():
        raise Conflict(
            f"The dataset {live.dataset_version}, on which {live.name}:{live.version} was measured, is not in the data "
            "folder any more, so nothing can be shown to be as good as what is live.",
            code="live_rows_missing",
            hint="Put its folder back below datasets/, publish under another name, or set gate.not_worse_than to none.",
        )
    return folder
