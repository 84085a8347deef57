"""The child process of one job: `python -m tunesmith.recipes.stage <job id>`.

Leaves `outcome.json` or `error.json` in the job's folder; its exit status says which, see `jobs.worker`.
"""

import signal
import sys
import threading
from pathlib import Path
from typing import Any

from tunesmith.errors import NotFound, TunesmithError, Unavailable, as_disk_full
from tunesmith.jobs.process import exit_when_parent_dies
from tunesmith.jobs.worker import EXIT_DISK_FULL, EXIT_PAUSED, EXIT_RETRY
from tunesmith.recipes import stages
from tunesmith.recipes.context import Context
from tunesmith.store.files import write_json
from tunesmith.store.logs import log_to_stderr, print_trace
from tunesmith.store.retry import PATIENCE_S, is_transient, retried
from tunesmith.store.tables import Job, Run
from tunesmith.store.workspace import Workspace
from tunesmith.training.backends.base import Interrupted
from tunesmith_connectors.addresses import without_userinfo


def main(job_id: str) -> int:
    exit_when_parent_dies()
    log_to_stderr("info")
    workspace = retried(Workspace.open)
    workspace.database.patience_s = PATIENCE_S
    folder = workspace.artifacts.job(job_id)
    context = retried(lambda: load(workspace, job_id))
    _stop_on_signal(context.stop)
    try:
        if not (folder / "outcome.json").exists():
            write_json(folder / "outcome.json", stages.run(context.job.kind, context))
    except Exception as error:
        return _leave(folder, error)
    return 0


def load(workspace: Workspace, job_id: str) -> Context:
    with workspace.database.read() as session:
        job = session.get(Job, job_id)
        run = session.get(Run, job.run_id) if job else None
    if job is None or run is None:
        raise NotFound(f"There is no job {job_id!r}.")
    return Context(workspace, run, job)


def _stop_on_signal(stop: threading.Event) -> None:
    signal.signal(signal.SIGTERM, lambda *_: stop.set())


def _leave(folder: Path, error: Exception) -> int:
    """Write what went wrong, in words for the user, and choose the exit status."""
    if isinstance(error, Interrupted):
        return EXIT_PAUSED
    print_trace(error)
    status = 1
    if full := as_disk_full(error):
        error, status = full, EXIT_DISK_FULL
    elif is_transient(error):
        error, status = _away(error), EXIT_RETRY
    elif isinstance(error, Unavailable) and error.retryable:
        status = EXIT_RETRY
    try:
        write_json(folder / "error.json", _as_dict(error))
    except OSError as unwritten:
        print_trace(unwritten)  # on a full disk there may be no room for the reason either
    return status


def _away(error: Exception) -> Unavailable:
    if isinstance(error, ConnectionError):  # of whatever the stage spoke to
        return Unavailable(f"A connection was lost: {error}", code="connection_lost", hint="The stage is tried again.")
    return Unavailable(
        f"The database was busy or away: {str(error).splitlines()[0]}",
        code="database_away",
        hint="The stage is tried again. Resume the run once the database answers.",
    )


def _as_dict(error: Exception) -> dict[str, Any]:
    if isinstance(error, TunesmithError):
        return error.as_dict()
    return {
        "code": "stage_failed",
        "message": without_userinfo(f"{type(error).__name__}: {error}"),
        "hint": "The whole trace is in log.txt of the job's folder. Resume the run once the cause is mended.",
        "param": None,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
