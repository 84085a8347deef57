"""`tunesmith serve` and `tunesmith worker`."""

import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import uvicorn

from tunesmith.api.keys import ensure_first_key
from tunesmith.jobs.deliveries import Dispatcher
from tunesmith.jobs.loop import Loop
from tunesmith.jobs.process import exit_when_parent_dies
from tunesmith.jobs.scheduler import Scheduler
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.jobs.worker import Worker
from tunesmith.recipes import leftovers, notices, schedules, webhooks
from tunesmith.settings import get_settings
from tunesmith.store.workspace import Workspace


def serve(host: str | None, port: int | None, *, with_worker: bool) -> None:
    from tunesmith.app import create_app

    settings = get_settings()
    log_to_stderr(settings.log_level)
    workspace = Workspace.open(settings)
    _show_first_key(ensure_first_key(workspace))
    supervisor = Supervisor(worker_command(), settings.home / "worker.log") if with_worker else None
    if supervisor:
        supervisor.start()
    try:
        with loops(workspace):
            uvicorn.run(
                create_app(workspace=workspace),
                host=host or settings.host,
                port=port if port is not None else settings.port,
                log_level=settings.log_level.lower(),
                timeout_graceful_shutdown=5,
            )
    finally:
        if supervisor:
            supervisor.stop()


@contextmanager
def loops(workspace: Workspace) -> Iterator[None]:
    """What the service does by itself beside the API, in one process per data folder: webhooks and schedules."""
    home = workspace.artifacts.home
    dispatcher = Dispatcher(workspace.database, notices.describe, webhooks.allowed_hosts(workspace.settings))
    scheduler = Scheduler(workspace.database, partial(schedules.take_turn, workspace))
    running = [
        Loop("webhooks", dispatcher.step, home / "webhooks.lock"),
        Loop("schedules", scheduler.step, home / "schedules.lock", every_s=1.0),
    ]
    for loop in running:
        loop.start()
    try:
        yield
    finally:
        for loop in running:
            loop.stop()
        dispatcher.close()


def work(lanes: list[str]) -> None:
    """Claim and run jobs until SIGTERM. A worker that a service started ends with it."""
    if not sys.stdin.isatty() and _has_lifeline():
        exit_when_parent_dies()
    settings = get_settings()
    log_to_stderr(settings.log_level)
    workspace = Workspace.open(settings)
    before_end = partial(leftovers.before_end, workspace)
    worker = Worker(workspace.database, workspace.artifacts, stage_command, lanes, before_end=before_end)
    tidying = Loop(
        "tidying", partial(leftovers.step, workspace), workspace.artifacts.home / "tidying.lock", every_s=5.0
    )

    def stop(_signal: int, _frame: FrameType | None) -> None:
        worker.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    tidying.start()
    try:
        worker.run()
    finally:
        tidying.stop(patience=3.0)


def worker_command() -> list[str]:
    return [sys.executable, "-m", "tunesmith.cli", "worker"]


def stage_command(job_id: str) -> list[str]:
    return [sys.executable, "-m", "tunesmith.recipes.stage", job_id]


def _has_lifeline() -> bool:
    """Whether standard input is a pipe, as `jobs.process.spawn` makes it (and not a terminal or /dev/null)."""
    import os
    import stat

    return stat.S_ISFIFO(os.fstat(0).st_mode)


def _show_first_key(secret: str | None) -> None:
    if secret:
        print(f"\n  Your API key, shown this once: {secret}\n", flush=True)


def log_to_stderr(level: str) -> None:
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
