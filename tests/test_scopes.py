"""Which scope each operation needs: read to look, train to make, publish to change what is live, admin for the rest."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from tunesmith.api import keys
from tunesmith.app import create_app
from tunesmith.cli.main import app
from tunesmith.settings import Settings, get_settings
from tunesmith.store.workspace import Workspace

SCOPES = ("read", "train", "publish", "admin")
OPEN = {"get_health", "get_readiness"}
BY_CONTENT = {"call_tool", "create_webhook", "delete_webhook"}  # what is asked decides: these have tests of their own
# Whatever is not named here is read, and only looks.
WRITES = {
    "train": {
        "create_file", "delete_file", "create_fine_tuning_job", "cancel_fine_tuning_job", "pause_fine_tuning_job",
        "resume_fine_tuning_job", "save_recipe", "run_recipe", "cancel_run", "pause_run", "resume_run",
        "synthesize_dataset",
        "import_dataset", "create_schedule", "update_schedule", "delete_schedule", "run_schedule", "sync_library",
    },
    "publish": {"publish_model", "roll_back_model", "delete_model", "suggest_values", "record_suggestion"},
    "admin": {
        "list_webhooks", "get_webhook", "update_webhook", "list_webhook_deliveries", "replay_webhook_delivery",
        "test_webhook",
    },
}  # fmt: skip


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    workspace = Workspace.open(Settings(home=tmp_path, min_free_disk_mb=0, parts=tmp_path / "parts"))
    with TestClient(create_app(workspace=workspace), raise_server_exceptions=False) as client:
        yield client


def test_every_operation_needs_its_scope_and_no_other_will_do(client: TestClient) -> None:
    workspace = client.app.state.workspace  # type: ignore[attr-defined]
    secrets = {scope: keys.create_key(workspace, scope, [scope]) for scope in SCOPES}
    for path, methods in client.app.openapi()["paths"].items():  # type: ignore[attr-defined]
        for method, operation in methods.items():
            name = operation["operationId"]
            if name in OPEN | BY_CONTENT:
                continue
            answers = {
                scope: client.request(method, path, headers={"Authorization": f"Bearer {secret}"}).status_code
                for scope, secret in secrets.items()
            }
            needed = next((scope for scope, names in WRITES.items() if name in names), "read")
            assert {scope for scope, status in answers.items() if status != 403} == {needed, "admin"}, name
            looks = method == "get" or name == "create_chat_completion"
            assert needed != "read" or looks, f"{name} does more than look: which scope does it need?"


def test_a_gate_that_lets_worse_models_go_live_is_a_matter_of_publishing(client: TestClient) -> None:
    """Regression: a key that may only train could replace a live model by a recipe without a gate."""
    workspace = client.app.state.workspace  # type: ignore[attr-defined]
    recipe = {"name": "x", "sources": [{"file": "file-1"}], "gate": {"not_worse_than": "none"}}
    for scopes, status in ((["train"], 403), (["train", "publish"], 200), (["admin"], 200)):
        secret = keys.create_key(workspace, "some", scopes)
        answer = client.post("/v1/recipes", json=recipe, headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code == status, answer.text
    trainer = {"Authorization": f"Bearer {keys.create_key(workspace, 'trainer', ['train'])}"}
    assert client.post("/v1/recipes", json={**recipe, "gate": {}}, headers=trainer).status_code == 200


def test_a_key_that_is_taken_away_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path))
    get_settings.cache_clear()
    run = CliRunner().invoke
    secret = run(app, ["keys", "create", "agent", "--scope", "read"]).output.strip()
    workspace = Workspace.open()
    assert keys.identify(workspace, secret) is not None
    [shown] = json.loads(run(app, ["keys", "list", "--json"]).output)
    assert (shown["name"], shown["scopes"]) == ("agent", ["read"])
    assert secret not in str(shown)
    assert run(app, ["keys", "remove", shown["id"]]).exit_code == 0
    assert keys.identify(workspace, secret) is None
    get_settings.cache_clear()
