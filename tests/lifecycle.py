"""Runs whose stages are only written down: as far as a test needs them, without a training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fakes.folder_target import FolderTarget
from tunesmith.jobs import queue
from tunesmith.recipes import models, runs
from tunesmith.recipes.context import Context
from tunesmith.recipes.schema import Recipe
from tunesmith.recipes.stages import publish
from tunesmith.serving.targets.base import Deployment
from tunesmith.store.files import write_json
from tunesmith.store.tables import Job, Run
from tunesmith.store.workspace import Workspace

TESTS = Path(__file__).parent
PASSED: dict[str, Any] = {"passed": True, "checks": []}
FAILED: dict[str, Any] = {"passed": False, "checks": [], "note": "it is worse"}


def install_folder_target(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the target `folder` known here and in child processes; the folder where its tags lie."""
    shelf, tags = folder / "shelf", folder / "tags"
    about = shelf / "folder_target-1.0.dist-info"
    about.mkdir(parents=True)
    tags.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: folder-target\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[tunesmith.targets]\nfolder = fakes.folder_target:FolderTarget\n")
    monkeypatch.syspath_prepend(str(shelf))
    monkeypatch.setenv("PYTHONPATH", f"{shelf}:{TESTS}")
    monkeypatch.setenv("TUNESMITH_TEST_TARGET", str(tags))
    monkeypatch.setenv("TUNESMITH_TARGET", "folder")
    return tags


@dataclass
class Runs:
    """Makes runs of one recipe, `m` by name, whose file is there."""

    workspace: Workspace
    file_id: str

    def recipe(self, name: str = "m", **more: Any) -> Recipe:
        publish = {"target": "folder", **more.pop("publish", {})}
        return Recipe.model_validate({"name": name, "sources": [{"file": self.file_id}], "publish": publish, **more})

    def evaluated(self, name: str = "m", *, digest: str = "", gate: dict[str, Any] = PASSED, **options: Any) -> Run:
        """A run whose candidate was measured against what is live now, and is to be published next."""
        run = runs.create_run(self.workspace, self.recipe(name), **options)
        self.do(run, "build", {"version": "0" * 16, "task": {"name": "chat", "spec": {}}})
        self.do(run, "train", {"adapter": "adapter"})
        self.export(run)
        self.evaluate(run, digest=digest, gate=gate)
        return run

    def published(self, name: str = "m", **options: Any) -> Run:
        run = self.evaluated(name, **options)
        self.publish(run)
        return run

    def export(self, run: Run) -> Path:
        """The folder of the export, with a GGUF in it."""
        folder = self.folder(run, "export")
        (folder / "merged").mkdir()
        (folder / "merged" / "model.safetensors").write_bytes(b"weights")
        (folder / "model-q8_0.gguf").write_bytes(b"GGUF")
        self.do(run, "export", {"gguf": "model-q8_0.gguf", "hf_dir": "merged", "quantization": "q8_0"})
        return folder

    def evaluate(self, run: Run, *, digest: str = "", gate: dict[str, Any] = PASSED) -> None:
        live = models.live_version(self.workspace, run.model_name)
        deployment = self.deploy(run, digest)
        replaces = live.version if live else None
        self.do(run, "evaluate", {"deployment": deployment.as_dict(), "replaces": replaces, "gate": gate})

    def deploy(self, run: Run, digest: str = "") -> Deployment:
        """Puts the candidate's tag up."""
        target, folder = FolderTarget(self.workspace.settings), self.folder(run, "export")
        model = f"{run.model_name}:{run.id}"
        (target.folder / model).write_text(digest or run.id)
        names = dict.fromkeys(Deployment.__dataclass_fields__, "") | {"num_predict": None}
        return Deployment.from_dict(
            {
                **names,
                "target": "folder",
                "name": run.model_name,
                "version": run.id,
                "model": model,
                "gguf": str(folder / "model-q8_0.gguf"),
                "hf_dir": str(folder / "merged"),
                "digest": digest or run.id,
            }
        )

    def do(self, run: Run, kind: str, outcome: dict[str, Any]) -> None:
        """The stage succeeds with this outcome."""
        job = self.start(run, kind)
        write_json(self.folder(run, kind) / "outcome.json", outcome)
        queue.finish(self.workspace.database, job.id, queue.Result("succeeded", outcome=outcome))

    def start(self, run: Run, kind: str) -> Job:
        with self.workspace.database.write() as session:
            job = session.get_one(Job, self.job(run, kind).id)
            job.status, job.attempts = "running", job.attempts + 1
        return job

    def end(self, run: Run, kind: str, status: str) -> None:
        """The stage ends so, as the worker would record it."""
        error = {"code": "stage_failed", "message": "It failed.", "hint": None, "param": None}
        job = self.start(run, kind)
        queue.finish(self.workspace.database, job.id, queue.Result(status, error=error))

    def publish(self, run: Run) -> dict[str, Any]:
        """The publish stage does its work in this process."""
        outcome = publish.run(self.context(run))
        self.do(run, "publish", outcome)
        return outcome

    def context(self, run: Run) -> Context:
        with self.workspace.database.read() as session:
            return Context(self.workspace, session.get_one(Run, run.id), self.job(run, "publish"))

    def job(self, run: Run, kind: str) -> Job:
        return next(job for job in queue.jobs_of(self.workspace.database, run.id) if job.kind == kind)

    def folder(self, run: Run, kind: str) -> Path:
        return self.workspace.artifacts.job(self.job(run, kind).id)
