"""A real service delivers by itself, and kill -9 in the middle of a delivery loses nothing."""

import signal
from pathlib import Path

from fakes.receiver import Receiver
from service import Service, wait
from tunesmith.jobs import outbox
from tunesmith.recipes import notices
from tunesmith.settings import Settings
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


def test_what_is_rolled_back_in_the_database_is_not_announced(tmp_path: Path) -> None:
    workspace = Workspace.open(Settings(home=tmp_path))
    with workspace.database.write() as session:
        outbox.put(session, "run.succeeded", "run-1", {})
        session.rollback()
    assert outbox.pass_on(workspace.database, notices.describe) == 0
    workspace.close()
