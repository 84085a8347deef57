"""The worker: claims a job, runs it in a child process, and records how it ended once that process is gone.

It knows nothing of what a job does. `command(job_id)` gives the child's argv; the child leaves `outcome.json` or
`error.json` in the job's folder and says by its exit status how it ended.
"""

import contextlib
import fcntl
import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from tunesmith.errors import DiskFull
from tunesmith.jobs import events, queue
from tunesmith.jobs.process import Child, ProcessId, spawn
from tunesmith.store.artifacts import Artifacts, read_json
from tunesmith.store.database import Database
from tunesmith.store.tables import Job

log = logging.getLogger(__name__)

EXIT_PAUSED = 75  # the child saved what it had and stopped because it was asked to
EXIT_RETRY = 76  # another system was away; the same work may go through later
EXIT_DISK_FULL = 77
PAUSE_GRACE_S = 300.0
RESTART_GRACE_S = 10.0
# For a stage that had no room to write its reason.
_NO_ROOM = DiskFull("The disk is full.", hint="Free some disk space, then resume the run; nothing is lost.").as_dict()


@dataclass
class Worker:
    database: Database
    artifacts: Artifacts
    command: Callable[[str], Sequence[str]]
    lanes: Sequence[str] = ("default",)
    poll_s: float = 0.2
    before_end: Callable[[Job], None] = lambda _job: None  # told of a job that is about to be failed or cancelled
    stopping: bool = field(default=False, init=False)

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Work until `stop()` is called or `until()` is true."""
        with self._only_one():
            if not self.stopping:
                self.recover()
            while not self.stopping and not until():
                job = queue.claim(self.database, self.lanes)
                if job is None:
                    time.sleep(self.poll_s)
                else:
                    self.work(job)

    def stop(self) -> None:
        self.stopping = True

    def recover(self) -> None:
        """Settle what an earlier worker left running: end orphans, keep finished work, put the rest back."""
        for job in queue.running(self.database, self.lanes):
            if job.pid is not None and job.pid_created is not None:
                ProcessId(job.pid, job.pid_created).kill_group()
            if job.wanted == "cancel":
                result = queue.Result("cancelled")
            elif job.wanted == "pause":
                result = queue.Result("paused")
            else:
                result = self._outcome(job) or queue.Result("retry", error=_crashed("the worker was killed"))
            queue.finish(self.database, job.id, result)
            self._say(job, f"Found after a restart: {job.kind} goes on.", "warn")

    def work(self, job: Job) -> None:
        try:
            self.artifacts.require_space()
        except DiskFull as full:
            self._settle(job, queue.Result("paused", error=full.as_dict()))
            return
        folder = self.artifacts.job(job.id)
        (folder / "error.json").unlink(missing_ok=True)
        child = spawn(self.command(job.id), log=folder / "log.txt")
        queue.started(self.database, job.id, child.id.pid, child.id.created)
        self._say(job, f"{job.kind} started.", type="stage", data={"stage": job.kind, "state": "started"})
        self._settle(job, self._result(job, *self._attend(job, child)))

    def _attend(self, job: Job, child: Child) -> tuple[int, str | None]:
        """Wait for the child, and do what is asked of it meanwhile. Returns its exit status and the wish obeyed."""
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(self.poll_s)
                return child.end(), None  # what the child started may still be there
            wish = queue.wanted(self.database, job.id)
            if wish == "cancel":
                return child.end(), "cancel"
            if wish == "pause":
                return child.end(grace=PAUSE_GRACE_S), "pause"
            if self.stopping:
                child.end(grace=RESTART_GRACE_S)
                return EXIT_PAUSED, "restart"

    def _result(self, job: Job, status: int, wish: str | None) -> queue.Result:
        if wish == "cancel":
            return queue.Result("cancelled")
        done = self._outcome(job) if status == 0 else None
        if done is not None:
            return done
        if wish == "restart":
            return queue.Result("retry")
        if status == EXIT_PAUSED or wish == "pause":
            return queue.Result("paused")
        error = self._error(job) or (_NO_ROOM if status == EXIT_DISK_FULL else _crashed(_how(status)))
        if status == EXIT_DISK_FULL:
            return queue.Result("paused", error=error)
        crashed = status < 0 or error["code"] == "crashed"
        return queue.Result("retry" if status == EXIT_RETRY or crashed else "failed", error=error)

    def _settle(self, job: Job, result: queue.Result) -> None:
        if queue.ends_badly(job, result):
            self.before_end(job)
        ended = queue.finish(self.database, job.id, result)
        state = "retrying" if ended.status == "queued" else ended.status
        message = f"{job.kind} {state}."
        if result.error:
            message = f"{job.kind} {state}: {result.error['message']} {result.error.get('hint') or ''}".strip()
        level = {"failed": "error", "retrying": "warn", "paused": "warn"}.get(state, "info")
        self._say(job, message, level, type="stage", data={"stage": job.kind, "state": state, "error": result.error})

    def _outcome(self, job: Job) -> queue.Result | None:
        path = self.artifacts.job(job.id) / "outcome.json"
        return queue.Result("succeeded", outcome=read_json(path)) if path.exists() else None

    def _error(self, job: Job) -> dict[str, Any] | None:
        path = self.artifacts.job(job.id) / "error.json"
        return read_json(path) if path.exists() else None

    def _say(self, job: Job, message: str, level: str = "info", type: str = "message", data: Any = None) -> None:
        log.info("%s %s: %s", job.run_id, job.id, message)
        events.append(self.database, job.run_id, message, job_id=job.id, level=level, type=type, data=data)

    @contextlib.contextmanager
    def _only_one(self) -> Iterator[None]:
        """One worker per data folder and lane on a machine: a second one waits for the first to be gone."""
        path = self.artifacts.home / f"worker-{'-'.join(self.lanes)}.lock"
        with path.open("w") as lock:
            while not self.stopping and not try_lock(lock):
                time.sleep(self.poll_s)
            yield


def try_lock(lock: IO[str]) -> bool:
    """Whether this process now holds the lock file. It is free again when the process is gone."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    lock.write(str(os.getpid()))
    lock.flush()
    return True


def _how(status: int) -> str:
    return f"the process was ended by signal {-status}" if status < 0 else f"the process ended with status {status}"


def _crashed(how: str) -> dict[str, Any]:
    return {
        "code": "crashed",
        "message": f"The stage did not finish: {how}.",
        "hint": "Its log is in log.txt of the job's folder. It is tried again; resume it when it keeps failing.",
        "param": None,
    }
