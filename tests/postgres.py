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


class Server:
    """A server in a folder of its own, on a port of the loopback. Postgres refuses to run as root: then as nobody."""

    def __init__(self, place: Path, folder: Path):
        self._user = {"user": "nobody"} if os.geteuid() == 0 else {}
        self._place, self._folder = place, folder
        if self._user:
            shutil.chown(folder, "nobody")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        self.url = f"postgresql://tunesmith@127.0.0.1:{port}/postgres"
        self._options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
        self._run("initdb", "-U", "tunesmith", "--auth=trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        self._run("pg_ctl", "-o", self._options, "-l", str(self._folder / "log"), "-w", "start")

    def stop(self) -> None:
        """At once: whoever is connected loses the connection."""
        self._run("pg_ctl", "-m", "immediate", "stop")

    def _run(self, command: str, *argv: str) -> None:
        argv = (str(self._place / command), "-D", str(self._folder / "data"), *argv)
        subprocess.run(argv, cwd=self._folder, check=True, stdout=subprocess.DEVNULL, timeout=120, **self._user)  # type: ignore[call-overload]


@contextmanager
def running(place: Path) -> Iterator[Server]:
    """A server of this test run."""
    with tempfile.TemporaryDirectory(prefix="tunesmith-postgres-") as name:
        server = Server(place, Path(name))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def cluster(place: Path) -> Iterator[str]:
    """The URL of a server of this test run."""
    with running(place) as server:
        yield server.url


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
