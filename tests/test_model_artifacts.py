"""What a version leaves to take away: the right files, whole or in part, and never one outside its run's folders."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from typer.testing import CliRunner

from releases import record
from tunesmith.api import keys
from tunesmith.app import create_app
from tunesmith.cli import inspect
from tunesmith.jobs import queue
from tunesmith.recipes import models
from tunesmith.store.tables import Run
from tunesmith.store.workspace import Workspace

RUN = "run-0123456789ab"
WHERE = f"/v1/models/receipts/versions/{RUN}/artifacts"
FIGURES = {"rows": 4, "format_adherence": 1.0, "field_accuracy": 0.75, "exact": 0.5, "fields": {"total": 0.75}}
RULE = {"name": "format_adherence", "value": 1.0, "required": 0.95, "passed": True}
MEASURED = {
    "rows": 4,
    "in_sample": False,
    "measured": {"tuned": FIGURES},
    "gate": {"passed": True, "checks": [RULE], "note": None},
}


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    workspace.settings.admin_key = SecretStr("admin-key")
    keys.ensure_first_key(workspace)
    with TestClient(create_app(workspace=workspace), headers={"Authorization": "Bearer admin-key"}) as client:
        yield client


@pytest.fixture
def published(workspace: Workspace) -> dict[str, Path]:
    """Folders of the train and export stages of one published version."""
    with workspace.database.write() as session:
        session.add(Run(id=RUN, recipe_name="receipts", recipe={"name": "receipts"}, model_name="receipts"))
        session.flush()
        queue.enqueue(session, RUN, [queue.Step("train"), queue.Step("export")])
    folders = {}
    for kind, outcome in (("train", {"adapter": "adapter"}), ("export", {"gguf": "model-q8_0.gguf"})):
        job = queue.claim(workspace.database, ["default"])
        assert job is not None
        folders[kind] = workspace.artifacts.job(job.id)
        queue.finish(workspace.database, job.id, queue.Result("succeeded", outcome=outcome))
    (folders["train"] / "adapter").mkdir()
    (folders["train"] / "adapter" / "adapter_config.json").write_text("{}")
    (folders["train"] / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    (folders["train"] / "adapter" / "elsewhere").symlink_to("/etc/passwd")
    (folders["export"] / "model-q8_0.gguf").write_bytes(b"GGUF" + bytes(100))
    record(
        workspace,
        models.Release(
            name="receipts",
            version=RUN,
            run_id=RUN,
            base_model="tiny",
            dataset_version="30bead0acc7985d7",
            task={"name": "extraction", "spec": {}},
            deployment={"target": "llamacpp"},
            evaluation=MEASURED,
        ),
    )
    return folders


def test_each_artefact_is_downloaded(client: TestClient, workspace: Workspace, published: dict[str, Path]) -> None:
    gguf = client.get(f"{WHERE}/gguf")
    assert gguf.content == b"GGUF" + bytes(100)
    assert f'filename="receipts-{RUN}-q8_0.gguf"' in gguf.headers["content-disposition"]
    part = client.get(f"{WHERE}/gguf", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"GGUF")
    with zipfile.ZipFile(io.BytesIO(client.get(f"{WHERE}/adapter").content)) as archive:
        assert archive.namelist() == ["adapter_config.json", "adapter_model.safetensors"], "no link is followed"
        assert archive.read("adapter_model.safetensors") == b"weights"
    report = client.get("/v1/models/receipts/versions/latest/artifacts/report").json()
    assert (report["version"], report["evaluation"]) == (RUN, MEASURED)
    card = client.get(f"{WHERE}/card").text
    assert f"# receipts, version {RUN}" in card
    assert "| tuned | 100.0% | 75.0% | 50.0% |" in card
    assert "- format adherence: 100.0%, required 95.0%" in card
    assert list((workspace.artifacts.home / "cache" / "scratch").iterdir()) == [], "nothing is left behind"


def test_a_path_outside_the_runs_folder_is_never_read(
    client: TestClient, workspace: Workspace, published: dict[str, Path]
) -> None:
    secret = workspace.artifacts.home / "secret.gguf"
    secret.write_bytes(b"secret")
    (published["export"] / "model-q8_0.gguf").unlink()
    (published["export"] / "model-q8_0.gguf").symlink_to(secret)
    refused = client.get(f"{WHERE}/gguf")
    assert (refused.status_code, refused.json()["code"]) == (404, "artifact_gone")
    for evil in ("..%2f..%2fsecret.gguf", "log.txt", "spec.json"):
        assert client.get(f"{WHERE}/{evil}").status_code in (404, 422)


def test_what_is_not_there_says_so(client: TestClient, published: dict[str, Path]) -> None:
    (published["export"] / "model-q8_0.gguf").unlink()
    gone = client.get(f"{WHERE}/gguf").json()
    assert gone["code"] == "artifact_gone"
    assert gone["hint"]
    assert client.get("/v1/models/receipts/versions/run-x/artifacts/card").status_code == 404
    assert "gguf" in client.get(f"{WHERE}/weights").json()["detail"]


def test_downloads_need_the_scope_read(client: TestClient, workspace: Workspace, published: dict[str, Path]) -> None:
    weak = {"Authorization": f"Bearer {keys.create_key(workspace, 'weak', ['train', 'publish'])}"}
    assert client.get(f"{WHERE}/card", headers=weak).status_code == 403


def test_the_command_line_saves_the_same(
    client: TestClient, workspace: Workspace, published: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect, "open_workspace", lambda: workspace)
    done = CliRunner().invoke(inspect.models, ["download", "receipts", "report", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    saved = json.loads((tmp_path / f"receipts-{RUN}.json").read_text())
    assert saved == client.get(f"{WHERE}/report").json()
    CliRunner().invoke(inspect.models, ["download", f"receipts:{RUN}", "gguf", "--output", str(tmp_path / "m.gguf")])
    assert (tmp_path / "m.gguf").read_bytes().startswith(b"GGUF")
