"""The queue, and a whole run over two workers, on a real Postgres: one of its own where its programs are installed, or
the one of TUNESMITH_TEST_DATABASE_URL (with which every other test runs on it too)."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres import binaries, cluster, fresh_database
from service import Service, wait
from test_jobs import *  # noqa: F403  (every test of it)
from test_loop import LONG, submit
from tiny import build_tiny_model
from tunesmith.jobs import events
from tunesmith.settings import Settings
from tunesmith.store.tables import File
from tunesmith.store.workspace import Workspace

pytestmark = pytest.mark.real


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    if given := os.environ.get("TUNESMITH_TEST_DATABASE_URL"):
        yield given
        return
    pytest.importorskip("pg8000", reason="pip install pg8000")
    place = binaries()
    if place is None:
        pytest.skip("Postgres is not installed")
    with cluster(place) as url:
        yield url


@pytest.fixture(autouse=True)
def _database(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with fresh_database(server) as url:
        monkeypatch.setenv("TUNESMITH_DATABASE_URL", url)
        yield url


def test_a_service_and_workers_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    code = "from tunesmith.store.workspace import Workspace; from tunesmith.settings import get_settings; "
    code += "Workspace.open(get_settings()).close()"
    environment = {**os.environ, "TUNESMITH_HOME": str(tmp_path)}
    started = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(4)]
    assert [process.wait(60) for process in started] == [0] * 4


def test_a_nul_in_a_text_or_an_id_is_no_failure_of_the_database(tmp_path: Path) -> None:
    """Regression: GET /v1/files/file-%00 was a 500 on Postgres."""
    workspace = Workspace.open(Settings(home=tmp_path))
    with workspace.database.read() as session:
        assert session.get(File, "file-\0") is None
    events.append(workspace.database, "run-1", "a\0b", data={"kept": "a\0b"})
    (event,) = events.read(workspace.database, "run-1")
    assert (event.message, event.data) == ("a\ufffdb", {"kept": "a\0b"})
    workspace.close()


def test_a_run_whose_training_is_another_workers(tmp_path: Path) -> None:
    """The service builds and publishes, a worker of the lane trains: killed, paused, resumed, and done once."""
    build_tiny_model(tmp_path / "models" / "tiny")
    service = Service(tmp_path / "home", TUNESMITH_MODELS=str(tmp_path / "models"), TUNESMITH_TRAIN_LANE="gpu").start()
    argv = [sys.executable, "-m", "tunesmith.cli", "worker", "--lane", "gpu"]

    def gpu_box() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(argv, env=service.environment, stdin=subprocess.DEVNULL)

    jobs = service.openai.fine_tuning.jobs
    worker = None
    try:
        job_id, run_id = submit(service, LONG, "lane")
        wait(lambda: service.stage("build", run_id)["status"] == "succeeded", 90)
        assert service.stage("train", run_id)["status"] == "queued"
        worker = gpu_box()
        wait(lambda: bool(jobs.checkpoints.list(job_id).data), 120)
        worker.kill()
        worker.wait()
        wait(lambda: service.stage_process(service.stage("train", run_id)["job_id"]) is None, 30)
        worker = gpu_box()
        wait(lambda: service.stage("train", run_id)["attempts"] == 2, 60)
        assert jobs.pause(job_id).status == "paused"
        wait(lambda: service.stage("train", run_id)["status"] == "paused", 60)
        jobs.resume(job_id)
        run = service.finished(run_id)
        assert run["status"] == "succeeded", run["error"]
        versions = service.http.get(f"/v1/models/{run['model']}/versions").json()["data"]
        assert [version["version"] for version in versions] == [run_id]
        seen = service.http.get(f"/v1/runs/{run_id}/events", params={"limit": 1000}).json()["data"]
        assert sum(event["message"].endswith("is live.") for event in seen) == 1
    finally:
        if worker is not None:
            worker.send_signal(signal.SIGTERM)
            worker.wait(60)
        service.close()
