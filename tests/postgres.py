"""A Postgres for tests: a server that is there, or one of its own; each test gets a database of its own."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import create_engine, make_url


def binaries() -> Path | None:
    """Where initdb and pg_ctl lie: on PATH, or where Debian puts them."""
    found = shutil.which("initdb")
    places = (
        [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    return next((place for place in places if (place / "pg_ctl").exists()), None)


@contextmanager
def cluster(place: Path) -> Iterator[str]:
    """A server of this test run on a port of the loopback; its URL. Postgres refuses to run as root: then as nobody."""
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="tunesmith-postgres-") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, "nobody")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])

        def run(*argv: str) -> None:
            subprocess.run(argv, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=120, **user)  # type: ignore[call-overload]

        data, pg_ctl = str(folder / "data"), str(place / "pg_ctl")
        run(str(place / "initdb"), "-D", data, "-U", "tunesmith", "--auth=trust", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
        run(pg_ctl, "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
        try:
            yield f"postgresql://tunesmith@127.0.0.1:{port}/postgres"
        finally:
            run(pg_ctl, "-D", data, "-m", "immediate", "stop")


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """The URL of an empty database on that server; it is dropped afterwards, whoever is still connected."""
    name = f"tunesmith_test_{uuid4().hex}"
    url = make_url(server)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+pg8000")
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        engine.dispose()
