"""Whose a running job is: its worker gives signs of life, and a worker of another machine sees when they cease."""

import logging
import threading
import time
from types import TracebackType
from typing import Self

from tunesmith.jobs import queue
from tunesmith.store.database import Database
from tunesmith.store.tables import Job

log = logging.getLogger(__name__)

BEAT_S = 15.0
PATIENCE = 8  # looks without a new sign of life, BEAT_S apart, until a worker counts as gone


class Pulse:
    """Signs of life of a job, in a thread of their own: saving a checkpoint before a pause may take minutes."""

    def __init__(self, database: Database, job: Job, every_s: float = BEAT_S):
        self._database, self._job, self._every_s = database, job, every_s
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._ending.wait(self._every_s):
            try:
                queue.beat(self._database, self._job)
            except Exception as error:  # the next one may go through
                log.warning("%s gave no sign of life: %s", self._job.id, str(error).splitlines()[0])


class Silence:
    """Which jobs of other machines have had no sign of life for long.

    It counts its own looks and compares no clocks. While the database is away, or this machine sleeps, nobody looks.
    """

    def __init__(self, every_s: float = BEAT_S, patience: int = PATIENCE):
        self._every_s, self._patience = every_s, patience
        self._looked = float("-inf")
        self._seen: dict[str, tuple[float | None, int]] = {}  # ticket or id → its last sign of life, looks since

    def is_time(self) -> bool:
        return time.monotonic() - self._looked >= self._every_s

    def look(self, jobs: list[Job]) -> list[Job]:
        """Those of the running jobs that count as given up."""
        self._looked = time.monotonic()
        before, self._seen = self._seen, {}
        for job in jobs:
            name = job.ticket or job.id
            beat, looks = before.get(name, (job.beat_at, 0))
            self._seen[name] = (job.beat_at, looks + 1 if beat == job.beat_at else 0)
        return [job for job in jobs if self._seen[job.ticket or job.id][1] > self._patience]
