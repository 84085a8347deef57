"""What happened, in order. Events of a run are appended by its child processes and read by everybody else."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import select

from tunesmith.store.database import Database
from tunesmith.store.retry import retried
from tunesmith.store.tables import MAX_ID, Event
from tunesmith_connectors.addresses import shown

log = logging.getLogger(__name__)

PATIENCE_S = 10.0


def append(
    database: Database,
    run_id: str,
    message: str,
    *,
    job_id: str | None = None,
    level: str = "info",
    type: str = "message",
    data: dict[str, Any] | None = None,
    patience_s: float = PATIENCE_S,
) -> None:
    """Tell what happened. An event that cannot be stored is lost and the log says so: no work fails because of it."""

    message, data = shown(message), shown(data or {})

    def add() -> None:
        event = Event(run_id=run_id, job_id=job_id, level=level, type=type, message=message, data=data)
        with database.write(patience_s=0.0) as session:
            session.add(event)

    try:
        retried(add, patience_s=patience_s)
    except Exception as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        readable = message.encode("utf-8", "backslashreplace").decode()  # half a character may be why it was lost
        log.warning("An event of %s was lost (%s): %s", run_id, reason, readable)


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
