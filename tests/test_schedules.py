"""Schedules: turns at the right moment in every time zone, one run at a time, and nothing that a crash doubles."""

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from fakes.paperless import FakePaperless
from fakes.receiver import Receiver
from tunesmith.api import keys
from tunesmith.app import create_app
from tunesmith.cli.main import app
from tunesmith.errors import BadInput
from tunesmith.jobs import outbox, queue
from tunesmith.jobs.scheduler import Scheduler, Turn
from tunesmith.jobs.timing import Timing
from tunesmith.recipes import notices, runs, schedules
from tunesmith.settings import Settings, get_settings
from tunesmith.store.tables import Delivery, Notice, Schedule
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


def timing(**given: Any) -> Timing:
    return Timing.of(
        **{"cron": None, "every": None, "timezone": "Europe/Berlin", "quiet": None, "anchor": 0.0, **given}
    )


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def shown(turns: list[float]) -> list[str]:
    return [datetime.fromtimestamp(turn, UTC).strftime("%m-%dT%H:%M") for turn in turns]


# -- when ----------------------------------------------------------------------------------------------------------


def test_a_clock_time_that_does_not_exist_comes_once() -> None:
    nightly = timing(cron="30 2 * * *")  # on 28 March 2027 clocks go from 2 to 3
    assert shown(nightly.next_times(at("2027-03-27T12:00+01:00"))) == ["03-28T01:30", "03-29T00:30", "03-30T00:30"]


def test_a_clock_time_that_exists_twice_comes_once() -> None:
    nightly = timing(cron="30 2 * * *")  # on 25 October 2026 clocks go from 3 to 2
    assert shown(nightly.next_times(at("2026-10-24T12:00+02:00"))) == ["10-25T00:30", "10-26T01:30", "10-27T01:30"]


def test_every_hour_stays_every_hour_when_clocks_change() -> None:
    hourly = timing(cron="0 * * * *")
    assert shown(hourly.next_times(at("2026-10-25T01:30+02:00"))) == ["10-25T00:00", "10-25T01:00", "10-25T02:00"]
    six = timing(every="6h", anchor=at("2026-10-24T20:00+02:00"))
    assert shown(six.next_times(at("2026-10-24T20:00+02:00"))) == ["10-25T00:00", "10-25T06:00", "10-25T12:00"]


@pytest.mark.parametrize(
    ("cron", "days"),
    [
        ("0 2 * * 0", ["Sun", "Sun", "Sun"]),
        ("0 2 * * 7", ["Sun", "Sun", "Sun"]),
        ("0 2 * * 1-3", ["Wed", "Mon", "Tue"]),
        ("0 2 * * 5-7", ["Fri", "Sat", "Sun"]),
        ("0 2 * * FRI-SUN", ["Fri", "Sat", "Sun"]),
        ("0 2 * * sat,2", ["Sat", "Tue", "Sat"]),
        ("0 2 * * */3", ["Wed", "Sat", "Sun"]),
        ("0 2 26 * 5", ["Thu", "Fri", "Fri"]),
    ],
)
def test_days_of_the_week_are_those_of_cron(cron: str, days: list[str]) -> None:
    """APScheduler counts from Monday, and takes a day of the month and of the week together; cron does neither."""
    turns = timing(cron=cron).next_times(at("2026-11-24T12:00+01:00"))  # a Tuesday
    assert [datetime.fromtimestamp(turn, UTC).strftime("%a") for turn in turns] == days


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"cron": "0 2 * *"}, "bad_cron"),
        ({"cron": "61 2 * * *"}, "bad_cron"),
        ({"cron": "0 2 * * 8"}, "bad_cron"),
        ({"cron": "0 2 * * 4-2"}, "bad_cron"),
        ({"cron": "0 2 30 2 *"}, "bad_cron"),
        ({"cron": "@daily"}, "bad_cron"),
        ({"cron": "0 2 * * *", "timezone": "Europe/Berlim"}, "unknown_timezone"),
        ({"cron": "0 2 * * *", "timezone": "../../etc/passwd"}, "unknown_timezone"),
        ({"every": "5"}, "bad_interval"),
        ({"every": "1m"}, "bad_interval"),
        ({}, "bad_schedule"),
        ({"cron": "0 2 * * *", "every": "6h"}, "bad_schedule"),
        ({"every": "6h", "quiet": {"from": "22:00", "to": "22:00"}}, "bad_quiet_hours"),
        ({"every": "6h", "quiet": {"from": "22", "to": "25:00"}}, "bad_quiet_hours"),
    ],
)
def test_what_is_no_schedule(given: dict[str, Any], code: str) -> None:
    with pytest.raises(BadInput) as error:
        timing(**given)
    assert error.value.error_code == code
    assert error.value.hint


def test_quiet_hours_move_a_turn_to_their_end() -> None:
    quiet = timing(cron="0 */3 * * *", timezone="UTC", quiet={"from": "22:00", "to": "06:30"})
    turns = quiet.next_times(at("2026-11-24T20:00+00:00"))
    assert shown(turns) == ["11-24T21:00", "11-25T06:30", "11-25T09:00"]
    by_day = timing(cron="0 12 * * *", timezone="UTC", quiet={"from": "08:00", "to": "18:00"})
    assert shown(by_day.next_times(at("2026-11-24T00:00+00:00"), 1)) == ["11-24T18:00"]


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
    tag = paperless.lookups["tags"][0]["id"]
    mine = [document for document in paperless.documents if tag in document["tags"]]
    mine[0]["modified"] = "2099-01-01T00:00:00+00:00"
    make_due(workspace, "nightly")
    step(workspace)
    skipped = client.get("/v1/schedules/nightly").json()
    assert skipped["last_result"]["reason"] == "1 of 2 documents are new or corrected."
    mine[1]["modified"] = "2099-01-01T00:00:00+00:00"
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


# -- the command line ----------------------------------------------------------------------------------------------


def test_schedules_and_webhooks_by_command_line(
    client: TestClient, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_HOME", str(workspace.settings.home))
    monkeypatch.setenv("TUNESMITH_WEBHOOK_HOSTS", "127.0.0.1")
    get_settings.cache_clear()
    run = CliRunner().invoke
    added = run(app, ["schedules", "add", "weekly", "household", "--cron", "0 3 * * 0", "--quiet", "07:00-22:00"])
    assert added.exit_code == 0, added.output
    assert client.get("/v1/schedules/weekly").json()["quiet_hours"] == {"from": "07:00", "to": "22:00"}
    assert "weekly" in run(app, ["schedules", "list", "--json"]).output
    assert "run-" in run(app, ["schedules", "run", "weekly"]).output
    assert run(app, ["schedules", "remove", "weekly"]).exit_code == 0
    assert client.get("/v1/schedules").json() == {"data": []}
    with Receiver() as receiver:
        made = run(app, ["webhooks", "add", receiver.url, "--event", "run.failed"])
        assert "whsec_" in made.output
        assert "whsec_" not in run(app, ["webhooks", "list"]).output
        [hook] = client.get("/v1/webhooks").json()["data"]
        receiver.secret = next(line for line in made.output.split('"') if line.startswith("whsec_"))
        assert "204 after" in run(app, ["webhooks", "test", hook["id"]]).output
        receiver.answers = [500]
        failed = run(app, ["webhooks", "test", hook["id"]])
        assert isinstance(failed.exception, BadInput)
    assert run(app, ["webhooks", "remove", hook["id"]]).exit_code == 0
    get_settings.cache_clear()
