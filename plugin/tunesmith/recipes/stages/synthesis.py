"""Synthetic rows of a run: its sources, and the model that is to be corrected."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tunesmith.datasets.synthetic.asking import Asker
from tunesmith.datasets.synthetic.drafts import Seeds
from tunesmith.datasets.synthetic.generate import Synthesis
from tunesmith.datasets.synthetic.joining import Synthesise
from tunesmith.datasets.synthetic.options import SyntheticOptions
from tunesmith.datasets.synthetic.report import SyntheticReport
from tunesmith.recipes import models
from tunesmith.recipes.context import Context, target_for
from tunesmith.recipes.stages import baselines
from tunesmith.serving.targets.base import Endpoint, Target
from tunesmith.tasks.base import Task
from tunesmith.tasks.conversation import Row
from tunesmith.training.backends.base import Interrupted
from tunesmith_connectors.distilabel import Request, Teacher


class Sources:
    """The synthetic sources of a run, as `build` takes them, and the preference pairs that they made."""

    def __init__(self, context: Context):
        self._context = context
        self.pairs: list[Row] = []

    def makers(self) -> list[Synthesise]:
        wanted = [s.synthetic for s in self._context.recipe.sources if s.synthetic]
        return [self._maker(number, options) for number, options in enumerate(wanted)]

    def _maker(self, number: int, options: SyntheticOptions) -> Synthesise:
        context = self._context
        folder = context.folder / "synthetic" / str(number)

        def make(seeds: Seeds) -> tuple[list[Row], SyntheticReport]:
            asker = Asker(context.settings, options, folder, context.stop.is_set)
            synthesis = Synthesis(options, asker, seeds, context.say, context.recipe.seed)
            try:
                if "correct" in synthesis.kinds:
                    with _learner(context, seeds.task) as (asker.base, asker.form):
                        made = synthesis.generate()
                else:
                    made = synthesis.generate()
            except InterruptedError as error:
                raise Interrupted("Stopped while rows were generated; answers so far are kept.") from error
            self.pairs += made.pairs
            return made.rows, synthesis.report

        return make


@contextmanager
def _learner(context: Context, task: Task) -> Iterator[tuple[Teacher, Any]]:
    """The live version, or else the base model, held to the task's format as it is when served."""
    version = models.live_version(context.workspace, context.recipe.model_name)
    if version is not None:
        deployment = models.deployment_of(context.workspace, version.deployment)
        target = target_for(context.settings, deployment.target)
    else:
        target = target_for(context.settings, "llamacpp")
        deployment = target.deploy(baselines.base_candidate(context))
    with target.serve(deployment) as endpoint:
        yield _as_teacher(endpoint), lambda request: _body(target, task, request)


def _as_teacher(endpoint: Endpoint) -> Teacher:
    key = endpoint.headers.get("Authorization", "").removeprefix("Bearer ") or "none"
    return Teacher(endpoint.base_url, endpoint.model, key, temperature=0.0)


def _body(target: Target, task: Task, request: Request) -> dict[str, Any]:
    """What the target is sent beside the messages."""
    messages: Any = request.messages
    return target.body({}, task.constraint(messages))


def describe(context: Context, reports: list[SyntheticReport]) -> None:
    for report in reports:
        level = "info" if report.stopped is None else "warn"
        ended = f" It ended because {report.stopped}." if report.stopped else ""
        context.say(report.sentence() + ended, level=level, data={"synthetic": report.model_dump(mode="json")})
