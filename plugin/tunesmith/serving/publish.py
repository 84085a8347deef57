"""Put a version live: at the target, and as a route of the LiteLLM proxy.

Every function can be called again after a kill -9: it finishes what is missing and makes nothing twice.
"""

from typing import Any

from tunesmith.serving import routes
from tunesmith.serving.targets.base import Deployment, Target
from tunesmith.settings import Settings


def promote(target: Target, deployment: Deployment, settings: Settings) -> None:
    """Make the deployment the one that answers to its name."""
    target.promote(deployment)


def foreign(target: Target, name: str) -> str | None:
    """A sentence on what answers to the name at the target and is not ours; None when it is free, or ours."""
    ask = getattr(target, "foreign", None)  # a target from outside may be older than the question
    return ask(name) if ask is not None else None


def foreign_route(target: Target, name: str, settings: Settings) -> str | None:
    """As `foreign`, of the LiteLLM proxy. A wildcard is nobody's."""
    return routes.foreign(name, target.name, settings) if settings.litellm_url else None


def route(deployment: Deployment, settings: Settings) -> dict[str, Any] | None:
    """Make the proxy answer to the model's name; None when no proxy is configured."""
    return routes.ensure(deployment, settings) if settings.litellm_url else None


def withdraw(name: str, settings: Settings) -> None:
    """Take the model's route out of the proxy. Nothing to do without a proxy or behind a wildcard."""
    if settings.litellm_url:
        routes.remove(name, settings)
