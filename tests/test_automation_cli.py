"""`tunesmith schedules` and `tunesmith webhooks`, on the data folder, without a running service."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fakes.receiver import Receiver
from tunesmith.cli.main import app
from tunesmith.errors import BadInput
from tunesmith.recipes import runs, schedules, webhooks
from tunesmith.recipes.schema import Recipe
from tunesmith.settings import get_settings
from tunesmith.store.tables import File
from tunesmith.store.workspace import Workspace


def test_schedules_and_webhooks_by_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path))
    monkeypatch.setenv("TUNESMITH_WEBHOOK_HOSTS", "127.0.0.1")
    monkeypatch.setattr(runs.base_models, "require", lambda *_: None)
    get_settings.cache_clear()
    workspace = Workspace.open()
    with workspace.database.write() as session:
        session.add(File(id="file-1", filename="rows.jsonl", purpose="fine-tune", bytes=1, sha256="0" * 64))
    runs.save_recipe(workspace, Recipe.model_validate({"name": "household", "sources": [{"file": "file-1"}]}))
    run = CliRunner().invoke
    added = run(app, ["schedules", "add", "weekly", "household", "--cron", "0 3 * * 0", "--quiet", "07:00-22:00"])
    assert added.exit_code == 0, added.output
    assert schedules.view(schedules.get(workspace, "weekly"))["quiet_hours"] == {"from": "07:00", "to": "22:00"}
    assert "weekly" in run(app, ["schedules", "list", "--json"]).output
    assert "run-" in run(app, ["schedules", "run", "weekly"]).output
    assert run(app, ["schedules", "remove", "weekly"]).exit_code == 0
    assert schedules.list_all(workspace) == []
    with Receiver() as receiver:
        made = run(app, ["webhooks", "add", receiver.url, "--event", "run.failed"])
        assert "whsec_" in made.output
        assert "whsec_" not in run(app, ["webhooks", "list"]).output
        [hook] = webhooks.list_all(workspace)
        receiver.secret = hook.secret
        assert "204 after" in run(app, ["webhooks", "test", hook.id]).output
        receiver.answers = [500]
        failed = run(app, ["webhooks", "test", hook.id])
        assert isinstance(failed.exception, BadInput)
    assert run(app, ["webhooks", "remove", hook.id]).exit_code == 0
    workspace.close()
    get_settings.cache_clear()
