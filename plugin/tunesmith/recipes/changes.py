"""How a change of what answers to a name is made: alone, at the target before our books, and known to be under way.

A change that is killed half-way leaves its name among the unsettled ones. `leftovers.settle` then gives the target
what stands in our books.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from tunesmith.errors import TunesmithError
from tunesmith.recipes.context import target_for
from tunesmith.serving import publish
from tunesmith.serving.targets.base import Deployment
from tunesmith.store import locks
from tunesmith.store.tables import ModelVersion, Run, UnsettledModel
from tunesmith.store.workspace import Workspace


@dataclass(frozen=True)
class Change:
    """What came of a change. `row`: the version that it was about; None when it was removed since. `route`: in the
    LiteLLM proxy. `warnings`: what did not go well after the version was live, each a sentence."""

    row: ModelVersion | None
    route: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def version(self) -> str | None:
        return self.row.version if self.row else None


@contextmanager
def alone(workspace: Workspace, name: str, patience_s: float = 60.0) -> Iterator[None]:
    """Nobody else publishes, rolls back or removes the name meanwhile. Raises Unavailable when somebody does."""
    with locks.held(workspace.database, workspace.artifacts.home, f"model {name}", patience_s):
        yield


def go_live(workspace: Workspace, deployment: Deployment, in_books: Callable[[Session], ModelVersion]) -> ModelVersion:
    """Promote at the target, then let `in_books` write the same down. The caller holds the name."""
    with workspace.database.write() as session:
        session.merge(UnsettledModel(name=deployment.name))
    publish.promote(target_for(workspace.settings, deployment.target), deployment, workspace.settings)
    with workspace.database.write() as session:
        row = in_books(session)
        session.execute(delete(UnsettledModel).where(UnsettledModel.name == deployment.name))
        return row


def routed(workspace: Workspace, row: ModelVersion, deployment: Deployment, warnings: list[str]) -> Change:
    """Route the name to what is live now. A proxy that is away keeps no good model from going live, and no bad one
    live: it becomes a warning."""
    if not _wants_route(workspace, row):
        return Change(row, None, warnings)
    try:
        return Change(row, publish.route(deployment, workspace.settings), warnings)
    except TunesmithError as error:
        said = f"It is live, but its LiteLLM route failed: {error.message} {error.hint or ''}".rstrip()
        again = f"Then publish {row.name} {row.version} again, which only makes the route."
        return Change(row, None, [*warnings, f"{said} {again}"])


def _wants_route(workspace: Workspace, row: ModelVersion) -> bool:
    with workspace.database.read() as session:
        run = session.get(Run, row.run_id)
    return run is None or bool(run.recipe.get("publish", {}).get("litellm", True))
