"""Schedules: turns at the right moment in every time zone, one run at a time, and nothing that a crash doubles."""

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from fakes.paperless import FakePaperless
from fakes.receiver import Receiver
from tunesmith.api import keys
from tunesmith.app import create_app
from tunesmith.jobs import outbox, queue
from tunesmith.jobs.scheduler import Scheduler, Turn
from tunesmith.recipes import notices, runs, schedules
from tunesmith.settings import Settings
from tunesmith.store.tables import Delivery, Job, Notice, Schedule
from tunesmith.store.workspace import Workspace
from tunesmith_connectors.wake import magic_packet

ADMIN = {"Authorization": "Bearer admin-key"}
SAMPLES = Path(__file__).parents[1] / "examples" / "documents" / "household.jsonl"


@pytest.fixture
def paperless() -> Iterator[FakePaperless]:
    with FakePaperless.from_file(SAMPLES) as fake:
        yield fake


@pytest.fixture
def workspace(tmp_path: Path, paperless: FakePaperless, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setattr(runs.base_models, "require", lambda *_: None)
    settings = Settings(
        home=tmp_path,
        admin_key="admin-key",
        webhook_hosts="127.0.0.1",
        paperless_url=paperless.url,
        paperless_token=paperless.token,
    )
    opened = Workspace.open(settings)
    keys.ensure_first_key(opened)
    yield opened
    opened.close()


@pytest.fixture
def client(workspace: Workspace, paperless: FakePaperless) -> Iterator[TestClient]:
    tag = next(tag["name"] for tag in paperless.lookups["tags"])
    recipe = {"name": "household", "sources": [{"paperless": {"tags": [tag]}}]}
    with TestClient(create_app(workspace=workspace), headers=ADMIN) as client:
        assert client.post("/v1/recipes", json=recipe).status_code == 200
        yield client


def add(client: TestClient, name: str = "nightly", **more: Any) -> dict[str, Any]:
    body = {"name": name, "recipe": "household", "cron": "0 2 * * *", "timezone": "Europe/Berlin", **more}
    if "every" in more:
        del body["cron"]
    answer = client.post("/v1/schedules", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def make_due(workspace: Workspace, *names: str) -> None:
    with workspace.database.write() as session:
        for name in names:
            row = session.get(Schedule, name)
            assert row is not None
            row.next_run_at = time.time() - 1


def step(workspace: Workspace) -> None:
    Scheduler(workspace.database, lambda row, key: schedules.take_turn(workspace, row, key)).step()


def end_run(workspace: Workspace, run_id: str) -> None:
    for _ in queue.jobs_of(workspace.database, run_id):
        job = queue.claim(workspace.database, ["default"])
        assert job is not None
        queue.finish(workspace.database, job.id, queue.Result("succeeded", outcome={}))


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# -- over HTTP -----------------------------------------------------------------------------------------------------


def test_a_schedule_is_made_shown_changed_and_deleted(client: TestClient) -> None:
    made = add(client, quiet_hours={"from": "07:00", "to": "22:00"}, wake={"mac": "3c:52:82:aa:bb:cc"})
    assert len(made["next_times"]) == 3
    assert all("T02:00:00+0" in moment for moment in made["next_times"])
    assert made["wake"] == {"mac": "3c:52:82:aa:bb:cc"}
    assert client.get("/v1/schedules").json()["data"] == [made]
    changed = client.patch("/v1/schedules/nightly", json={"every": "6h", "quiet_hours": None, "wake": None}).json()
    assert (changed["cron"], changed["every"], changed["quiet_hours"], changed["wake"]) == (None, "6h", None, None)
    assert changed["timezone"] == "Europe/Berlin"
    off = client.patch("/v1/schedules/nightly", json={"enabled": False}).json()
    assert off["next_times"] == []
    assert client.delete("/v1/schedules/nightly").status_code == 204
    assert client.get("/v1/schedules/nightly").status_code == 404


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"recipe": "nothing"}, 404, "not_found"),
        ({"cron": "whenever"}, 400, "bad_cron"),
        ({"timezone": "Mars/Base"}, 400, "unknown_timezone"),
        ({"every": "6h"}, 400, "bad_schedule"),
        ({"wake": {"mac": "not-a-mac"}}, 400, "bad_mac"),
        ({"wake": {"mac": "3c:52:82:aa:bb:cc", "broadcast": "example.org"}}, 422, "invalid_parameters"),
        ({"quiet_hours": {"from": "22:00", "to": "6"}}, 422, "invalid_parameters"),
        ({"minimum_new_documents": -1}, 422, "invalid_parameters"),
        ({"corn": "0 2 * * *"}, 422, "invalid_parameters"),
        ({"name": "../x"}, 422, "invalid_parameters"),
    ],
)
def test_what_is_refused_stores_nothing(client: TestClient, more: dict[str, Any], status: int, code: str) -> None:
    body = {"name": "nightly", "recipe": "household", "cron": "0 2 * * *", **more}
    answer = client.post("/v1/schedules", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert client.get("/v1/schedules").json() == {"data": []}


def test_a_name_is_taken_once(client: TestClient) -> None:
    add(client)
    body = {"name": "nightly", "recipe": "household", "every": "6h"}
    answer = client.post("/v1/schedules", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "schedule_exists")
    assert client.get("/v1/schedules/nightly").json()["every"] is None


def test_new_documents_need_a_recipe_that_reads_paperless(client: TestClient) -> None:
    client.post("/v1/recipes", json={"name": "uploads", "sources": [{"file": "file-1"}]})
    body = {"name": "x", "recipe": "uploads", "every": "6h", "minimum_new_documents": 5}
    assert client.post("/v1/schedules", json=body).json()["code"] == "no_paperless_source"


def test_readers_may_look_and_not_change(client: TestClient, workspace: Workspace) -> None:
    add(client)
    weak = {"Authorization": f"Bearer {keys.create_key(workspace, 'weak', ['read'])}"}
    assert client.get("/v1/schedules", headers=weak).status_code == 200
    assert client.post("/v1/schedules/nightly/run", headers=weak).status_code == 403
    assert client.delete("/v1/schedules/nightly", headers=weak).status_code == 403


# -- turns ---------------------------------------------------------------------------------------------------------


def test_two_schedules_due_at_once_both_run_and_missed_turns_are_one(client: TestClient, workspace: Workspace) -> None:
    add(client, "a")
    add(client, "b", every="6h")
    make_due(workspace, "a", "b")
    with workspace.database.write() as session:
        row = session.get(Schedule, "b")
        assert row is not None
        row.next_run_at = time.time() - 30 * 86400  # the service was away for a month
    step(workspace)
    step(workspace)
    assert len(client.get("/v1/runs").json()["data"]) == 2
    for name in ("a", "b"):
        now = client.get(f"/v1/schedules/{name}").json()
        assert now["last_result"]["status"] == "started"
        assert now["last_run_id"] == now["last_result"]["run_id"]
        assert at(now["next_times"][0]) > time.time()


def test_one_run_at_a_time_and_a_skip_is_told(client: TestClient, workspace: Workspace) -> None:
    with Receiver() as receiver:
        hook = client.post("/v1/webhooks", json={"url": receiver.url, "events": ["schedule.skipped"]}).json()
        add(client)
        make_due(workspace, "nightly")
        step(workspace)
        first = client.get("/v1/schedules/nightly").json()["last_run_id"]
        make_due(workspace, "nightly")
        step(workspace)
        now = client.get("/v1/schedules/nightly").json()
        assert now["last_run_id"] == first
        assert now["last_result"]["status"] == "skipped"
        assert first in now["last_result"]["reason"]
        assert client.post("/v1/schedules/nightly/run").json()["code"] == "schedule_busy"
        outbox.pass_on(workspace.database, notices.describe)
        with workspace.database.read() as session:
            [delivery] = session.query(Delivery).all()
        assert delivery.webhook_id == hook["id"]
        assert f'"reason":"{now["last_result"]["reason"]}"' in delivery.body
    end_run(workspace, first)
    assert client.post("/v1/schedules/nightly/run").json()["status"] == "queued"


def test_a_crash_after_the_run_was_queued_does_not_queue_another(client: TestClient, workspace: Workspace) -> None:
    add(client)
    make_due(workspace, "nightly")

    def crash(row: Schedule, key: str) -> Turn:
        schedules.take_turn(workspace, row, key)
        raise KeyboardInterrupt  # not an Exception: nothing after it is written, as by kill -9

    with pytest.raises(KeyboardInterrupt):
        Scheduler(workspace.database, crash).step()
    step(workspace)
    [run] = client.get("/v1/runs").json()["data"]
    assert client.get("/v1/schedules/nightly").json()["last_run_id"] == run["id"]


def test_one_schedule_that_fails_does_not_stop_the_others(client: TestClient, workspace: Workspace) -> None:
    add(client, "a")
    add(client, "b")
    make_due(workspace, "a", "b")

    def take(row: Schedule, key: str) -> Turn:
        if row.name == "a":
            raise ValueError("surprise")
        return schedules.take_turn(workspace, row, key)

    Scheduler(workspace.database, take).step()
    assert "surprise" in client.get("/v1/schedules/a").json()["last_result"]["reason"]
    assert client.get("/v1/schedules/b").json()["last_result"]["status"] == "started"


def test_a_turn_missed_while_away_waits_for_the_end_of_quiet_hours(client: TestClient, workspace: Workspace) -> None:
    now = datetime.now(UTC)
    hour = now.strftime("%H:%M"), f"{(now.hour + 2) % 24:02d}:{now.minute:02d}"
    add(client, timezone="UTC", quiet_hours={"from": hour[0], "to": hour[1]})
    make_due(workspace, "nightly")
    step(workspace)
    shown_now = client.get("/v1/schedules/nightly").json()
    assert shown_now["last_run_id"] is None
    assert f"T{hour[1]}:00" in shown_now["next_times"][0]


def test_it_runs_only_when_enough_documents_are_new(
    client: TestClient, workspace: Workspace, paperless: FakePaperless
) -> None:
    add(client, minimum_new_documents=2)
    make_due(workspace, "nightly")
    step(workspace)
    first = client.get("/v1/schedules/nightly").json()["last_run_id"]
    assert first, "all documents are new to the first run"
    end_run(workspace, first)
    looked = client.post("/v1/recipes/household/runs", params={"until": "build"}).json()
    tag = paperless.lookups["tags"][0]["id"]
    mine = [document for document in paperless.documents if tag in document["tags"]]
    mine[0]["modified"] = "2099-01-01T00:00:00+00:00"
    make_due(workspace, "nightly")
    step(workspace)
    skipped = client.get("/v1/schedules/nightly").json()
    assert skipped["last_result"]["reason"] == "1 of 2 documents are new or corrected."
    mine[1]["modified"] = "2099-01-01T00:00:00+00:00"
    end_run(workspace, looked["id"])
    with workspace.database.write() as session:
        job = session.get(Job, looked["stages"][0]["job_id"])
        assert job is not None
        job.started_at = at("2100-01-01T00:00:00+00:00")  # a look at the data does not use it up
    make_due(workspace, "nightly")
    step(workspace)
    assert client.get("/v1/schedules/nightly").json()["last_run_id"] != first
    assert client.get("/v1/schedules/nightly").json()["last_result"]["status"] == "started"


def test_paperless_away_is_a_reason_and_the_next_turn_tries_again(
    client: TestClient, workspace: Workspace, paperless: FakePaperless
) -> None:
    add(client, minimum_new_documents=1)
    paperless.fail = [503] * 2
    make_due(workspace, "nightly")
    step(workspace)
    now = client.get("/v1/schedules/nightly").json()
    assert now["last_result"]["status"] == "skipped"
    assert "503" in now["last_result"]["reason"]
    with workspace.database.read() as session:
        assert [notice.type for notice in session.query(Notice)] == ["schedule.skipped"]
    make_due(workspace, "nightly")
    step(workspace)
    assert client.get("/v1/schedules/nightly").json()["last_result"]["status"] == "started"


def test_a_deleted_schedule_takes_no_turn(client: TestClient, workspace: Workspace) -> None:
    add(client)
    make_due(workspace, "nightly")
    client.delete("/v1/schedules/nightly")
    step(workspace)
    assert client.get("/v1/runs").json()["data"] == []


# -- waking a machine ----------------------------------------------------------------------------------------------


def test_the_packet_arrives_on_a_real_socket(client: TestClient, workspace: Workspace) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        port = listener.getsockname()[1]
        add(client, wake={"mac": "3C-52-82-AA-BB-CC", "broadcast": "127.0.0.1", "port": port})
        run = client.post("/v1/schedules/nightly/run").json()
        assert listener.recv(200) == b"\xff" * 6 + bytes.fromhex("3c5282aabbcc") * 16
    events = client.get(f"/v1/runs/{run['id']}/events").json()["data"]
    assert "Wake-on-LAN sent to 3C-52-82-AA-BB-CC." in [event["message"] for event in events]


@pytest.mark.parametrize("mac", ["", "3c:52:82:aa:bb", "3c:52:82:aa:bb:cg", "3c:52-82:aa:bb:cc", "3c5282aabbccdd"])
def test_what_is_no_mac_address(mac: str) -> None:
    with pytest.raises(ValueError, match="MAC"):
        magic_packet(mac)


def test_a_packet_that_cannot_be_sent_does_not_stop_the_run(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(schedules.wake_on_lan, "wake", unreachable)
    add(client, wake={"mac": "3c:52:82:aa:bb:cc"})
    run = client.post("/v1/schedules/nightly/run").json()
    assert run["status"] == "queued"
    events = client.get(f"/v1/runs/{run['id']}/events").json()["data"]
    assert any("unreachable" in event["message"] for event in events)
