"""Lanes and machines: no worker touches what another one runs, and what a dead one left is done once."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from test_jobs import add, states, wait, worker_for
from tunesmith.jobs import queue
from tunesmith.jobs.locks import LaneLocks
from tunesmith.jobs.ownership import PATIENCE, Pulse, Silence
from tunesmith.jobs.worker import Worker
from tunesmith.store.database import Database
from tunesmith.store.tables import Job
from tunesmith.store.workspace import Workspace

WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_jobs import worker_for
from tunesmith.jobs import queue
from tunesmith.settings import Settings
from tunesmith.store.database import Database
from tunesmith.store.workspace import Workspace
if {machine!r}:
    queue.this_machine = lambda: {machine!r}
    Database.on_this_machine = False
worker = worker_for(Workspace.open(Settings(home=Path({home!r}), min_free_disk_mb=0)))
worker.lanes, worker.beat_s = {lanes!r}, 0.05
worker.run()
"""


@contextmanager
def started(workspace: Workspace, *lanes: str, machine: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """A worker in a process of its own."""
    home, tests = str(workspace.artifacts.home), str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER.format(tests=tests, home=home, lanes=lanes, machine=machine)]
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with Postgres: workers of other machines are at the same queue."""
    monkeypatch.setattr(Database, "on_this_machine", False)


def ran(workspace: Workspace, job: Job) -> list[int]:
    """The process ids under which a job's stage ran."""
    path = workspace.artifacts.job(job.id) / "ran"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def change(workspace: Workspace, job: Job, **values: object) -> None:
    with workspace.database.write() as session:
        row = session.get_one(Job, job.id)
        for name, value in values.items():
            setattr(row, name, value)


def stored(workspace: Workspace, job: Job) -> Job:
    with workspace.database.read() as session:
        return session.get_one(Job, job.id)


def claimed(workspace: Workspace, *kinds: str) -> Job:
    add(workspace, *kinds)
    job = queue.claim(workspace.database, ["default"])
    assert job is not None
    return job


def run_worker(workspace: Workspace, worker: Worker, done: Callable[[], bool]) -> None:
    worker.run(until=done)
    assert done(), states(workspace)


# -- lanes of one machine ----------------------------------------------------------------------------------------------


def test_a_worker_of_two_lanes_leaves_the_stage_of_the_service_alone(workspace: Workspace) -> None:
    """`tunesmith worker --lane default --lane gpu` beside `serve` had a lock of its own, and killed what ran."""
    (slow,) = add(workspace, "slow")
    with workspace.database.write() as session:
        (quick,) = queue.enqueue(session, "run-1", [queue.Step("ok", "gpu")])
    with started(workspace, "default") as service:
        wait(lambda: stored(workspace, slow).pid is not None and bool(ran(workspace, slow)))
        with started(workspace, "default", "gpu"):
            wait(lambda: stored(workspace, quick).status == "succeeded")
            assert stored(workspace, slow).status == "running"
            assert psutil.pid_exists(ran(workspace, slow)[0])
            service.kill()
            service.wait()
            wait(lambda: stored(workspace, slow).status == "succeeded")
    assert len(ran(workspace, slow)) == 2, "the lane was taken over when its worker was gone"
    assert len(ran(workspace, quick)) == 1


def test_each_lane_has_one_lock_whatever_it_is_called(tmp_path: Path) -> None:
    names = ["default", "../gpu", "default", "gpu box"]
    with LaneLocks(tmp_path, names, per_machine=False) as one, LaneLocks(tmp_path, names, per_machine=False) as other:
        assert one.take() == ["default", "../gpu", "gpu box"]
        assert one.take() == []
        assert other.take() == []
        one.__exit__(None, None, None)
        assert other.take() == ["default", "../gpu", "gpu box"]
    assert all(path.parent == tmp_path and path.suffix == ".lock" for path in tmp_path.iterdir())


def test_a_shared_folder_has_a_lock_for_each_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LaneLocks(tmp_path, ["gpu"], per_machine=True) as one:
        monkeypatch.setattr("socket.gethostname", lambda: "other")
        with LaneLocks(tmp_path, ["gpu"], per_machine=True) as other:
            assert one.take() == other.take() == ["gpu"]


# -- whose a job is --------------------------------------------------------------------------------------------------


def test_only_the_attempt_that_runs_may_end_a_job(workspace: Workspace) -> None:
    job = claimed(workspace, "ok")
    assert job.host == queue.this_machine()
    change(workspace, job, ticket="ticket-other")
    assert not queue.started(workspace.database, job, os.getpid(), 1.0)
    assert not queue.beat(workspace.database, job)
    assert queue.wanted(workspace.database, job) == "lost"
    with pytest.raises(queue.NotOurs):
        queue.finish(workspace.database, job.id, queue.Result("failed"), ticket=job.ticket)
    assert stored(workspace, job).status == "running"
    queue.finish(workspace.database, job.id, queue.Result("succeeded"), ticket="ticket-other")
    with pytest.raises(queue.NotOurs):
        queue.finish(workspace.database, job.id, queue.Result("failed"))
    ended = stored(workspace, job)
    assert (ended.status, ended.host, ended.ticket, ended.pid) == ("succeeded", None, None, None)


def test_a_claim_whose_answer_was_lost_is_not_made_twice(workspace: Workspace) -> None:
    add(workspace, "ok")
    add(workspace, "ok", run_id="run-2")
    first = queue.claim(workspace.database, ["default"], "ticket-1")
    again = queue.claim(workspace.database, ["default"], "ticket-1")
    assert first is not None
    assert again is not None
    assert (again.id, again.attempts) == (first.id, 1)


def test_a_worker_whose_job_was_given_away_ends_its_process_and_changes_nothing(workspace: Workspace) -> None:
    """A machine that slept for too long: when it wakes, its stage must not go on beside the new one."""
    (job,) = add(workspace, "slow")
    with started(workspace, "default"):
        wait(lambda: stored(workspace, job).pid is not None and bool(ran(workspace, job)))
        (pid,) = ran(workspace, job)
        change(workspace, job, ticket="ticket-other", host="other/1", pid=1, pid_created=1.0)
        wait(lambda: not psutil.pid_exists(pid))
        wait(lambda: queue.claim(workspace.database, ["default"]) is None)
    now = stored(workspace, job)
    assert (now.status, now.ticket, now.host, now.pid) == ("running", "ticket-other", "other/1", 1)


def test_stopping_the_service_uses_up_no_attempt(workspace: Workspace) -> None:
    """Five restarts during a long training failed it."""
    for _ in range(queue.MAX_ATTEMPTS + 1):
        job = claimed(workspace, "ok") if not states(workspace) else queue.claim(workspace.database, ["default"])
        assert job is not None
        queue.finish(workspace.database, job.id, queue.Result("restart"), ticket=job.ticket)
        assert states(workspace) == ["queued"]


# -- other machines --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shared")
def test_what_another_machine_runs_is_not_touched_at_a_start(workspace: Workspace) -> None:
    job = claimed(workspace, "ok")
    mine = psutil.Process()
    change(workspace, job, host="other/1", pid=mine.pid, pid_created=mine.create_time())  # a process number of there
    worker_for(workspace).recover(["default"])
    assert stored(workspace, job).status == "running"


def test_a_machine_that_gives_signs_of_life_is_not_given_up() -> None:
    silence = Silence()
    for n in range(5 * PATIENCE):
        assert silence.look([Job(id="job-1", ticket="t", beat_at=float(n // PATIENCE))]) == []


def test_a_machine_that_is_silent_is_given_up_after_some_looks() -> None:
    silence = Silence()
    looks = [silence.look([Job(id="job-1", ticket="t", beat_at=7.0)]) for _ in range(PATIENCE + 1)]
    assert [len(found) for found in looks] == [0] * PATIENCE + [1]
    assert silence.look([Job(id="job-1", ticket="t2", beat_at=7.0)]) == [], "another attempt is looked at anew"


def test_a_running_job_has_a_pulse(workspace: Workspace) -> None:
    job = claimed(workspace, "ok")
    with Pulse(workspace.database, job, 0.01):
        wait(lambda: (stored(workspace, job).beat_at or 0) > (job.beat_at or 0))


@pytest.mark.usefixtures("shared")
def test_kill_9_of_a_worker_on_another_machine_and_the_job_is_done_here(workspace: Workspace) -> None:
    (job,) = add(workspace, "slow")
    with started(workspace, "default", machine="other/1") as other:
        wait(lambda: stored(workspace, job).pid is not None and bool(ran(workspace, job)))
        assert stored(workspace, job).host == "other/1"
        other.kill()
        other.wait()
    worker = worker_for(workspace)
    worker.beat_s = 0.02
    run_worker(workspace, worker, lambda: states(workspace) == ["succeeded"])
    assert len(ran(workspace, job)) == 2


@pytest.mark.usefixtures("shared")
def test_a_silent_machine_on_a_lane_that_nobody_else_serves_may_sleep_but_obeys(workspace: Workspace) -> None:
    """A GPU box that sleeps goes on when it wakes; what is cancelled meanwhile is cancelled."""
    job = claimed(workspace, "ok", "ok")
    change(workspace, job, host="gpu-box/1", lane="gpu")
    silence, worker = Silence(), worker_for(workspace)
    for _ in range(PATIENCE + 2):
        worker._take_over(silence, ["default"])
    assert stored(workspace, job).status == "running"
    queue.cancel(workspace.database, "run-1")
    for _ in range(PATIENCE + 2):
        worker._take_over(silence, ["default"])
    assert states(workspace) == ["cancelled", "cancelled"]


def test_what_an_earlier_version_left_running_is_found(workspace: Workspace) -> None:
    """It wrote neither machine nor ticket."""
    job = claimed(workspace, "ok")
    change(workspace, job, host=None, ticket=None, beat_at=None, attempts=1)
    worker = worker_for(workspace)
    worker.beat_s = 0.02
    run_worker(workspace, worker, lambda: states(workspace) == ["queued"])
    change(workspace, job, not_before=0.0)
    run_worker(workspace, worker, lambda: states(workspace) == ["succeeded"])
