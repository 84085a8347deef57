"""The stages of a run, in order. Each is one function `run(context) -> outcome`, found by its name."""

from importlib import import_module
from typing import Literal, get_args

from tunesmith.errors import BadInput
from tunesmith.recipes import claims
from tunesmith.recipes.context import Context

Stage = Literal["build", "train", "export", "evaluate", "publish"]
ORDER: tuple[Stage, ...] = get_args(Stage)
HEAVY = frozenset({"train", "export", "evaluate"})  # what another machine may do, in the lane of TUNESMITH_TRAIN_LANE


def up_to(last: str) -> tuple[Stage, ...]:
    """The stages of a run that ends with `last`. Raises BadInput."""
    for count, stage in enumerate(ORDER, 1):
        if stage == last:
            return ORDER[:count]
    raise BadInput(f"A run has no stage {last!r}.", hint=f"Stages: {', '.join(ORDER)}.", param="until")


def run(kind: str, context: Context) -> dict[str, object]:
    """Run a stage. Its module is imported only now: training needs torch, the others do not.

    Before the long ones it is asked again whether the model may go live at their end.
    """
    if kind not in ORDER:
        raise KeyError(kind)
    if kind in ("build", "train") and context.publishes:
        claims.require(context.workspace, context.recipe, may_replace=context.run.may_replace)
    outcome: dict[str, object] = import_module(f"tunesmith.recipes.stages.{kind}").run(context)
    return outcome
