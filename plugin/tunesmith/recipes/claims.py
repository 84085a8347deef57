"""Whether a run may go live under its name: what is not ours is never replaced, what is live only by a publisher."""

from functools import partial

from tunesmith.errors import Conflict, Forbidden, TunesmithError
from tunesmith.recipes import models
from tunesmith.recipes.callers import Caller
from tunesmith.recipes.context import target_for
from tunesmith.recipes.schema import Recipe
from tunesmith.serving import publish
from tunesmith.settings import Settings
from tunesmith.store.workspace import Workspace


def require(workspace: Workspace, recipe: Recipe, *, may_replace: bool) -> None:
    """Both of the following, before any work is done and again before it goes live."""
    require_right(workspace, recipe.model_name, may_replace=may_replace)
    require_free(workspace.settings, recipe)


def require_right(workspace: Workspace, name: str, *, may_replace: bool) -> None:
    """Raises Forbidden when a version of `name` is live and whoever asks may not publish."""
    if not may_replace and models.live_version(workspace, name) is not None:
        raise Forbidden(
            f"A version of {name} is live; replacing it is publishing, for which this key lacks the scope 'publish'.",
            code="name_is_live",
            hint="Publish under another name, or use a key with the scope publish or admin.",
            param="publish.name",
        )


def require_free(settings: Settings, recipe: Recipe) -> None:
    """Raises Conflict when something that is not ours answers to the name, at the target or in the LiteLLM proxy.

    One of them that is away is not asked: it is asked again before the model goes live.
    """
    name, target = recipe.model_name, target_for(settings, recipe.publish.target)
    asked = [partial(publish.foreign, target, name)]
    if recipe.publish.litellm:
        asked.append(partial(publish.foreign_route, target, name, settings))
    for ask in asked:
        try:
            found = ask()
        except TunesmithError:
            continue
        if found:
            raise Conflict(
                found,
                code="foreign_model",
                hint="Choose another publish.name, or take that one away.",
                param="publish.name",
            )


def require_gate(recipe: Recipe, caller: Caller) -> None:
    """Raises Forbidden for a gate that lets a worse model go live, from a caller who may not publish."""
    if recipe.gate.not_worse_than == "none" and not caller.may("publish"):
        raise Forbidden(
            "gate.not_worse_than: none lets a run replace a live model unmeasured against it, as publishing does.",
            hint="Leave it out, or use a key with the scope publish or admin.",
        )
