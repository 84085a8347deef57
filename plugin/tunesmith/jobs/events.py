"""What happened, in order. Events of a run are appended by its child processes and read by everybody else."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import select

from tunesmith.store.database import Database
from tunesmith.store.tables import MAX_ID, Event


def append(
    database: Database,
    run_id: str,
    message: str,
    *,
    job_id: str | None = None,
    level: str = "info",
    type: str = "message",
    data: dict[str, Any] | None = None,
) -> None:
    with database.write() as session:
        session.add(Event(run_id=run_id, job_id=job_id, level=level, type=type, message=message, data=data or {}))


def read(
    database: Database, run_id: str, *, after: int = 0, limit: int = 200, newest_first: bool = False
) -> list[Event]:
    """Events of a run with an id above `after` (below it, when `newest_first` and `after` is given)."""
    query, after = select(Event).where(Event.run_id == run_id), min(after, MAX_ID)
    if newest_first:
        query = query.where(Event.id < after) if after else query
        query = query.order_by(Event.id.desc())
    else:
        query = query.where(Event.id > after).order_by(Event.id)
    with database.read() as session:
        return list(session.scalars(query.limit(limit)))


def follow(
    database: Database, run_id: str, ended: Callable[[], bool], *, after: int = 0, poll_s: float = 0.3
) -> Iterator[Event | None]:
    """Events as they come, until `ended()` is true and all were read. Yields None when nothing is new."""
    while True:
        over = ended()
        batch = read(database, run_id, after=after)
        yield from batch
        if batch:
            after = batch[-1].id
        elif over:
            return
        else:
            yield None
            time.sleep(poll_s)
