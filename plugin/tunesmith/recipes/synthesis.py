"""What can be known of a recipe's synthetic sources before any work is done."""

from typing import Any

from tunesmith.datasets.synthetic.asking import teacher_of
from tunesmith.datasets.synthetic.dialogues import tools_from
from tunesmith.datasets.synthetic.options import LOCAL
from tunesmith.recipes.schema import Recipe
from tunesmith.settings import Settings


def check(settings: Settings, recipe: Recipe) -> None:
    """Raises BadInput when a teacher is needed and none is configured or named, or a list of tools is none."""
    for source in recipe.sources:
        options = source.synthetic
        if options and (options.judge or not options.kinds or set(options.kinds) - set(LOCAL)):
            teacher_of(settings, options)
        if options and options.like == "tools":
            offered_tools(recipe)


def offered_tools(recipe: Recipe) -> list[dict[str, Any]] | None:
    """The tools that dialogues are written about: the source's, else the task's; None without such a source."""
    for source in recipe.sources:
        if source.synthetic and source.synthetic.like == "tools":
            return tools_from(source.synthetic.tools or recipe.task.tools or [])
    return None
