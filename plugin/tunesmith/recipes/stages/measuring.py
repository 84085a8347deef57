"""A deployment measured on every route by which it is asked.

Answers are kept in the cache, by what was asked of which weights on which route: a live version is asked the same rows
once, however many candidates are held to it, and a stage that was stopped asks what is left.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from tunesmith import __version__
from tunesmith.evaluation.answers import Answered, Examination, figures
from tunesmith.evaluation.metrics import Metrics
from tunesmith.recipes.context import Context
from tunesmith.serving import opened
from tunesmith.serving.hf_folder import control_tokens_of
from tunesmith.serving.routes import Mode
from tunesmith.serving.targets.base import Deployment, Endpoint, Route, Target
from tunesmith.store.files import read_json, write_json
from tunesmith.tasks.base import Score, Task
from tunesmith.tasks.control import neutral_rows
from tunesmith.tasks.conversation import Row, row_to_json
from tunesmith.tasks.tool_use import as_trained

AT_ONCE = 16  # answers that a stop, or a server that fails, may lose


@dataclass
class Measured:
    """A deployment with the task that it is served for. `who`: names its figures and files."""

    context: Context
    target: Target
    deployment: Deployment
    endpoint: Endpoint
    task: Task
    routes: Sequence[Route]
    who: str

    @classmethod
    def opened(
        cls,
        context: Context,
        who: str,
        target: Target,
        deployment: Deployment,
        endpoint: Endpoint,
        task: Task,
        proxy: Mode | None,
    ) -> Self:
        """On all routes that are open once it is live."""
        found = opened.opened(target, deployment, task, context.settings, proxy=proxy)
        return cls(context, target, deployment, endpoint, as_trained(task, endpoint.tool_form), found, who)

    def on(self, rows: Sequence[Row], asked_for: Task, where: str = "") -> dict[str, Metrics]:
        """Figures by the name of the route; none without rows. `asked_for`: the task that the rows are examples of;
        `where`: what the rows are called."""
        found: dict[str, Metrics] = {}
        if not rows:
            return found
        rows = neutral_rows(rows, control_tokens_of(Path(self.deployment.hf_dir)))  # those of its own base
        for route in self.routes:
            if route.same_as is None:
                name = "-".join(part for part in (self.who, where, "" if route.constrained else route.name) if part)
                found[route.name] = self._figures(route, rows, asked_for, name)
        for route in self.routes:
            if route.same_as is not None:
                found[route.name] = found[route.same_as]
        return found

    def _figures(self, route: Route, rows: Sequence[Row], asked_for: Task, name: str) -> Metrics:
        known = self._answers(route, rows, name)
        answered, seconds = [], 0.0
        for row in rows:
            answer, taken = known[_key(row)]
            answered.append(Answered(row.answer, answer, self._score(answer, row, asked_for), row.provenance))
            seconds += taken
        return figures(answered, self.context.folder / f"{name}.jsonl", seconds)

    def _score(self, answer: str, row: Row, asked_for: Task) -> Score:
        """By the task of the row; only what is well-formed is for the task to say that the model is served for: one
        with a further field is not wrong for giving it."""
        asked_for = as_trained(asked_for, self.endpoint.tool_form)
        score = asked_for.score(answer, row.answer, row.prompt)
        if asked_for.spec == self.task.spec:
            return score
        return replace(score, format_ok=self.task.score(answer, row.answer, row.prompt).format_ok)

    def _answers(self, route: Route, rows: Sequence[Row], name: str) -> dict[str, tuple[str, float]]:
        """Row → its answer and the seconds that it took, asked now or before."""
        place = self._place(route)
        known: dict[str, tuple[str, float]] = read_json(place) if place.exists() else {}
        left = list({_key(row): row for row in rows if _key(row) not in known}.values())
        if len(left) < len(rows):
            self.context.say(f"{name}: {len(rows) - len(left)} of {len(rows)} rows were answered before.")
        examination = Examination(
            self.target,
            self.endpoint,
            self.task,
            constrained=route.constrained,
            route=route,
            most_tokens=self.deployment.num_predict,
        )
        for start in range(0, len(left), AT_ONCE):
            asked, begun = left[start : start + AT_ONCE], time.monotonic()
            answered = examination.run(asked)
            self.context.say(f"{name}: {start + len(asked)} of {len(left)} answers.")
            each = (time.monotonic() - begun) / len(asked)
            known |= {_key(row): (item.answer, each) for row, item in zip(asked, answered, strict=True)}
            write_json(place, known)
        return known

    def _place(self, route: Route) -> Path:
        """Where answers are kept: equal only for the same weights, set up alike, at the same server, asked alike."""
        deployment, task = self.deployment, self.task
        held_to = [task.name, task.spec] if route.constrained else None
        set_up = [deployment.digest, deployment.num_ctx, deployment.num_predict]
        asked: list[Any] = [__version__, self.target.name, self.target.check().detail, set_up, held_to]
        asked += [route.api, dict(route.parameters)]
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:24]
        return self.context.workspace.artifacts.cache("answers", f"{digest}.json")


def by_route(
    found: Sequence[Route], tuned: Mapping[str, Metrics], live: Mapping[str, Metrics]
) -> dict[str, dict[str, Any]]:
    """As a report shows it: by route its `label`, `same_as`, and the figures of the candidate and of the live version
    (None where that one cannot be asked so)."""
    return {
        route.name: {
            "label": route.label,
            "same_as": route.same_as,
            "tuned": tuned[route.name].as_dict(),
            "live": live[route.name].as_dict() if route.name in live else None,
        }
        for route in found
        if route.name in tuned
    }


def _key(row: Row) -> str:
    return hashlib.sha256(row_to_json(Row(row.messages)).encode()).hexdigest()[:24]
