"""Webhooks: signed, allow-listed, delivered at least once over failures and restarts, and never anywhere else."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from fakes.receiver import Receiver
from releases import record
from tunesmith.api import keys
from tunesmith.app import create_app
from tunesmith.jobs import deliveries, outbox, queue
from tunesmith.recipes import models, notices, webhooks
from tunesmith.serving.targets.base import Deployment
from tunesmith.settings import Settings
from tunesmith.store.tables import Delivery, Run, Webhook
from tunesmith.store.workspace import Workspace

ADMIN = {"Authorization": "Bearer admin-key"}
RECIPE = {"name": "receipts", "sources": [{"file": "file-1"}]}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    settings = Settings(home=tmp_path, admin_key="admin-key", webhook_hosts="127.0.0.1, *.example.org, n8n:5678")
    opened = Workspace.open(settings)
    keys.ensure_first_key(opened)
    yield opened
    opened.close()


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    with TestClient(create_app(workspace=workspace), headers=ADMIN) as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
        receiver.release.set()


def hook(client: TestClient, receiver: Receiver, *events: str, **more: Any) -> dict[str, Any]:
    """A webhook that leads to the receiver, which learns its secret."""
    body = {"url": f"{receiver.url}/hook", "events": list(events) or ["run.succeeded"], **more}
    answer = client.post("/v1/webhooks", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    receiver.secret = made["secret"]
    return made


def add_run(workspace: Workspace, *kinds: str, run_id: str = "run-1") -> list[str]:
    """A run with these stages; returns the ids of its jobs."""
    with workspace.database.write() as session:
        session.add(Run(id=run_id, recipe_name="receipts", recipe=RECIPE, model_name="receipts"))
        session.flush()
        return [job.id for job in queue.enqueue(session, run_id, [queue.Step(kind) for kind in kinds or ("build",)])]


def finish(workspace: Workspace, status: str = "succeeded", **result: Any) -> None:
    job = queue.claim(workspace.database, ["default"])
    assert job is not None
    queue.finish(workspace.database, job.id, queue.Result(status, **result))


def dispatch(workspace: Workspace, *, later: float = 0.0) -> None:
    """One turn of the dispatcher as it would be `later` seconds from now, until nothing is due."""
    allowed = webhooks.allowed_hosts(workspace.settings)
    while outbox.pass_on(workspace.database, notices.describe):
        pass
    seen: set[str] = set()
    while fresh := {one for one, _ in deliveries.due(workspace.database, time.time() + later)} - seen:
        seen |= fresh
        for delivery_id in fresh:
            deliveries.attempt(workspace.database, delivery_id, allowed)


def log_of(client: TestClient, made: dict[str, Any]) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = client.get(f"/v1/webhooks/{made['id']}/deliveries").json()["data"]
    return data


def test_a_run_that_succeeds_is_told_with_its_report(
    client: TestClient, workspace: Workspace, receiver: Receiver
) -> None:
    made = hook(client, receiver, "run.succeeded", "job.succeeded")
    add_run(workspace, "evaluate")
    report = {"rows": 3, "measured": {}, "gate": {"passed": True}}
    finish(workspace, outcome={**report, "deployment": {"hf_dir": "/secret"}})
    dispatch(workspace)
    assert receiver.types() == ["job.succeeded", "run.succeeded"]
    event = receiver.events[1]
    assert event["timestamp"].endswith("Z")
    data = event["data"]
    assert (data["run_id"], data["recipe"], data["model"], data["version"]) == (
        "run-1",
        "receipts",
        "receipts",
        "run-1",
    )
    assert data["fine_tuning_job_id"] == "ftjob-1"
    assert data["status"] == "succeeded"
    assert data["error"] is None
    assert data["report"] == report
    newest, oldest = log_of(client, made)
    assert newest["type"] == "run.succeeded"
    assert newest["status"] == oldest["status"] == "delivered"
    assert newest["attempts"][0]["status_code"] == 204
    assert receiver.headers[1]["webhook-id"] == newest["event_id"]


@pytest.mark.parametrize(("status", "events"), [("failed", ["job.failed", "run.failed"]), ("paused", ["run.paused"])])
def test_a_run_that_stops_is_told_once(
    client: TestClient, workspace: Workspace, receiver: Receiver, status: str, events: list[str]
) -> None:
    hook(client, receiver, "job.failed", "run.failed", "run.paused", "run.succeeded")
    add_run(workspace, "build", "train")
    finish(workspace, status, error={"code": "x", "message": "no", "hint": None, "param": None})
    dispatch(workspace)
    dispatch(workspace)
    assert receiver.types() == events
    assert receiver.events[-1]["data"]["error"]["message"] == "no"


def test_a_run_is_cancelled_only_once_its_process_is_gone(
    client: TestClient, workspace: Workspace, receiver: Receiver
) -> None:
    hook(client, receiver, "run.cancelled", "job.cancelled")
    add_run(workspace, "build", "train")
    job = queue.claim(workspace.database, ["default"])
    assert job is not None
    queue.cancel(workspace.database, "run-1")
    dispatch(workspace)
    assert receiver.types() == ["job.cancelled"], "the waiting stage; the running one is not gone yet"
    queue.finish(workspace.database, job.id, queue.Result("cancelled"))
    dispatch(workspace)
    assert receiver.types() == ["job.cancelled", "job.cancelled", "run.cancelled"]


def test_a_failed_gate_is_an_event_of_its_own(client: TestClient, workspace: Workspace, receiver: Receiver) -> None:
    hook(client, receiver, "gate.failed", "run.failed")
    add_run(workspace, "publish")
    finish(workspace, "failed", error={"code": "gate_not_met", "message": "worse", "hint": None, "param": None})
    dispatch(workspace)
    assert receiver.types() == ["gate.failed", "run.failed"]
    assert len(set(receiver.ids)) == 2


def test_publishing_and_rolling_back_are_told_once(
    client: TestClient, workspace: Workspace, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook(client, receiver, "model.published", "model.rolled_back")
    monkeypatch.setattr(models.publish, "promote", lambda *_: None)
    deployment = dict.fromkeys(Deployment.__dataclass_fields__, "") | {"target": "llamacpp"}
    for version in ("run-a", "run-b", "run-b"):  # the last one again, as after kill -9
        details = {"base_model": "b", "dataset_version": "d", "task": {"name": "chat"}, "evaluation": {}}
        record(workspace, models.Release("m", version, version, deployment=deployment, **details))
    models.roll_back(workspace, "m")
    dispatch(workspace)
    assert receiver.types() == ["model.published", "model.published", "model.rolled_back"]
    assert receiver.events[2]["data"] == {"model": "m", "version": "run-a", "previous_version": "run-b"}


def test_500_then_200_after_a_restart_carries_the_same_id(tmp_path: Path, receiver: Receiver) -> None:
    settings = Settings(home=tmp_path, webhook_hosts="127.0.0.1")
    receiver.answers = [500]
    workspace = Workspace.open(settings)
    made = webhooks.create(workspace, f"{receiver.url}/x", ["run.succeeded"])
    receiver.secret = made.secret
    add_run(workspace)
    finish(workspace)
    dispatch(workspace)
    dispatch(workspace)
    assert len(receiver.ids) == 1, "not before its time"
    workspace.close()

    again = Workspace.open(settings)
    dispatch(again, later=outbox.BACKOFF_S[0] + 0.5)
    assert len(set(receiver.ids)) == 1
    assert len(receiver.ids) == 2
    [delivery] = webhooks.list_deliveries(again, made.id, after=None)
    assert [one["status_code"] for one in delivery.attempts] == [500, 204]
    assert delivery.status == "delivered"
    again.close()


def test_retries_back_off_and_end(client: TestClient, workspace: Workspace, receiver: Receiver) -> None:
    made = hook(client, receiver)
    receiver.answers = [503] * outbox.TRIES
    add_run(workspace)
    finish(workspace)
    waits = []
    for _ in range(outbox.TRIES):
        dispatch(workspace, later=1e6)
        [delivery] = log_of(client, made)
        if delivery["next_attempt_at"]:
            waits.append(round(delivery["next_attempt_at"] - time.time(), -1))
    assert waits == [round(wait, -1) for wait in outbox.BACKOFF_S]
    assert delivery["status"] == "failed"
    dispatch(workspace, later=1e6)
    assert len(receiver.ids) == outbox.TRIES


def test_replay_sends_a_failed_delivery_again(client: TestClient, workspace: Workspace, receiver: Receiver) -> None:
    made = hook(client, receiver)
    receiver.answers = [500] * outbox.TRIES
    add_run(workspace)
    finish(workspace)
    for _ in range(outbox.TRIES):
        dispatch(workspace, later=1e6)
    [failed] = log_of(client, made)
    path = f"/v1/webhooks/{made['id']}/deliveries/{failed['id']}/replay"
    assert client.post(path).json()["status"] == "pending"
    dispatch(workspace)
    [delivered] = log_of(client, made)
    assert delivered["status"] == "delivered"
    assert len(set(receiver.ids)) == 1
    assert client.post(f"/v1/webhooks/{made['id']}/deliveries/dlv-x/replay").status_code == 404


def test_410_switches_the_webhook_off(client: TestClient, workspace: Workspace, receiver: Receiver) -> None:
    made = hook(client, receiver)
    receiver.answers = [410]
    add_run(workspace)
    finish(workspace)
    dispatch(workspace)
    now = client.get(f"/v1/webhooks/{made['id']}").json()
    assert now["enabled"] is False
    assert "410" in now["disabled_reason"]
    [delivery] = log_of(client, made)
    assert delivery["status"] == "failed"
    replay = client.post(f"/v1/webhooks/{made['id']}/deliveries/{delivery['id']}/replay")
    assert replay.status_code == 409
    assert "enabled" in replay.json()["hint"]
    assert client.patch(f"/v1/webhooks/{made['id']}", json={"enabled": True}).json()["disabled_reason"] is None


def test_a_hanging_endpoint_does_not_hold_up_another(client: TestClient, workspace: Workspace) -> None:
    with Receiver(0) as slow, Receiver() as quick:
        hook(client, slow)
        hook(client, quick)
        dispatcher = deliveries.Dispatcher(workspace.database, notices.describe, ["127.0.0.1"])
        add_run(workspace)
        finish(workspace)
        dispatcher.step()
        quick.wait_for("run.succeeded", seconds=5)
        slow.release.set()
        dispatcher.close()


def test_an_address_that_is_refused_stores_nothing(client: TestClient) -> None:
    body = {"url": "https://evil.example.com/x", "events": ["run.failed"]}
    answer = client.post("/v1/webhooks", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "webhook_host_not_allowed")
    assert client.get("/v1/webhooks").json() == {"data": []}
    made = client.post("/v1/webhooks", json={**body, "url": "http://n8n:5678/x"}).json()
    assert client.patch(f"/v1/webhooks/{made['id']}", json={"url": body["url"]}).status_code == 400
    assert client.get(f"/v1/webhooks/{made['id']}").json()["url"] == "http://n8n:5678/x"


def test_without_an_allow_list_webhooks_are_refused(tmp_path: Path) -> None:
    workspace = Workspace.open(Settings(home=tmp_path, admin_key="admin-key", webhook_hosts=" , "))
    keys.ensure_first_key(workspace)
    with TestClient(create_app(workspace=workspace), headers=ADMIN) as client:
        answer = client.post("/v1/webhooks", json={"url": "http://n8n:5678/x", "events": ["run.failed"]})
    assert answer.json()["code"] == "webhook_hosts_not_set"
    assert "TUNESMITH_WEBHOOK_HOSTS" in answer.json()["hint"]


def test_a_host_that_left_the_allow_list_gets_nothing(tmp_path: Path, receiver: Receiver) -> None:
    before = Workspace.open(Settings(home=tmp_path, webhook_hosts="127.0.0.1"))
    made = webhooks.create(before, receiver.url, ["run.succeeded"])
    before.close()
    after = Workspace.open(Settings(home=tmp_path, webhook_hosts="n8n:5678"))
    add_run(after)
    finish(after)
    dispatch(after)
    assert receiver.calls == []
    [delivery] = webhooks.list_deliveries(after, made.id, after=None)
    assert "not allowed" in delivery.attempts[0]["error"]
    after.close()


def test_the_secret_is_shown_once_and_never_logged(
    client: TestClient, workspace: Workspace, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = hook(client, receiver)
    receiver.answers = [500]
    client.post(f"/v1/webhooks/{made['id']}/test")
    seen = [client.get("/v1/webhooks").text, client.get(f"/v1/webhooks/{made['id']}").text]
    seen += [json.dumps(log_of(client, made)), caplog.text]
    seen.append(client.patch(f"/v1/webhooks/{made['id']}", json={"description": "new"}).text)
    assert not any(made["secret"].removeprefix("whsec_") in text for text in seen)
    rotated = client.patch(f"/v1/webhooks/{made['id']}", json={"rotate_secret": True}).json()["secret"]
    assert rotated
    assert rotated != made["secret"]
    receiver.secret = rotated
    assert client.post(f"/v1/webhooks/{made['id']}/test").json()["status"] == "delivered"
    assert receiver.events[-1]["type"] == "webhook.test"


def test_only_admins_see_webhooks(client: TestClient, workspace: Workspace) -> None:
    weak = {"Authorization": f"Bearer {keys.create_key(workspace, 'weak', ['read', 'train', 'publish'])}"}
    assert client.get("/v1/webhooks", headers=weak).status_code == 403
    body = {"url": "http://n8n:5678/x", "events": ["run.failed"]}
    assert client.post("/v1/webhooks", headers=weak, json=body).status_code == 403


def test_misspelt_events_and_keys_are_refused(client: TestClient) -> None:
    url = "http://n8n:5678/x"
    assert client.post("/v1/webhooks", json={"url": url, "events": ["run.suceeded"]}).status_code == 422
    assert client.post("/v1/webhooks", json={"url": url, "events": []}).status_code == 422
    assert client.post("/v1/webhooks", json={"url": url, "event": ["run.failed"]}).status_code == 422
    assert client.get("/v1/webhooks/wh_x").status_code == 404


def test_a_webhook_of_one_run_hears_only_that_run_and_is_gone_after_its_end(
    client: TestClient, workspace: Workspace, receiver: Receiver
) -> None:
    add_run(workspace, run_id="run-1")
    add_run(workspace, run_id="run-2")
    made = hook(client, receiver, "run.succeeded", "job.succeeded", run_id="ftjob-2")
    finish(workspace)
    dispatch(workspace)
    assert receiver.events == []
    finish(workspace)
    dispatch(workspace)
    assert receiver.types() == ["job.succeeded", "run.succeeded"]
    assert receiver.events[0]["data"]["run_id"] == "run-2"
    assert client.get(f"/v1/webhooks/{made['id']}").status_code == 404
    with workspace.database.read() as session:
        assert session.query(Delivery).count() == 0


def test_a_webhook_made_after_its_run_has_ended_still_hears_the_end(
    client: TestClient, workspace: Workspace, receiver: Receiver
) -> None:
    add_run(workspace)
    finish(workspace)
    hook(client, receiver, "run.succeeded", run_id="run-1")
    dispatch(workspace)
    assert receiver.types() == ["run.succeeded"]
    unknown = client.post("/v1/webhooks", json={"url": receiver.url, "events": ["run.failed"], "run_id": "run-x"})
    assert unknown.status_code == 404


def test_a_webhook_hears_nothing_from_before_it_was_made(
    client: TestClient, workspace: Workspace, receiver: Receiver
) -> None:
    add_run(workspace)
    finish(workspace)
    hook(client, receiver)
    dispatch(workspace)
    assert receiver.calls == []


def test_a_switched_off_webhook_waits(client: TestClient, workspace: Workspace, receiver: Receiver) -> None:
    made = hook(client, receiver, enabled=False)
    add_run(workspace)
    finish(workspace)
    dispatch(workspace)
    assert receiver.calls == []
    assert client.post(f"/v1/webhooks/{made['id']}/test").status_code == 409


def test_deliveries_come_in_pages(client: TestClient, receiver: Receiver) -> None:
    made = hook(client, receiver)
    for _ in range(3):
        client.post(f"/v1/webhooks/{made['id']}/test")
    path = f"/v1/webhooks/{made['id']}/deliveries"
    first = client.get(path, params={"limit": 2}).json()
    assert (len(first["data"]), first["has_more"]) == (2, True)
    second = client.get(path, params={"limit": 2, "after": first["last_id"]}).json()
    assert (len(second["data"]), second["has_more"]) == (1, False)
    assert client.get(path, params={"after": "dlv-x"}).status_code == 404


def test_old_deliveries_and_forgotten_one_off_webhooks_are_tidied_away(
    client: TestClient, workspace: Workspace, receiver: Receiver
) -> None:
    add_run(workspace)
    old = hook(client, receiver)
    client.post(f"/v1/webhooks/{old['id']}/test")
    one_off = hook(client, receiver, run_id="run-1")
    with workspace.database.write() as session:
        for row in (*session.query(Delivery), *session.query(Webhook)):
            row.created_at -= deliveries.KEEP_S + 1
    deliveries.tidy(workspace.database)
    assert log_of(client, old) == []
    assert client.get(f"/v1/webhooks/{old['id']}").status_code == 200
    assert client.get(f"/v1/webhooks/{one_off['id']}").status_code == 404
