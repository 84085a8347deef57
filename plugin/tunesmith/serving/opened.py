"""Which routes the publication of a model opens, and how each kind of caller has to ask on its own."""

from collections.abc import Sequence
from typing import Any

from tunesmith.serving import routes
from tunesmith.serving.targets.base import Deployment, Route, Target, shown_url
from tunesmith.settings import Settings
from tunesmith.tasks.base import Task


def opened(
    target: Target, deployment: Deployment, task: Task, settings: Settings, *, proxy: routes.Mode | None
) -> list[Route]:
    """Every route that is open once the model is live, Tunesmith's own first. `proxy`: None opens none there."""
    own = Route(
        routes.OWN,
        "Tunesmith's /v1",
        url=f"{shown_url(routes.own_url(settings))}/v1",
        constrained=True,
        note="Send model, messages and a key of this service: it holds answers to the task's format.",
    )
    further = getattr(target, "routes", None)  # a target from outside may be older than the question
    found = [own, *(further(deployment) if further is not None else [])]
    return [*found, routes.through_proxy(deployment, task, settings, proxy)] if proxy else found


def usage(deployment: Deployment, task: Task, open_routes: Sequence[Route]) -> dict[str, Any]:
    """How to ask on each route, by its name: `url`, `model`, `temperature`, `max_tokens` and the JSON Schema `format`
    with which it was measured; `send`: what of these a caller has to send, the rest is set already; `note`."""
    measured = {route.name: route for route in open_routes}
    return {route.name: _usage(deployment, task, route, measured) for route in open_routes}


def _usage(deployment: Deployment, task: Task, route: Route, known: dict[str, Route]) -> dict[str, Any]:
    as_asked = known[route.same_as] if route.same_as else route
    schema = routes.schema_of(task) if as_asked.constrained else as_asked.parameters.get("format")
    return {
        "label": route.label,
        "url": route.url,
        "model": deployment.name,
        "temperature": 0,
        "max_tokens": deployment.num_predict,
        "format": schema,
        "send": dict(route.send),
        "note": route.note,
    }
