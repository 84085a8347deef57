"""One holder of a name at a time, across threads, processes and hosts. A holder that is killed holds nothing more.

With Postgres it is an advisory lock of a transaction, which ends with its connection. With SQLite all processes are on
one machine: it is a locked file in the data folder, which the system frees with the process.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import func, select

from tunesmith.errors import Unavailable
from tunesmith.store.database import Database
from tunesmith.store.files import take

POLL_S = 0.05


@contextmanager
def held(database: Database, home: Path, name: str, patience_s: float = 60.0) -> Iterator[None]:
    """Hold `name` for as long as the block lasts. Raises Unavailable when another one holds it all the time.

    It cannot be held twice, not even by the thread that holds it.
    """
    digest = hashlib.sha256(name.encode()).digest()
    if database.engine.dialect.name == "postgresql":
        holding = _advisory(database, int.from_bytes(digest[:8], signed=True), name, patience_s)
    else:
        holding = _file(home / "locks" / f"{digest.hex()[:32]}.lock", name, patience_s)
    with holding:
        yield


@contextmanager
def _file(path: Path, name: str, patience_s: float) -> Iterator[None]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("w") as lock:  # never deleted: another one may wait for this very file
        _wait(lambda: take(lock), name, patience_s)
        yield


@contextmanager
def _advisory(database: Database, number: int, name: str, patience_s: float) -> Iterator[None]:
    with database.engine.connect() as connection:
        connection.detach()  # whoever waits must not keep the holder from a connection of the pool
        taking = select(func.pg_try_advisory_xact_lock(number))
        _wait(lambda: bool(connection.execute(taking).scalar()), name, patience_s)
        yield


def _wait(take: Callable[[], bool], name: str, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while not take():
        if time.monotonic() >= deadline:
            raise Unavailable(
                f"{name} is being published, rolled back or removed by somebody else.",
                code="name_busy",
                hint="Nothing was done. Try again in a moment.",
            )
        time.sleep(POLL_S)
