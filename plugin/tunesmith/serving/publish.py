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


def route(deployment: Deployment, settings: Settings) -> dict[str, Any] | None:
    """Make the proxy answer to the model's name; None when no proxy is configured."""
    return routes.ensure(deployment, settings) if settings.litellm_url else None


def withdraw(name: str, settings: Settings) -> None:
    """Take the model's route out of the proxy. Nothing to do without a proxy or behind a wildcard."""
    if settings.litellm_url:
        routes.remove(name, settings)
