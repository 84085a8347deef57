"""Nothing that was done is lost: not to a busy or restarted database, a bad row, a power cut, or other users' eyes."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import postgres
from test_jobs import add, states, wait
from tunesmith.api import keys
from tunesmith.app import create_app
from tunesmith.errors import BadInput
from tunesmith.jobs import events
from tunesmith.jobs.locks import LaneLocks
from tunesmith.jobs.loop import Loop
from tunesmith.jobs.process import spawn
from tunesmith.jobs.scheduler import Scheduler, Turn
from tunesmith.jobs.worker import EXIT_RETRY
from tunesmith.recipes import files, stage
from tunesmith.recipes.context import Context
from tunesmith.settings import Settings
from tunesmith.store import files as storage
from tunesmith.store import retry
from tunesmith.store.artifacts import NOUNS
from tunesmith.store.tables import Job, Run, Schedule
from tunesmith.store.workspace import Workspace

LOCKED = OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked"))
FULL = OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

MESSAGES = [{"role": "user", "content": "TOTAL 4.20"}, {"role": "assistant", "content": '{"total": "4.20"}'}]
ROWS = b"".join(json.dumps({"messages": MESSAGES, "n": n}).encode() + b"\n" for n in range(3))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are short, and a locked SQLite is told at once."""
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(retry, "LONGEST_WAIT_S", 0.01)


def failing(times: int, error: Exception) -> Callable[[], str]:
    left = [error] * times

    def call() -> str:
        if left:
            raise left.pop()
        return "done"

    return call


@contextlib.contextmanager
def locked(workspace: Workspace) -> Iterator[sqlite3.Connection]:
    """Somebody else holds SQLite's write lock, and nobody waits for it."""

    def at_once(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA busy_timeout=0")

    if not workspace.database.on_this_machine:
        pytest.skip("SQLite alone has one writer")
    event.listen(workspace.database.engine, "connect", at_once)
    workspace.database.engine.dispose()
    path = workspace.settings.home / "tunesmith.sqlite3"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


# -- a database that is busy or away ------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_what_is_transient_is_tried_again() -> None:
    assert retry.retried(failing(3, LOCKED)) == "done"
    with pytest.raises(OperationalError, match="full"):
        retry.retried(failing(1, FULL))
    with pytest.raises(OperationalError, match="locked"):
        retry.retried(failing(1, LOCKED), stopped=lambda: True)
    with pytest.raises(OperationalError, match="locked"):
        retry.retried(failing(1, LOCKED), patience_s=0)


@pytest.mark.usefixtures("impatient")
def test_a_locked_database_loses_an_event_and_fails_no_training(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "PATIENCE_S", 0.05)
    context = Context(workspace, Run(id="run-1", recipe={}), Job(id="job-1"))
    with locked(workspace):
        context.say("Trained 10 steps.")
        context.say("Step 11", type="metrics", data={"step": 11})
    context.say("Trained 20 steps.")
    assert [e.message for e in events.read(workspace.database, "run-1")] == ["Trained 20 steps."]
    assert "Trained 10 steps." in caplog.text
    assert "Step 11" in caplog.text


def test_an_event_that_no_database_takes_fails_nothing(workspace: Workspace) -> None:
    events.append(workspace.database, "run-1", "surrogate \ud800", data={"object": object()})
    events.append(workspace.database, "run-1", "ok", data={"loss": float("nan")})
    assert [e.message for e in events.read(workspace.database, "run-1")][-1:] in (["ok"], [])


@pytest.mark.usefixtures("impatient")
def test_a_stage_waits_for_a_locked_database(workspace: Workspace) -> None:
    """Other writes of a stage: the dataset version that it built, the model that it published."""
    workspace.database.patience_s = 30
    with locked(workspace) as other:
        tried = threading.Event()
        threading.Timer(0.3, lambda: (other.execute("COMMIT"), tried.set())).start()
        with workspace.database.write() as session:
            assert tried.is_set()
            session.add(Run(id="run-1", recipe={}, model_name="m"))
    with workspace.database.read() as session:
        assert session.get(Run, "run-1") is not None


def test_a_stage_that_lost_its_database_is_tried_again(tmp_path: Path) -> None:
    assert stage._leave(tmp_path, LOCKED) == EXIT_RETRY
    assert json.loads((tmp_path / "error.json").read_text())["code"] == "database_away"


def test_a_turn_is_not_skipped_because_the_database_was_away(workspace: Workspace) -> None:
    timing = {"cron": None, "every": "5m", "timezone": "UTC", "quiet": None, "anchor": 0.0}
    with workspace.database.write() as session:
        session.add(Schedule(name="nightly", id="sched-1", recipe="r", timing=timing, next_run_at=1.0))
    answers: list[Any] = [LOCKED, Turn("run-1")]

    def take(_schedule: Schedule, _key: str) -> Turn:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    scheduler = Scheduler(workspace.database, take)
    with pytest.raises(OperationalError):
        scheduler.step()
    scheduler.step()
    with workspace.database.read() as session:
        row = session.get_one(Schedule, "nightly")
    assert row.last_run_id == "run-1"
    assert not answers


STAGE = """
import json, sys, time
from pathlib import Path
from tunesmith.jobs import events
from tunesmith.jobs.process import exit_when_parent_dies
from tunesmith.store.workspace import Workspace
exit_when_parent_dies()
folder = Path(sys.argv[1])
workspace = Workspace.open()
with open(folder / "ran", "a") as out: out.write("1\\n")
while not (folder / "enough").exists():
    events.append(workspace.database, "run-1", "step", patience_s=0)
    time.sleep(0.05)
(folder / "outcome.json").write_text("{}")
"""


WORKER = """
import sys
from tunesmith.jobs.worker import Worker
from tunesmith.store.workspace import Workspace
workspace = Workspace.open()
stage, folder = sys.argv[1:]
Worker(workspace.database, workspace.artifacts, lambda _: [sys.executable, "-c", stage, folder], poll_s=0.02).run()
"""


def test_a_postgres_that_restarts_ends_no_stage_and_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both run apart from the test, which has no connection of its own while there is no server."""
    place = postgres.binaries()
    if place is None:
        pytest.skip("needs initdb and pg_ctl")

    def ask(question: Callable[[Workspace], Any]) -> Any:
        workspace = Workspace.open(Settings(home=tmp_path, min_free_disk_mb=0))
        with contextlib.closing(workspace):
            return question(workspace)

    def last(workspace: Workspace) -> int:
        return next((e.id for e in events.read(workspace.database, "run-1", newest_first=True, limit=1)), 0)

    with postgres.running(place) as server:
        monkeypatch.setenv("TUNESMITH_DATABASE_URL", server.url)
        monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path))
        monkeypatch.setenv("TUNESMITH_MIN_FREE_DISK_MB", "0")
        folder = ask(lambda workspace: workspace.artifacts.job(add(workspace, "ok")[0].id))
        worker = subprocess.Popen([sys.executable, "-c", WORKER, STAGE, str(folder)])
        try:
            wait(lambda: ask(last) > 5)
            server.stop()
            server.start()
            before = ask(last)
            wait(lambda: ask(last) > before)
            server.stop()
            (folder / "enough").touch()  # it ends while there is no database
            wait((folder / "outcome.json").exists)
            assert worker.poll() is None
            server.start()
            wait(lambda: ask(states) == ["succeeded"])
        finally:
            worker.kill()
            worker.wait()
    assert (folder / "ran").read_text().split() == ["1"]


# -- a power cut ---------------------------------------------------------------------------------------------------


def test_an_upload_is_on_disk_before_its_row(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row was committed first: after a power cut there was a file of zeros under its id."""
    flushed: set[int] = set()
    seen: list[bool] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (flushed.add(os.fstat(descriptor).st_ino), fsync(descriptor)))

    def committed(_session: Any) -> None:
        place = workspace.settings.home / "files"
        seen.append({path.stat().st_ino for path in (place, *place.iterdir())} <= flushed)

    event.listen(Session, "before_commit", committed)
    try:
        file = files.add_file(workspace, "rows.jsonl", "fine-tune", [ROWS])
    finally:
        event.remove(Session, "before_commit", committed)
    assert seen == [True]
    assert workspace.artifacts.file(file.id).read_bytes() == ROWS


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "report.json"
    storage.write_json(place, {"a": 1})
    with contextlib.suppress(RuntimeError), storage.replacing(place) as out:
        out.write(b"half")
        raise RuntimeError("stopped")
    assert storage.read_json(place) == {"a": 1}
    assert list(tmp_path.iterdir()) == [place]


def test_kill_9_in_the_middle_of_a_write_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "report.json"
    storage.write_json(place, {"a": 1})
    code = (
        "import os, signal, sys; from pathlib import Path; from tunesmith.store.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as out:\n"
        "    out.write(b'half'); out.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(place)]).returncode == -9
    assert storage.read_json(place) == {"a": 1}


def test_a_folder_takes_its_place_whole(tmp_path: Path) -> None:
    (tmp_path / "new.partial" / "inside").mkdir(parents=True)
    (tmp_path / "new.partial" / "inside" / "rows").write_text("1")
    storage.put_in_place(tmp_path / "new.partial", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


# -- other people on the machine -----------------------------------------------------------------------------------


@pytest.fixture
def open_to_all() -> Iterator[None]:
    """The umask of somebody who keeps nothing to themselves."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_to_all")
def test_the_data_is_its_owners_even_in_a_folder_that_others_can_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "jobs").mkdir(parents=True)  # of an earlier version
    (home / "jobs" / "job-1").mkdir()
    workspace = Workspace.open(Settings(home=home, min_free_disk_mb=0))
    file = files.add_file(workspace, "rows.jsonl", "fine-tune", [ROWS])
    workspace.artifacts.job("job-2")
    workspace.artifacts.cache("baselines", "x.json")
    workspace.artifacts.dataset("0123456789abcdef")
    spawn([sys.executable, "-c", ""], log=home / "worker.log").end(grace=10)
    with LaneLocks(home, ["default"], per_machine=False) as lanes:
        lanes.take()
    loop = Loop("webhooks", lambda: None, home / "webhooks.lock")
    loop.start()
    loop.stop()
    workspace.close()
    assert {path.name for path in home.iterdir() if path.is_dir()} == set(NOUNS)
    assert [path.name for path in home.iterdir() if path.stat().st_mode & 0o077] == []
    assert workspace.artifacts.file(file.id).stat().st_mode & 0o077 == 0


# -- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weak", ["", "admin", "k", "changeme", "changeme-changeme", "tunesmith-admin-key", "1" * 20])
def test_a_weak_admin_key_is_refused_at_the_start(tmp_path: Path, weak: str) -> None:
    with pytest.raises(BadInput, match="TUNESMITH_ADMIN_KEY") as caught:
        keys.require_strong(Settings(home=tmp_path, admin_key=SecretStr(weak)))
    assert "openssl" in (caught.value.hint or "")
    keys.require_strong(Settings(home=tmp_path, admin_key=SecretStr("3b1fb1d9c8a04f0f")))
    keys.require_strong(Settings(home=tmp_path, admin_key=None))


def test_the_service_does_not_start_with_an_empty_admin_key(tmp_path: Path) -> None:
    environment = {**os.environ, "TUNESMITH_HOME": str(tmp_path), "TUNESMITH_ADMIN_KEY": ""}
    argv = [sys.executable, "-m", "tunesmith.cli", "serve", "--port", "0", "--no-worker"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "TUNESMITH_ADMIN_KEY is set, but empty." in done.stderr


def test_the_admin_key_of_the_settings_is_valid_while_it_is_set(tmp_path: Path) -> None:
    @contextlib.contextmanager
    def start(secret: str | None) -> Iterator[tuple[Workspace, str | None]]:
        key = SecretStr(secret) if secret else None
        workspace = Workspace.open(Settings(home=tmp_path, admin_key=key, min_free_disk_mb=0))
        with contextlib.closing(workspace):
            yield workspace, keys.ensure_first_key(workspace)

    with start("first-long-secret") as (workspace, shown):
        assert shown is None
        assert keys.identify(workspace, "first-long-secret") is not None
    with start("second-long-secret") as (workspace, shown):
        assert keys.identify(workspace, "first-long-secret") is None
        assert keys.identify(workspace, "second-long-secret") is not None
    with start(None) as (workspace, shown):
        assert keys.identify(workspace, "second-long-secret") is None
        assert keys.identify(workspace, "") is None
        assert shown is not None, "somebody must get in"
        assert keys.identify(workspace, shown) is not None


# -- other people's money ------------------------------------------------------------------------------------------


def synthetic(name: str, *tokens: int | None) -> dict[str, Any]:
    sources = [{"synthetic": {"like": "schema", "budget": {"tokens": n} if n else {}}} for n in tokens]
    return {"name": name, "task": {"type": "extraction", "schema": {"total": "money"}}, "sources": sources}


def budgets(saved: dict[str, Any]) -> list[int | None]:
    return [s["synthetic"].get("budget", {}).get("tokens") for s in saved["document"]["sources"]]


def test_a_key_without_admin_spends_a_teachers_tokens_within_a_limit(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        teacher_url="http://127.0.0.1:9/v1",
        teacher_model="t",
        teacher_max_tokens=1000,
        min_free_disk_mb=0,
    )
    workspace = Workspace.open(settings)
    admin, trainer = (
        {"Authorization": f"Bearer {keys.create_key(workspace, scope, [scope])}"} for scope in ("admin", "train")
    )
    with TestClient(create_app(workspace=workspace), headers=trainer) as client:
        assert budgets(client.post("/v1/recipes", json=synthetic("a", None)).json()) == [1000]
        assert budgets(client.post("/v1/recipes", json=synthetic("b", 400, None, None)).json()) == [400, 300, 300]
        refused = client.post("/v1/recipes", json=synthetic("c", 600, 600))
        assert (refused.status_code, refused.json()["code"]) == (403, "teacher_budget")
        assert "TUNESMITH_TEACHER_MAX_TOKENS" in refused.json()["hint"]
        free = client.post("/v1/recipes", json=synthetic("mine", None, 10**9), headers=admin)
        assert budgets(free.json()) == [None, 10**9]
        client.post("/v1/recipes", json=synthetic("open", None), headers=admin)
        assert client.post("/v1/recipes/mine/runs").status_code == 403
        run = client.post("/v1/recipes/open/runs?until=build").json()
        with workspace.database.read() as session:
            stored = session.get_one(Run, run["id"]).recipe
        assert stored["sources"][0]["synthetic"]["budget"] == {"tokens": 1000}
        schedule = {"name": "often", "recipe": "open", "every": "1d"}
        assert client.post("/v1/schedules", json=schedule).json()["code"] == "teacher_budget"
        assert client.post("/v1/schedules", json=schedule, headers=admin).status_code == 201
        assert client.post("/v1/schedules/often/run").status_code == 403
        assert client.patch("/v1/schedules/often", json={"recipe": "mine"}).status_code == 403
        assert client.patch("/v1/schedules/often", json={"enabled": False}).status_code == 200
        body = {"synthetic": {"like": "schema", "rows": 5, "budget": {"tokens": 1001}}, "task": {"type": "extraction"}}
        assert client.post("/v1/datasets/made/synthesize", json=body).status_code == 403
        assert client.post("/v1/datasets/made/synthesize", json=body, headers=admin).status_code == 200
