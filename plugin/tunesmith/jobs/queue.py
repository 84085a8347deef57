"""The durable queue: a table, claimed one job at a time.

queued → running → succeeded
                 → failed     (resume puts it back; jobs after it wait)
                 → paused     (asked for, or the disk is full; resume puts it back)
any of queued, running, paused → cancelled
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, aliased

from tunesmith.errors import Conflict, NotFound
from tunesmith.jobs import events, outbox
from tunesmith.store.artifacts import new_id
from tunesmith.store.database import Database
from tunesmith.store.tables import Job

ENDED = frozenset({"succeeded", "failed", "cancelled"})
MAX_ATTEMPTS = 5
BACKOFF_S = (2.0, 10.0, 30.0, 60.0)


@dataclass
class Step:
    """A job to come: what it is called and which lane may run it."""

    kind: str
    lane: str = "default"


@dataclass
class Result:
    """How an attempt ended. `status`: succeeded, failed, paused, cancelled, or retry."""

    status: str
    outcome: dict[str, Any] | None = None
    error: dict[str, Any] | None = field(default=None)


def enqueue(session: Session, run_id: str, steps: Sequence[Step]) -> list[Job]:
    """Add a chain of jobs: each may start when the one before it has succeeded."""
    jobs: list[Job] = []
    for position, step in enumerate(steps):
        after = jobs[-1].id if jobs else None
        job = Job(id=new_id("job"), run_id=run_id, kind=step.kind, lane=step.lane, position=position, after=after)
        session.add(job)
        session.flush()
        jobs.append(job)
    return jobs


def jobs_of(database: Database, run_id: str) -> list[Job]:
    with database.read() as session:
        return list(session.scalars(select(Job).where(Job.run_id == run_id).order_by(Job.position)))


def claim(database: Database, lanes: Sequence[str]) -> Job | None:
    """Take the oldest job that may start now, or None."""
    before = aliased(Job)
    ready = (
        select(Job)
        .outerjoin(before, Job.after == before.id)
        .where(Job.status == "queued", Job.lane.in_(lanes), Job.not_before <= time.time())
        .where(or_(Job.after.is_(None), before.status == "succeeded"))
        .order_by(Job.created_at, Job.position)
        .limit(1)
        .with_for_update(skip_locked=True, of=Job)
    )
    with database.write() as session:
        job = session.scalars(ready).first()
        if job is not None:
            job.status, job.wanted, job.error = "running", None, None
            job.attempts += 1
            job.started_at = job.started_at or time.time()
        return job


def started(database: Database, job_id: str, pid: int, created: float) -> None:
    with database.write() as session:
        job = _get(session, job_id)
        job.pid, job.pid_created = pid, created


def wanted(database: Database, job_id: str) -> str | None:
    """What somebody asked of a running job: "pause", "cancel", or None."""
    with database.read() as session:
        return session.scalar(select(Job.wanted).where(Job.id == job_id))


def ends_badly(job: Job, result: Result) -> bool:
    """Whether nothing will be tried again after this attempt, which did not succeed."""
    return result.status in ("failed", "cancelled") or (result.status == "retry" and job.attempts >= MAX_ATTEMPTS)


def finish(database: Database, job_id: str, result: Result) -> Job:
    """Record how an attempt ended. Called once the process and its whole group are gone."""
    with database.write() as session, _announced(session, _get(session, job_id).run_id):
        job = _get(session, job_id)
        job.pid = job.pid_created = job.wanted = None
        job.error = result.error
        if result.status == "retry" and job.attempts < MAX_ATTEMPTS:
            job.status = "queued"
            job.not_before = time.time() + BACKOFF_S[min(job.attempts, len(BACKOFF_S)) - 1]
        else:
            job.status = "failed" if result.status == "retry" else result.status
        if job.status == "succeeded":
            job.outcome = result.outcome or {}
        if job.status in ENDED:
            job.finished_at = time.time()
        if job.status == "cancelled":
            _cancel_waiting(session, job.run_id)
        return job


def running(database: Database, lanes: Sequence[str]) -> list[Job]:
    with database.read() as session:
        return list(session.scalars(select(Job).where(Job.status == "running", Job.lane.in_(lanes))))


def cancel(database: Database, run_id: str) -> None:
    """Cancel what has not ended. A running job is ended by its worker; its slot is free when its group is gone."""
    with database.write() as session, _announced(session, run_id):
        jobs = _unfinished(session, run_id, "cancelled")
        for job in jobs:
            if job.status == "running":
                job.wanted = "cancel"
        _cancel_waiting(session, run_id)
    events.append(database, run_id, "Cancelled.", level="warn")


def pause(database: Database, run_id: str) -> None:
    """Pause after saving a checkpoint. Jobs that have not started stay where they are."""
    with database.write() as session, _announced(session, run_id):
        job = _unfinished(session, run_id, "paused")[0]
        if job.status == "running":
            job.wanted = "pause"
        elif job.status == "queued":
            job.status = "paused"
    events.append(database, run_id, "Pause asked for.")


def resume(database: Database, run_id: str, again: Sequence[str] = ()) -> None:
    """Put the paused or failed job back. What was finished before it is kept, but for the jobs `again`."""
    with database.write() as session:
        stuck = session.scalars(select(Job).where(Job.run_id == run_id, Job.status.in_(["paused", "failed"]))).all()
        pausing = session.scalars(select(Job).where(Job.run_id == run_id, Job.wanted == "pause")).all()
        if pausing:
            raise Conflict(f"{run_id} is still saving its checkpoint.", hint="Resume it in a few seconds.")
        if not stuck:
            raise Conflict(f"{run_id} is neither paused nor failed.", hint="Only such a run can be resumed.")
        for job in (*stuck, *session.scalars(select(Job).where(Job.run_id == run_id, Job.id.in_(again)))):
            job.outcome = None
            job.status, job.attempts, job.not_before, job.finished_at, job.error = "queued", 0, 0.0, None, None
    events.append(database, run_id, "Resumed.")


def status_of(jobs: Sequence[Job]) -> str:
    """The status of a run is that of its jobs taken together."""
    states = {job.status for job in jobs}
    wishes = {job.wanted for job in jobs}
    if "cancelled" in states or "cancel" in wishes:
        return "cancelled"
    if "failed" in states:
        return "failed"
    if "paused" in states or "pause" in wishes:
        return "paused"
    if states == {"succeeded"}:
        return "succeeded"
    return "running" if states & {"running", "succeeded"} else "queued"


@contextmanager
def _announced(session: Session, run_id: str) -> Iterator[None]:
    """Put into the outbox which jobs end meanwhile, and what becomes of the run once none of its jobs runs."""
    of_run = select(Job).where(Job.run_id == run_id).order_by(Job.position).with_for_update()
    jobs = session.scalars(of_run.execution_options(populate_existing=True)).all()
    before, run_before = {job.id: job.status for job in jobs}, _settled(jobs)
    yield
    for job in jobs:
        if job.status in ENDED and job.status != before[job.id]:
            data = {"job_id": job.id, "stage": job.kind, "status": job.status, "error": job.error}
            outbox.put(session, f"job.{job.status}", run_id, data)
    run_now = _settled(jobs)
    if run_now != run_before and run_now in ENDED | {"paused"}:
        error = next((job.error for job in jobs if job.error and job.status in ("failed", "paused")), None)
        outbox.put(session, f"run.{run_now}", run_id, {"status": run_now, "error": error})


def _settled(jobs: Sequence[Job]) -> str | None:
    """The run's status when none of its processes is left, else None: what was asked for may yet take a while."""
    return None if any(job.status == "running" for job in jobs) else status_of(jobs)


def _unfinished(session: Session, run_id: str, wish: str) -> list[Job]:
    jobs = list(session.scalars(select(Job).where(Job.run_id == run_id).order_by(Job.position)))
    status = status_of(jobs)
    if status in ENDED:
        raise Conflict(f"{run_id} has already {status}; it cannot be {wish}.", hint="Create a new one.")
    return [job for job in jobs if job.status not in ENDED]


def _cancel_waiting(session: Session, run_id: str) -> None:
    for job in session.scalars(select(Job).where(Job.run_id == run_id, Job.status.in_(["queued", "paused"]))):
        job.status, job.finished_at = "cancelled", time.time()


def _get(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id!r}.", hint="List the jobs to see what is there.")
    return job
