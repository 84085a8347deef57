"""Takes the turns of schedules: in exactly one process, missed turns as one, and it only asks for work to be queued."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select

from tunesmith.jobs import outbox
from tunesmith.jobs.timing import Timing
from tunesmith.store.database import Database
from tunesmith.store.retry import is_transient
from tunesmith.store.tables import Schedule

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Turn:
    """What came of a turn: the run that was queued, or the reason why none was."""

    run_id: str | None = None
    reason: str | None = None


class Scheduler:
    """`take(schedule, key)` queues a run, or says why not; called again with the same key it must not queue another.

    `step()` is called again and again by the loop that holds the lock.
    """

    def __init__(self, database: Database, take: Callable[[Schedule, str], Turn]):
        self._database = database
        self._take = take

    def step(self) -> None:
        due = select(Schedule).where(Schedule.enabled, Schedule.next_run_at <= time.time())
        with self._database.read() as session:
            schedules = list(session.scalars(due.order_by(Schedule.next_run_at, Schedule.name)))
        for schedule in schedules:
            now = time.time()
            quiet_until = Timing.from_dict(schedule.timing).not_quiet(now)
            if quiet_until > now:  # it was due while the service was down
                self._move(schedule, quiet_until)
            else:
                self._settle(schedule, self._turn(schedule), now)

    def _turn(self, schedule: Schedule) -> Turn:
        try:
            return self._take(schedule, f"schedule:{schedule.id}:{schedule.next_run_at}")
        except Exception as error:  # one schedule that fails must not keep the others waiting
            if is_transient(error):
                raise  # the turn is not over: it is taken again, with the same key, when the database answers
            log.exception("The turn of the schedule %s failed.", schedule.name)
            return Turn(reason=f"{type(error).__name__}: {error}")

    def _settle(self, schedule: Schedule, turn: Turn, now: float) -> None:
        """Record the turn, tell it when it was skipped, and move on to the next one after now."""
        with self._database.write() as session:
            row = session.get(Schedule, schedule.name)
            if row is None or row.id != schedule.id:
                return
            if turn.run_id:
                row.last_run_id = turn.run_id
            row.last_result = {
                "at": now,
                "status": "started" if turn.run_id else "skipped",
                "reason": turn.reason,
                "run_id": turn.run_id,
            }
            if not turn.run_id:
                data = {"schedule": row.name, "recipe": row.recipe, "status": "skipped", "reason": turn.reason}
                outbox.put(session, "schedule.skipped", None, data)
            if row.next_run_at == schedule.next_run_at:  # else it was changed meanwhile
                row.next_run_at = Timing.from_dict(row.timing).next_after(now)
        log.info("Schedule %s: %s", schedule.name, turn.run_id or turn.reason)

    def _move(self, schedule: Schedule, moment: float) -> None:
        with self._database.write() as session:
            row = session.get(Schedule, schedule.name)
            if row is not None and row.next_run_at == schedule.next_run_at:
                row.next_run_at = moment
