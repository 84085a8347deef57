"""What can be known of a recipe's synthetic sources before any work is done, and what they may cost."""

from typing import Any

from tunesmith.datasets.synthetic.asking import teacher_of
from tunesmith.datasets.synthetic.dialogues import tools_from
from tunesmith.datasets.synthetic.options import LOCAL, SyntheticOptions
from tunesmith.errors import Forbidden
from tunesmith.recipes.schema import Recipe, Source
from tunesmith.settings import Settings


def check(settings: Settings, recipe: Recipe) -> None:
    """Raises BadInput when a teacher is needed and none is configured or named, or a list of tools is none."""
    for source in recipe.sources:
        options = source.synthetic
        if options and _asks_teacher(options):
            teacher_of(settings, options)
        if options and options.like == "tools":
            offered_tools(recipe)


def _asks_teacher(options: SyntheticOptions) -> bool:
    return bool(options.judge or not options.kinds or set(options.kinds) - set(LOCAL))


def within_budget(settings: Settings, recipe: Recipe, *, unlimited: bool) -> Recipe:
    """The recipe as it may be run: sources without a budget of tokens share what TUNESMITH_TEACHER_MAX_TOKENS leaves.

    `unlimited`: whoever asks has the scope admin, and budgets are as they stand. Raises Forbidden when they are larger.
    """
    cap = settings.teacher_max_tokens
    paid = [source.synthetic for source in recipe.sources if source.synthetic and _asks_teacher(source.synthetic)]
    if unlimited or not cap or not paid:
        return recipe
    open_ended = sum(options.budget.tokens is None for options in paid)
    left = cap - sum(options.budget.tokens or 0 for options in paid)
    if left < open_ended:
        raise Forbidden(
            f"The synthetic sources may use {cap - left} tokens of teachers; a key without admin may use {cap}.",
            code="teacher_budget",
            hint="Lower budget.tokens, use a key with the scope admin, or raise TUNESMITH_TEACHER_MAX_TOKENS.",
            param="sources.synthetic.budget.tokens",
        )
    return recipe.model_copy(
        update={"sources": [_limited(source, left // max(1, open_ended)) for source in recipe.sources]}
    )


def _limited(source: Source, tokens: int) -> Source:
    options = source.synthetic
    if options is None or options.budget.tokens is not None or not _asks_teacher(options):
        return source
    budget = options.budget.model_copy(update={"tokens": tokens})
    return source.model_copy(update={"synthetic": options.model_copy(update={"budget": budget})})


def require_budget(settings: Settings, recipe: Recipe, *, unlimited: bool) -> None:
    """Raises Forbidden unless the recipe is `within_budget` as it stands, for a schedule that runs it."""
    if within_budget(settings, recipe, unlimited=unlimited) != recipe:
        raise Forbidden(
            f"The recipe {recipe.name} has synthetic sources without a budget of tokens.",
            code="teacher_budget",
            hint="Save it again with this key, which gives them one, or use a key with the scope admin.",
            param="recipe",
        )


def offered_tools(recipe: Recipe) -> list[dict[str, Any]] | None:
    """The tools that dialogues are written about: the source's, else the task's; None without such a source."""
    for source in recipe.sources:
        if source.synthetic and source.synthetic.like == "tools":
            return tools_from(source.synthetic.tools or recipe.task.tools or [])
    return None
