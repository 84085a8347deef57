"""Tries again what failed only because the database was busy or away: a locked SQLite, a Postgres that restarts."""

import logging
import random
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_S = 60.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
_SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
# SQLSTATE: connection lost, shut down or starting, too many connections, deadlock, a lock that was not to be had.
_POSTGRES_BUSY = ("08", "57P0", "53300", "40", "55P03")
# What drivers say when there was no server to give a SQLSTATE.
_LOST = (
    *("database is locked", "network error", "create a connection", "connection is closed"),
    *("connection failed", "could not connect", "server closed the connection"),
)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may go through in a moment. A full disk or a wrong statement is not transient."""
    if isinstance(error, PoolTimeout | ConnectionError):  # pg8000 lets a reset connection through as it is
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    code = getattr(error.orig, "sqlite_errorcode", None)
    if isinstance(code, int):
        return code & 0xFF in _SQLITE_BUSY
    state = _sqlstate(error.orig)
    if state:
        return state.startswith(_POSTGRES_BUSY)
    return any(words in str(error.orig) for words in _LOST)


def retried(call: Callable[[], T], *, patience_s: float = PATIENCE_S, stopped: Callable[[], bool] = lambda: False) -> T:
    """`call()`, made again while it fails for a transient reason, for `patience_s` seconds or until `stopped()`.

    A commit whose answer was lost is made again, too: `call` must be such that doing it twice does no harm.
    """
    deadline, wait = time.monotonic() + patience_s, FIRST_WAIT_S
    while True:
        try:
            return call()
        except Exception as error:
            if not is_transient(error) or stopped() or time.monotonic() + wait > deadline:
                raise
            if wait == FIRST_WAIT_S:
                log.warning("The database is busy or away; it is tried again: %s", str(error).splitlines()[0])
            time.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  only so that not all come back at once
            wait = min(2 * wait, LONGEST_WAIT_S)


def _sqlstate(error: BaseException | None) -> str:
    """The five letters that Postgres gives an error, from whichever driver; empty when there are none."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)  # psycopg, psycopg2
    if state:
        return str(state)
    said = error.args[0] if error is not None and error.args else None  # pg8000
    return str(said.get("C", "")) if isinstance(said, dict) else ""
