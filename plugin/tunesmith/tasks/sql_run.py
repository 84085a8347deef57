"""Whether two SQLite queries give the same answers: on the prompt's sample rows and on made-up ones.

A model's query is untrusted. It runs on a database in memory that is made here from the parsed schema, may only read
its tables, and has limits of time, rows and the size of a value.
"""

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, timedelta
from random import Random
from typing import Any

from tunesmith.tasks.sql_schema import Column, Database, number

SECONDS, MAX_ROWS, MAX_VALUE = 0.5, 1000, 100_000  # of one query; bytes of one value
TRIALS, MADE_ROWS = 3, 24
_DATE = re.compile(r"\d{4}-\d{2}(-\d{2})?")
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}

# What SQLite makes of a table, a row or a query that it does not take; ValueError: a lone surrogate, or a NUL.
_REFUSED = (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError)

Answers = Counter[tuple[Any, ...]]


def same_answers(database: Database, answer: Any, expected: Any) -> bool | None:
    """Whether both trees give the same rows, as often, on every database; None when that shows nothing.

    It shows nothing when the expected query fails, or finds nothing anywhere, or SQLite takes no such tables or rows.
    """
    try:
        literals = _literals(expected) + _literals(answer)
        queries = [tree.sql("sqlite", comments=False) for tree in (expected, answer)]
    except Exception:  # whatever sqlglot stumbles over while it writes a query
        return None
    telling = False
    for rows in _fillings(database, literals):
        try:
            made = _made(database, rows)
        except _REFUSED:
            return None
        with closing(made) as connection:
            wanted = run(connection, queries[0])
            if wanted is None:
                return None
            if run(connection, queries[1]) != wanted:
                return False
            telling = telling or any(value not in (None, 0) for row in wanted for value in row)
    return True if telling else None


def run(connection: sqlite3.Connection, query: str) -> Answers | None:
    """The rows of a query, each with how often it comes; None when it fails, takes too long or gives too much."""
    deadline = time.monotonic() + SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 1000)
    try:
        rows = connection.execute(query).fetchmany(MAX_ROWS + 1)
    except _REFUSED:
        return None
    finally:
        connection.set_progress_handler(None, 0)
    if len(rows) > MAX_ROWS:
        return None
    return Counter(tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in rows)


def _made(database: Database, rows: dict[str, list[dict[str, Any]]]) -> sqlite3.Connection:
    """A database in memory that can only be read. Raises one of `_REFUSED` for what SQLite does not take."""
    connection = sqlite3.connect(":memory:")
    try:
        _fill(connection, database, rows)
    except BaseException:
        connection.close()
        raise
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(_may)
    return connection


def _fill(connection: sqlite3.Connection, database: Database, rows: dict[str, list[dict[str, Any]]]) -> None:
    for table, columns in database.tables.items():
        listed = ", ".join(f"{_quoted(c.name)} {_affinity(c.type)}" for c in columns)
        connection.execute(f"CREATE TABLE {_quoted(table)} ({listed})")
        for row in rows.get(table, []):
            names = ", ".join(map(_quoted, row))
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {_quoted(table)} ({names}) VALUES ({marks})", list(row.values()))  # noqa: S608
    connection.commit()


def _may(action: int, first: str | None, second: str | None, *_: Any) -> int:
    hidden = action == sqlite3.SQLITE_READ and (first or "").casefold().startswith("sqlite_")
    acting = action == sqlite3.SQLITE_FUNCTION and (second or "").casefold() == "load_extension"
    return sqlite3.SQLITE_OK if action in _ALLOWED and not hidden and not acting else sqlite3.SQLITE_DENY


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _affinity(kind: str) -> str:
    """SQLite's own rule, so that nothing of the schema's text is executed."""
    upper = kind.upper()
    if "INT" in upper:
        return "INTEGER"
    if any(word in upper for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    return "REAL" if any(word in upper for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def _fillings(database: Database, literals: Sequence[Any]) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """The prompt's rows when it has some; then made-up ones, in which the queries' literals occur."""
    if any(database.rows.values()):
        yield database.rows
    for seed in range(TRIALS):
        rng = Random(seed)  # noqa: S311  the same rows for every model
        yield {
            table: [{c.name: _value(c, number, literals, rng) for c in columns} for number in range(1, MADE_ROWS + 1)]
            for table, columns in database.tables.items()
        }


def _value(column: Column, number: int, literals: Sequence[Any], rng: Random) -> Any:
    if column.key:
        return number if _affinity(column.type) != "TEXT" else f"{column.name}-{number}"
    if column.refers_to or column.name.endswith("_id"):
        return rng.randint(1, MADE_ROWS // 2)
    if column.nullable and rng.random() < 0.08:
        return None
    texts = [v for v in literals if isinstance(v, str)]
    numbers = [v for v in literals if not isinstance(v, str)]
    if (
        "DATE" in column.type.upper()
        or "TIME" in column.type.upper()
        or re.search("date|day|_on$|_at$|due", column.name)
    ):
        days = [v for v in texts if _DATE.match(v)]
        return _near_day(rng.choice(days), rng) if days and rng.random() < 0.7 else _near_day("2024-06-15", rng, 400)
    if _affinity(column.type) == "TEXT":
        words = [v for v in texts if not _DATE.match(v)] or ["x"]
        return rng.choice(words) if rng.random() < 0.5 else f"{column.name} {rng.choice(words)[:2]} {rng.randint(1, 6)}"
    if "BOOL" in column.type.upper():
        return rng.randint(0, 1)
    near = rng.choice(numbers) + rng.choice([-1, 0, 0, 1]) if numbers and rng.random() < 0.5 else rng.randint(0, 300)
    return near if _affinity(column.type) == "INTEGER" else round(near + rng.choice([0, 0.5, 0.25]), 2)


def _near_day(text: str, rng: Random, spread: int = 20) -> str:
    try:
        day = date.fromisoformat(text[:10] if len(text) >= 10 else f"{text[:7]}-15")
        return (day + timedelta(days=rng.randint(-spread, spread))).isoformat()
    except (ValueError, OverflowError):
        return text


def _literals(tree: Any) -> list[Any]:
    """Texts (without the signs of LIKE) and numbers of a query."""
    from sqlglot import exp

    found: list[Any] = []
    for literal in tree.find_all(exp.Literal):
        if literal.is_string:
            found.append(str(literal.this).strip("%"))
        else:
            value = float(number(literal.this) or 0)
            found.append(int(value) if value.is_integer() and abs(value) < 1e12 else min(value, 1e12))
    return found[:50]
