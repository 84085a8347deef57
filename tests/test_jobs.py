"""The durable queue and the worker: a slot follows its process, and everything survives kill -9."""

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy.exc import OperationalError

from tunesmith.errors import Conflict
from tunesmith.jobs import events, queue
from tunesmith.jobs.worker import EXIT_DISK_FULL, EXIT_PAUSED, EXIT_RETRY, Worker
from tunesmith.recipes import stage
from tunesmith.settings import Settings
from tunesmith.store.tables import Job
from tunesmith.store.workspace import Workspace

# A stage that counts how often it ran, and leaves its process id so that a test can kill it.
STAGE = """
import json, os, pathlib, signal, subprocess, sys, time
folder = pathlib.Path(sys.argv[1]); mode = sys.argv[2]
with open(folder / "ran", "a") as out: out.write(f"{os.getpid()}\\n")
from tunesmith.jobs.process import exit_when_parent_dies
exit_when_parent_dies()
def succeed(): (folder / "outcome.json").write_text(json.dumps({"runs": len((folder / "ran").read_text().split())}))
if mode == "ok": succeed()
elif mode == "slow":
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    end = time.time() + (60 if len((folder / "ran").read_text().split()) == 1 else 0)
    while time.time() < end and not stop: time.sleep(0.02)
    if stop: sys.exit(75)
    succeed()
elif mode == "orphan":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.DEVNULL)
    (folder / "grandchild").write_text(str(child.pid)); succeed()
else:
    (folder / "error.json").write_text(json.dumps({"code": "x", "message": "no", "hint": None, "param": None}))
    sys.exit(int(mode))
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace.open(Settings(home=tmp_path, min_free_disk_mb=0))
    yield opened
    opened.close()


def add(workspace: Workspace, *kinds: str, run_id: str = "run-1") -> list[Job]:
    with workspace.database.write() as session:
        return queue.enqueue(session, run_id, [queue.Step(kind) for kind in kinds])


def worker_for(workspace: Workspace) -> Worker:
    def command(job_id: str) -> list[str]:
        job = next(job for job in queue.jobs_of(workspace.database, "run-1") if job.id == job_id)
        return [sys.executable, "-c", STAGE, str(workspace.artifacts.job(job_id)), job.kind]

    return Worker(workspace.database, workspace.artifacts, command, poll_s=0.02)


def states(workspace: Workspace) -> list[str]:
    return [job.status for job in queue.jobs_of(workspace.database, "run-1")]


def run_until(workspace: Workspace, done: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    worker_for(workspace).run(until=lambda: done() or time.monotonic() > deadline)
    assert done(), states(workspace)


def wait(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_chain_runs_in_order_and_keeps_outcomes(workspace: Workspace) -> None:
    first, second = add(workspace, "ok", "ok")
    claimed = queue.claim(workspace.database, ["default"])
    assert claimed is not None
    assert claimed.id == first.id
    assert queue.claim(workspace.database, ["default"]) is None, "the second waits for the first"
    queue.finish(workspace.database, first.id, queue.Result("retry"))
    with workspace.database.write() as session:
        session.merge(first).not_before = 0
    run_until(workspace, lambda: states(workspace) == ["succeeded", "succeeded"])
    assert queue.jobs_of(workspace.database, "run-1")[1].outcome == {"runs": 1}
    assert second.position == 1


def test_failure_holds_the_rest_and_resume_goes_on(workspace: Workspace) -> None:
    add(workspace, "1", "ok")
    run_until(workspace, lambda: states(workspace)[0] == "failed")
    assert states(workspace) == ["failed", "queued"]
    assert queue.status_of(queue.jobs_of(workspace.database, "run-1")) == "failed"
    with workspace.database.write() as session:
        job = session.get(Job, queue.jobs_of(workspace.database, "run-1")[0].id)
        assert job is not None
        job.kind = "ok"
    queue.resume(workspace.database, "run-1")
    run_until(workspace, lambda: states(workspace) == ["succeeded", "succeeded"])


def test_retry_waits_and_gives_up(workspace: Workspace) -> None:
    (job,) = add(workspace, str(EXIT_RETRY))
    run_until(
        workspace,
        lambda: queue.jobs_of(workspace.database, "run-1")[0].attempts == 1 and states(workspace) == ["queued"],
    )
    waiting = queue.jobs_of(workspace.database, "run-1")[0]
    assert waiting.not_before > time.time()
    for _ in range(queue.MAX_ATTEMPTS - 1):
        with workspace.database.write() as session:
            session.merge(waiting).not_before = 0
        claimed = queue.claim(workspace.database, ["default"])
        assert claimed is not None
        waiting = queue.finish(workspace.database, job.id, queue.Result("retry"))
    assert waiting.status == "failed"


def test_full_disk_pauses_with_the_reason(workspace: Workspace) -> None:
    add(workspace, str(EXIT_DISK_FULL))
    run_until(workspace, lambda: states(workspace) == ["paused"])
    assert queue.jobs_of(workspace.database, "run-1")[0].error is not None


def test_a_disk_too_full_for_the_reason_is_still_told(workspace: Workspace) -> None:
    (job,) = add(workspace, str(EXIT_DISK_FULL))
    result = worker_for(workspace)._result(job, EXIT_DISK_FULL, None)
    assert result.status == "paused"
    assert result.error is not None
    assert result.error["code"] == "disk_full"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full")),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file data.pkl"),
    ],
)
def test_a_stage_on_a_full_disk_pauses_whoever_says_so(tmp_path: Path, error: Exception) -> None:
    """SQLite, safetensors and PyTorch raise no OSError: such a run failed, or was started again and again."""
    assert stage._leave(tmp_path, error) == EXIT_DISK_FULL
    assert json.loads((tmp_path / "error.json").read_text())["code"] == "disk_full"


def test_too_little_disk_pauses_before_the_stage_starts(workspace: Workspace) -> None:
    (job,) = add(workspace, "ok")
    workspace.artifacts.min_free_bytes = 2**60
    run_until(workspace, lambda: states(workspace) == ["paused"])
    error = queue.jobs_of(workspace.database, "run-1")[0].error
    assert error is not None
    assert error["code"] == "disk_full"
    assert not (workspace.artifacts.job(job.id) / "ran").exists()
    workspace.artifacts.min_free_bytes = 0
    queue.resume(workspace.database, "run-1")
    run_until(workspace, lambda: states(workspace) == ["succeeded"])


def test_pause_saves_and_resume_finishes(workspace: Workspace) -> None:
    (job,) = add(workspace, "slow")
    ran = workspace.artifacts.job(job.id) / "ran"

    def pause_once_started() -> None:
        wait(lambda: ran.exists() and queue.jobs_of(workspace.database, "run-1")[0].pid is not None)
        time.sleep(0.5)  # the stage installs its signal handler
        queue.pause(workspace.database, "run-1")

    threading.Thread(target=pause_once_started).start()
    run_until(workspace, lambda: states(workspace) == ["paused"])
    queue.resume(workspace.database, "run-1")
    run_until(workspace, lambda: states(workspace) == ["succeeded"])
    assert len(ran.read_text().split()) == 2


def test_cancel_frees_the_slot_only_when_the_group_is_gone(workspace: Workspace) -> None:
    (job, after) = add(workspace, "slow", "ok")
    ran = workspace.artifacts.job(job.id) / "ran"

    def cancel_once_started() -> None:
        wait(lambda: ran.exists() and queue.jobs_of(workspace.database, "run-1")[0].pid is not None)
        queue.cancel(workspace.database, "run-1")

    threading.Thread(target=cancel_once_started).start()
    run_until(workspace, lambda: states(workspace) == ["cancelled", "cancelled"])
    assert not psutil.pid_exists(int(ran.read_text()))
    with pytest.raises(Conflict, match="already cancelled"):
        queue.cancel(workspace.database, "run-1")
    assert after.status == "queued"


def test_what_a_stage_started_does_not_outlive_it(workspace: Workspace) -> None:
    (job,) = add(workspace, "orphan")
    run_until(workspace, lambda: states(workspace) == ["succeeded"])
    pid = int((workspace.artifacts.job(job.id) / "grandchild").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_killed_stage_is_done_again(workspace: Workspace) -> None:
    (job,) = add(workspace, "slow")
    ran = workspace.artifacts.job(job.id) / "ran"

    def kill_once_started() -> None:
        wait(lambda: ran.exists() and bool(ran.read_text().strip()))
        os.kill(int(ran.read_text().split()[0]), signal.SIGKILL)

    threading.Thread(target=kill_once_started).start()
    run_until(workspace, lambda: states(workspace) == ["succeeded"])
    assert len(ran.read_text().split()) == 2


WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_jobs import worker_for
from tunesmith.recipes import stage
from tunesmith.settings import Settings
from tunesmith.store.workspace import Workspace
worker_for(Workspace.open(Settings(home=Path({home!r}), min_free_disk_mb=0))).run()
"""


def test_killed_worker_takes_its_stage_along_and_the_next_one_finishes_once(workspace: Workspace) -> None:
    (job,) = add(workspace, "slow")
    ran = workspace.artifacts.job(job.id) / "ran"
    code = WORKER.format(tests=str(Path(__file__).parent), home=str(workspace.artifacts.home))
    process = subprocess.Popen([sys.executable, "-c", code])
    wait(lambda: ran.exists() and bool(ran.read_text().strip()))
    time.sleep(0.5)
    process.kill()
    process.wait()
    stage = int(ran.read_text().split()[0])
    wait(lambda: not psutil.pid_exists(stage))
    assert states(workspace) == ["running"]
    run_until(workspace, lambda: states(workspace) == ["succeeded"])
    assert len(ran.read_text().split()) == 2


def test_work_that_was_finished_before_the_crash_is_not_done_again(workspace: Workspace) -> None:
    (job,) = add(workspace, "ok")
    claimed = queue.claim(workspace.database, ["default"])
    assert claimed is not None
    (workspace.artifacts.job(job.id) / "outcome.json").write_text(json.dumps({"runs": 7}))
    run_until(workspace, lambda: states(workspace) == ["succeeded"])
    assert queue.jobs_of(workspace.database, "run-1")[0].outcome == {"runs": 7}


def test_two_workers_never_take_the_same_job(workspace: Workspace) -> None:
    for number in range(20):
        add(workspace, "ok", run_id=f"run-{number}")
    taken: list[str] = []

    def take() -> None:
        while (job := queue.claim(workspace.database, ["default"])) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 20


def test_events_are_followed_to_the_end(workspace: Workspace) -> None:
    for number in range(3):
        events.append(workspace.database, "run-1", f"message {number}")
    seen = [e.message for e in events.follow(workspace.database, "run-1", lambda: True) if e is not None]
    assert seen == ["message 0", "message 1", "message 2"]
    assert [e.message for e in events.read(workspace.database, "run-1", newest_first=True, limit=1)] == ["message 2"]


def test_exit_statuses_are_distinct() -> None:
    assert len({EXIT_PAUSED, EXIT_RETRY, EXIT_DISK_FULL, 0, 1}) == 5
