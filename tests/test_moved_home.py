"""A data folder that was moved, or is mounted elsewhere, keeps what was published in it."""

import shutil
from dataclasses import replace
from pathlib import Path

from fastapi.testclient import TestClient
from pydantic import SecretStr

from conftest import Tiny
from releases import record
from tunesmith.api import keys
from tunesmith.app import create_app
from tunesmith.recipes import models
from tunesmith.serving.targets.llamacpp import LlamaCppTarget
from tunesmith.settings import Settings
from tunesmith.store.tables import Run
from tunesmith.store.workspace import Workspace

RUN = "run-0123456789ab"


def publish(workspace: Workspace, tiny: Tiny) -> None:
    folder = workspace.artifacts.job("job-0123456789ab")
    shutil.copytree(tiny.hf_dir, folder / "merged")
    for part in tiny.f16.parent.glob(f"{tiny.f16.name}*"):  # the model and its seal
        shutil.copy2(part, folder)
    candidate = replace(tiny.candidate(RUN), gguf=folder / tiny.f16.name, hf_dir=folder / "merged")
    with workspace.database.write() as session:
        session.add(Run(id=RUN, recipe_name="tiny-model", recipe={"name": "tiny-model"}, model_name="tiny-model"))
    release = models.Release(
        name="tiny-model",
        version=RUN,
        run_id=RUN,
        base_model="tiny",
        dataset_version="30bead0acc7985d7",
        task={"name": "chat", "spec": {}},
        deployment=LlamaCppTarget(workspace.settings).deploy(candidate).as_dict(),
        evaluation={},
    )
    record(workspace, release)


def test_a_moved_data_folder_still_answers(tiny: Tiny, tmp_path: Path) -> None:
    """Regression: the books held absolute paths, so a moved folder lost its published models."""
    before = Workspace.open(Settings(home=tmp_path / "before", min_free_disk_mb=0))
    publish(before, tiny)
    before.close()
    (tmp_path / "before").rename(tmp_path / "after")
    moved = Workspace.open(
        Settings(home=tmp_path / "after", min_free_disk_mb=0, admin_key=SecretStr("k")),
    )
    keys.ensure_first_key(moved)
    asked = {"model": "tiny-model", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
    with TestClient(create_app(workspace=moved), headers={"Authorization": "Bearer k"}) as client:
        answer = client.post("/v1/chat/completions", json=asked)
        assert answer.status_code == 200, answer.text
        assert client.post("/v1/models/tiny-model/rollback").status_code == 409, "there is no version before it"
    moved.close()


def test_paths_outside_job_folders_stay(workspace: Workspace) -> None:
    assert workspace.artifacts.found("/models/jobs/other.gguf") == Path("/models/jobs/other.gguf")
    wanted = workspace.artifacts.home / "jobs" / "job-1" / "model.gguf"
    assert workspace.artifacts.found("/old/jobs/home/jobs/job-1/model.gguf") == wanted
