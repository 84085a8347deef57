"""The stages of a run, in order. Each is one function `run(context) -> outcome`, found by its name."""

from importlib import import_module
from typing import Literal, get_args

from tunesmith.errors import BadInput
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
    """Run a stage. Its module is imported only now: training needs torch, the others do not."""
    if kind not in ORDER:
        raise KeyError(kind)
    outcome: dict[str, object] = import_module(f"tunesmith.recipes.stages.{kind}").run(context)
    return outcome
