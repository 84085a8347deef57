"""A real service delivers and takes turns by itself, and kill -9 in the middle of a delivery loses nothing."""

import signal
import time
from pathlib import Path

from sqlalchemy import update

from fakes.receiver import Receiver
from service import Service, extraction_rows, wait
from tunesmith.jobs import outbox
from tunesmith.recipes import notices
from tunesmith.settings import Settings
from tunesmith.store.tables import Schedule
from tunesmith.store.workspace import Workspace


def test_kill_9_in_the_middle_of_a_delivery(tmp_path: Path) -> None:
    with Receiver(0) as receiver:  # the first request hangs
        service = Service(tmp_path, TUNESMITH_WEBHOOK_HOSTS="127.0.0.1").start()
        body = {"url": receiver.url, "events": ["schedule.skipped"]}
        hook = service.http.post("/v1/webhooks", json=body).json()
        receiver.secret = hook["secret"]
        workspace = Workspace.open(Settings(home=tmp_path))
        with workspace.database.write() as session:
            outbox.put(session, "schedule.skipped", None, {"schedule": "nightly", "reason": "test"})
        workspace.close()
        wait(lambda: len(receiver.ids) == 1, 20)
        service.stop(signal.SIGKILL)
        receiver.release.set()
        service.start()
        receiver.wait_for("schedule.skipped")
        path = f"/v1/webhooks/{hook['id']}/deliveries"
        wait(lambda: service.http.get(path).json()["data"][0]["status"] == "delivered", 20)
        service.close()
    assert len(receiver.ids) == 2
    assert len(set(receiver.ids)) == 1, "the receiver can tell that it is the same event"
    assert receiver.events[0]["data"] == {"schedule": "nightly", "reason": "test"}


def test_a_schedule_takes_its_turn_by_itself(tmp_path: Path, tiny_base: tuple[Path, Path]) -> None:
    base, _ = tiny_base
    service = Service(tmp_path, TUNESMITH_MODELS=str(base.parent)).start()
    file = service.openai.files.create(file=("rows.jsonl", extraction_rows(12)), purpose="fine-tune")
    recipe = {"name": "receipts", "sources": [{"file": file.id}], "base_model": base.name}
    assert service.http.post("/v1/recipes", json=recipe).status_code == 200
    schedule = {"name": "often", "recipe": "receipts", "every": "5m"}
    assert service.http.post("/v1/schedules", json=schedule).status_code == 201
    workspace = Workspace.open(Settings(home=service.home))
    with workspace.database.write() as session:
        session.execute(update(Schedule).values(next_run_at=time.time()))
    workspace.close()
    wait(lambda: bool(service.http.get("/v1/schedules/often").json()["last_run_id"]), 20)
    [run] = service.http.get("/v1/runs").json()["data"]
    service.http.post(f"/v1/runs/{run['id']}/cancel")
    service.close()


def test_what_is_rolled_back_in_the_database_is_not_announced(tmp_path: Path) -> None:
    workspace = Workspace.open(Settings(home=tmp_path))
    with workspace.database.write() as session:
        outbox.put(session, "run.succeeded", "run-1", {})
        session.rollback()
    assert outbox.pass_on(workspace.database, notices.describe) == 0
    workspace.close()
