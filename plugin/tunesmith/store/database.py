"""The database: SQLite in WAL mode by default, anything SQLAlchemy speaks when `TUNESMITH_DATABASE_URL` is set."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.orm import Session

from tunesmith.errors import BadInput
from tunesmith.settings import Settings

HEAD = "0006"
_MIGRATING = 8765  # the advisory lock of whoever migrates
_POSTGRES = ("pg8000", "psycopg", "psycopg2")
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """`read()` and `write()` sessions. A write takes SQLite's write lock at once, so that it never fails half-way."""

    def __init__(self, url: str):
        self.engine = create_engine(_with_driver(url), pool_pre_ping=not url.startswith("sqlite"))
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            event.listen(self.engine, "before_cursor_execute", _without_nul, retval=True)
        self._writer: Engine = self.engine.execution_options(writes=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def migrate(self) -> None:
        """Bring the tables to `HEAD`. Alembic is imported only when there is something to do."""
        with self.engine.connect() as connection:
            if _revision(connection) == HEAD:
                return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        with self._writer.begin() as connection:
            if connection.dialect.name == "postgresql":  # a service and a worker may start at once
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
            config.attributes["connection"] = connection
            command.upgrade(config, HEAD)

    def close(self) -> None:
        self.engine.dispose()


def open_database(settings: Settings) -> Database:
    """The migrated database of the data folder, which is made (readable by its owner only) when it is not there."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if settings.database_url is None:  # webhook secrets lie in it, and the folder may be one that others can read
        Path(make_url(settings.database).database or "").touch(mode=0o600)
    database = Database(settings.database)
    database.migrate()
    return database


def _with_driver(url: str) -> URL:
    """`postgresql://…` (or `postgres://…`) names no driver: the one that is installed."""
    parsed = make_url(url)
    if parsed.drivername not in ("postgresql", "postgres"):
        return parsed
    driver = next((name for name in _POSTGRES if find_spec(name)), None)
    if driver is None:
        raise BadInput(
            "TUNESMITH_DATABASE_URL names a Postgres, and no driver for one is installed.",
            hint="pip install 'tunesmith[postgres]'",
        )
    return parsed.set(drivername=f"postgresql+{driver}")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return str(revision) if revision else None


def _without_nul(_connection: Any, _cursor: Any, statement: str, sent: Any, _context: Any, many: bool) -> Any:
    """Postgres keeps no NUL in a text, and fails on one even in a question for an id: it becomes U+FFFD."""
    return statement, [_cleaned(row) for row in sent] if many else _cleaned(sent)


def _cleaned(row: Any) -> Any:
    if not any(isinstance(value, str) and "\0" in value for value in (row.values() if isinstance(row, dict) else row)):
        return row
    if isinstance(row, dict):
        return {name: v.replace("\0", "\ufffd") if isinstance(v, str) else v for name, v in row.items()}
    return tuple(v.replace("\0", "\ufffd") if isinstance(v, str) else v for v in row)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's "begin" event decides how a transaction starts
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=20000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
