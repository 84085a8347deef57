"""The stages of a run, in order. Each is one function `run(context) -> outcome`, found by its name."""

from importlib import import_module

from tunesmith.recipes.context import Context

ORDER = ("build", "train", "export", "evaluate", "publish")
HEAVY = frozenset({"train", "export", "evaluate"})  # what another machine may do, in the lane of TUNESMITH_TRAIN_LANE


def run(kind: str, context: Context) -> dict[str, object]:
    """Run a stage. Its module is imported only now: training needs torch, the others do not."""
    if kind not in ORDER:
        raise KeyError(kind)
    outcome: dict[str, object] = import_module(f"tunesmith.recipes.stages.{kind}").run(context)
    return outcome
