"""evaluate: put the candidate up, prove parity, and measure it as it will be served, on every route by which it will
be asked, beside what it would replace."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.errors import Conflict, TunesmithError
from tunesmith.evaluation import forgetting, gate
from tunesmith.evaluation.forgetting import Forgetting
from tunesmith.evaluation.metrics import Metrics
from tunesmith.recipes import models
from tunesmith.recipes.context import Context
from tunesmith.recipes.stages import against_live, baselines
from tunesmith.recipes.stages.against_live import Live
from tunesmith.recipes.stages.measuring import Measured, by_route
from tunesmith.recipes.stages.shared import candidate, choice, rows_of
from tunesmith.serving import routes
from tunesmith.serving.targets.base import Endpoint, Route, Target
from tunesmith.tasks.base import Task
from tunesmith.tasks.conversation import Row

CLOSE = 0.03  # what a route may have less of the fields than our own before it is said as a warning


def run(context: Context) -> dict[str, Any]:
    task, target = context.task(), context.target()
    rows, in_sample = _questions(context)
    replaces = models.live_version(context.workspace, context.recipe.model_name)
    live = _live(context, task)
    deployment = target.deploy(candidate(context))
    target.parity(deployment).require()
    context.say("Parity proven: the served model sees the tokens that training used.")

    proxy = _proxy(context)
    with target.serve(deployment) as endpoint:
        tuned = Measured.opened(context, "tuned", target, deployment, endpoint, task, proxy)
        figures = tuned.on(rows, task)
        there = tuned.on(live.rows, live.task, "live_rows") if live else {}
        lost = _forgetting(context, target, endpoint)
    beside = against_live.measure(context, live, proxy, rows, task) if live else None
    verdict = gate.judge(
        figures,
        format_adherence=_adherence_rule(context, task),
        field_accuracy=context.recipe.gate.field_accuracy,
        live=beside.on_rows if beside else None,
        on_live_rows=(there, beside.on_its_own) if beside else None,
        held_out=not in_sample,
    )
    measured: dict[str, Any] = {"tuned": figures[routes.OWN].as_dict()}
    if beside:
        measured["live"] = beside.on_rows[routes.OWN].as_dict()
    if context.recipe.evaluation.baselines:
        measured = {**baselines.measure(context, task, rows), **measured}
    _say_gaps(context, tuned.routes, figures)
    for check in verdict.checks:
        context.say(check.sentence(), level="info" if check.passed else "warn")
    return {
        "deployment": deployment.as_dict(),
        "replaces": replaces.version if replaces else None,
        "rows": len(rows),
        "in_sample": in_sample,
        "measured": measured,
        "routes": by_route(tuned.routes, figures, beside.on_rows if beside else {}),
        "live_rows": live.report(by_route(tuned.routes, there, beside.on_its_own)) if live and beside else None,
        "forgetting": lost.as_dict() if lost else None,
        "gate": verdict.as_dict(),
    }


def _live(context: Context, task: Task) -> Live | None:
    """What the candidate is held to. A run that publishes nothing is measured in any case."""
    try:
        return against_live.find(context, task)
    except Conflict as error:
        if context.publishes:
            raise
        context.say(f"It is not held to the live version: {error.message}", level="warn")
        return None


def _questions(context: Context) -> tuple[list[Row], bool]:
    """Held-out rows (a fixed choice of them when there are many); training rows when the dataset is too small."""
    rows = rows_of(context, "test")
    in_sample = not rows
    if in_sample:
        rows = rows_of(context, "train")[:8]
        context.say("Too few rows to hold any out: the figures are of rows that were trained on.", level="warn")
    return choice(context, rows), in_sample


def _proxy(context: Context) -> routes.Mode | None:
    """How a LiteLLM proxy will route the model. One that is away is taken for one with a database: a wildcard adds
    nothing to what is measured anyway."""
    if not context.recipe.publish.litellm:
        return None
    try:
        return routes.mode(context.settings)
    except TunesmithError as error:
        context.say(f"{error.message} The route is measured as if it was registered.", level="warn")
        return "database"


def _forgetting(context: Context, target: Target, endpoint: Endpoint) -> Forgetting | None:
    """On the general rows that the dataset keeps for it; None when it keeps none."""
    rows = rows_of(context, "general_test")[: context.recipe.evaluation.rows]
    if not rows:
        return None
    tuned = forgetting.answers(target, endpoint, rows, context.folder / "tuned_general.jsonl", context.say)
    found = forgetting.compare(baselines.general(context, rows), tuned)
    context.say(found.sentence())
    return found


def _adherence_rule(context: Context, task: Task) -> float | None:
    """The default rule is about formats; a task without one (chat) is held to it only when the recipe says so."""
    rule = context.recipe.gate
    chosen = "format_adherence" in rule.model_fields_set
    return rule.format_adherence if chosen or task.has_format else None


def _say_gaps(context: Context, open_routes: Sequence[Route], figures: Mapping[str, Metrics]) -> None:
    own = figures[routes.OWN]
    for route in open_routes:
        if route.same_as is None and route.name != routes.OWN:
            there = figures[route.name]
            context.say(
                f"{route.label}: {there.field_accuracy:.1%} right and {there.format_adherence:.1%} in format, "
                f"by Tunesmith's /v1 {own.field_accuracy:.1%} and {own.format_adherence:.1%}.",
                level="warn" if own.field_accuracy - there.field_accuracy > CLOSE else "info",
            )
