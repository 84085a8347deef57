"""Published versions without a run that made them."""

from tunesmith.recipes import models
from tunesmith.store.workspace import Workspace


def record(workspace: Workspace, release: models.Release) -> None:
    """The version is live in the database. Doing it twice changes nothing."""
    with workspace.database.write() as session:
        models.record(session, release)
