"""A candidate that was not published leaves neither a tag nor its files; one that was meant to stay does."""

import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from fakes.folder_target import FolderTarget
from fakes.ollama import FakeOllama
from lifecycle import FAILED, Runs, install_folder_target
from test_races import ROW
from tunesmith.errors import GateNotMet
from tunesmith.jobs import events, queue
from tunesmith.jobs.worker import Worker
from tunesmith.recipes import files, leftovers, models, runs
from tunesmith.serving import gguf_file
from tunesmith.settings import Settings
from tunesmith.store import database
from tunesmith.store.tables import Job, Run
from tunesmith.store.workspace import Workspace

# A stage that fails for good.
FAILING = (
    "import pathlib, sys; pathlib.Path(sys.argv[1], 'error.json').write_text("
    '\'{"code": "gate_not_met", "message": "worse", "hint": null, "param": null}\'); sys.exit(1)'
)


@pytest.fixture
def tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return install_folder_target(tmp_path, monkeypatch)


@pytest.fixture
def made(workspace: Workspace, tags: Path) -> Runs:
    return Runs(workspace, files.add_file(workspace, "rows.jsonl", "fine-tune", [ROW * 20]).id)


def test_a_file_that_was_uploaded_before_a_kill_is_taken_back(made: Runs, workspace: Workspace, tmp_path: Path) -> None:
    """Between the upload and the create there is no tag, and the GGUF is gone when the target is asked."""
    (tmp_path / "blobs").mkdir()
    with FakeOllama(tmp_path / "blobs") as ollama:
        workspace.settings.ollama_url = ollama.url
        run = runs.create_run(workspace, made.recipe(publish={"target": "ollama"}))
        made.do(run, "build", {"version": "0" * 16, "task": {"name": "chat", "spec": {}}})
        made.do(run, "train", {"adapter": "adapter"})
        gguf = made.export(run) / "model-q8_0.gguf"
        gguf.write_bytes(gguf_file.smallest({}))
        digest = gguf_file.seal(gguf).digest
        assert ollama.blobs.put(gguf.read_bytes()) == digest
        made.end(run, "evaluate", "cancelled")
        leftovers.tidy(workspace, run.id)
        assert not list(gguf.parent.glob("*.gguf*"))
        assert not ollama.blobs.has(digest)
        assert ollama.models == {}


def left(made: Runs, run: Run) -> set[str]:
    """What is there of a run's candidate: its tag, and the names of its files."""
    tag = {f"m:{run.id}"} & set(FolderTarget(made.workspace.settings).tags())
    return tag | {path.name for path in made.folder(run, "export").iterdir()} - leftovers.KEPT


def work(made: Runs, run: Run, argv: list[str]) -> list[str]:
    """Let a worker do what is left, by that command; what was there of the candidate when it was told how a stage
    ended."""
    seen: list[set[str]] = []
    workspace = made.workspace

    def before_end(job: Job) -> None:
        leftovers.before_end(workspace, job)
        assert "running" in {job.status for job in queue.jobs_of(workspace.database, run.id)}, "nobody knows yet"
        seen.append(left(made, run))

    def command(job_id: str) -> list[str]:
        return [*argv, str(workspace.artifacts.job(job_id))]

    worker = Worker(workspace.database, workspace.artifacts, command, poll_s=0.02, before_end=before_end)
    worker.run(until=lambda: runs.run_ended(workspace, run.id))
    return sorted(set().union(*seen)) if seen else ["not called"]


def test_a_candidate_that_fails_its_gate_is_gone_before_anybody_is_told(workspace: Workspace, made: Runs) -> None:
    """Regression: its tag and its GGUF stayed, and a nightly schedule filled the disk."""
    live = made.published()
    refused = made.evaluated(gate=FAILED)
    assert left(made, refused) == {f"m:{refused.id}", "merged", "model-q8_0.gguf"}
    with pytest.raises(GateNotMet):
        made.publish(refused)
    assert work(made, refused, [sys.executable, "-c", FAILING]) == []
    assert runs.status(workspace, refused.id) == "failed"
    assert FolderTarget(workspace.settings).tags() == {f"m:{live.id}": live.id, "m:latest": live.id}
    assert made.job(refused, "evaluate").outcome, "what was measured stays"
    said = [event.message for event in events.read(workspace.database, refused.id)]
    leftovers.step(workspace)
    assert said.count("Its candidate was not published and is taken away.") == 1
    assert left(made, live) == {f"m:{live.id}", "merged", "model-q8_0.gguf"}


def test_a_stage_that_is_cancelled_while_it_runs_leaves_nothing(workspace: Workspace, made: Runs) -> None:
    run = made.evaluated()
    cancelling = threading.Thread(target=cancel_once_running, args=(made, run))
    cancelling.start()
    assert work(made, run, [sys.executable, "-c", "import time; time.sleep(600)"]) == []
    cancelling.join()
    assert runs.status(workspace, run.id) == "cancelled"


def cancel_once_running(made: Runs, run: Run) -> None:
    while made.job(run, "publish").pid is None:
        threading.Event().wait(0.02)
    queue.cancel(made.workspace.database, run.id)


def test_a_run_that_is_cancelled_between_its_stages_leaves_nothing(workspace: Workspace, made: Runs) -> None:
    run = made.evaluated()
    queue.cancel(workspace.database, run.id)
    leftovers.step(workspace)
    assert left(made, run) == set()


def test_a_stage_that_was_killed_after_it_put_the_candidate_up(workspace: Workspace, made: Runs) -> None:
    """Its outcome was never written, so nothing says what it deployed."""
    run = begun(made)
    made.export(run)
    made.start(run, "evaluate")
    made.deploy(run)
    queue.cancel(workspace.database, run.id)
    leftovers.step(workspace)
    assert left(made, run), "its process is not gone yet"
    queue.finish(workspace.database, made.job(run, "evaluate").id, queue.Result("cancelled"))
    leftovers.step(workspace)
    assert left(made, run) == set()


def test_an_attempt_that_another_worker_took_over_removes_nothing(workspace: Workspace, made: Runs) -> None:
    """Its machine slept, and the stage goes on elsewhere with these very files."""
    run = made.evaluated()
    slept = made.start(run, "publish")
    made.start(run, "publish")
    leftovers.before_end(workspace, slept)
    assert left(made, run) == {f"m:{run.id}", "merged", "model-q8_0.gguf"}


def test_half_an_export_is_removed(workspace: Workspace, made: Runs) -> None:
    run = begun(made)
    folder = made.folder(run, "export")
    (folder / "merged").mkdir()
    (folder / ".model-q8_0.gguf.partial").write_bytes(b"GG")
    (folder / "log.txt").write_text("why it failed")
    made.end(run, "export", "failed")
    leftovers.step(workspace)
    assert [path.name for path in folder.iterdir()] == ["log.txt"]


def test_a_target_that_is_away_is_tidied_when_it_is_back(workspace: Workspace, made: Runs, tags: Path) -> None:
    run = made.evaluated()
    (tags / "away").touch()
    made.end(run, "publish", "failed")
    leftovers.step(workspace)
    (tags / "away").unlink()
    assert left(made, run) == {f"m:{run.id}"}, "the files need no target"
    leftovers.step(workspace)
    assert left(made, run) == set()


def test_one_that_cannot_be_tidied_keeps_no_other_waiting(
    workspace: Workspace, made: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, other = made.evaluated(), made.evaluated()
    for run in (broken, other):
        made.end(run, "publish", "failed")
    real = FolderTarget.remove

    def remove(self: FolderTarget, deployment: Any) -> None:
        if deployment.version == broken.id:
            raise RuntimeError("a plug-in that fails")
        real(self, deployment)

    monkeypatch.setattr(FolderTarget, "remove", remove)
    leftovers.step(workspace)
    assert left(made, other) == set()
    monkeypatch.undo()


@pytest.mark.parametrize("until", ["export", "evaluate"])
def test_a_run_that_ends_as_it_was_meant_to_keeps_its_files(workspace: Workspace, made: Runs, until: str) -> None:
    run = begun(made, until=until)
    made.export(run)
    if until == "evaluate":
        made.evaluate(run, gate=FAILED)
    assert runs.status(workspace, run.id) == "succeeded"
    leftovers.step(workspace)
    assert left(made, run) >= {"merged", "model-q8_0.gguf"}


def test_a_paused_run_keeps_its_candidate(workspace: Workspace, made: Runs) -> None:
    run = made.evaluated()
    queue.pause(workspace.database, run.id)
    leftovers.step(workspace)
    assert left(made, run) == {f"m:{run.id}", "merged", "model-q8_0.gguf"}


def test_what_went_live_is_no_leftover_however_its_run_ended(workspace: Workspace, made: Runs) -> None:
    """Its stage was killed after the model was live, and the run then cancelled."""
    first = made.published()
    second = made.evaluated()
    models.publish_release(workspace, release(made, second), replaces=first.id, recheck=lambda: None)
    made.end(second, "publish", "cancelled")
    models.roll_back(workspace, "m")
    leftovers.step(workspace)
    assert left(made, second) == {f"m:{second.id}", "merged", "model-q8_0.gguf"}
    assert models.make_live(workspace, "m", second.id).version == second.id


def test_a_failed_run_is_resumed_by_exporting_again(workspace: Workspace, made: Runs) -> None:
    run = made.evaluated()
    made.end(run, "publish", "failed")
    leftovers.step(workspace)
    runs.resume(workspace, run.id)
    states = [made.job(run, kind).status for kind in ("build", "train", "export", "evaluate", "publish")]
    assert states == ["succeeded", "succeeded", "queued", "queued", "queued"]
    assert not (made.folder(run, "export") / "outcome.json").exists()
    made.export(run)
    made.evaluate(run)
    leftovers.step(workspace)
    made.publish(run)
    assert FolderTarget(workspace.settings).tags()["m:latest"] == run.id


def test_a_resumed_run_that_fails_again_is_tidied_again(workspace: Workspace, made: Runs) -> None:
    run = made.evaluated()
    for _ in range(2):
        made.end(run, "publish", "failed")
        leftovers.step(workspace)
        assert left(made, run) == set()
        runs.resume(workspace, run.id)
        made.export(run)
        made.evaluate(run)


def begun(made: Runs, **options: Any) -> Run:
    """A run that was trained."""
    run = runs.create_run(made.workspace, made.recipe(), **options)
    made.do(run, "build", {"version": "0" * 16, "task": {"name": "chat", "spec": {}}})
    made.do(run, "train", {"adapter": "adapter"})
    return run


def release(made: Runs, run: Run) -> models.Release:
    outcome = made.job(run, "evaluate").outcome
    assert outcome is not None
    about = {"base_model": "b", "dataset_version": "d", "task": {"name": "chat"}, "evaluation": {}}
    return models.Release("m", run.id, run.id, deployment=outcome["deployment"], **about)  # type: ignore[arg-type]


def test_runs_that_had_ended_before_this_release_keep_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody may have come to rely on them; and who made a run or a schedule was not written down then."""
    monkeypatch.setattr(database, "HEAD", "0005")
    settings = Settings(home=tmp_path / "old", min_free_disk_mb=0)
    old = Workspace.open(settings)
    with old.database.write() as session:
        for run_id, status in (("run-ended", "failed"), ("run-going-on", "queued")):
            session.execute(
                text(
                    "INSERT INTO runs (id, recipe, request, model_name, created_at) VALUES (:id, '{}', '{}', 'm', 1.0)"
                ),
                {"id": run_id},
            )
            session.execute(
                text(
                    "INSERT INTO jobs (id, run_id, kind, lane, position, status, attempts, not_before, created_at) "
                    "VALUES (:id, :run, 'export', 'default', 0, :status, 1, 0, 1.0)"
                ),
                {"id": f"job-{run_id}", "run": run_id, "status": status},
            )
    old.close()
    monkeypatch.undo()
    opened = Workspace.open(settings)
    with opened.database.read() as session:
        found = {run.id: (run.tidied, run.may_replace) for run in session.query(Run)}
    opened.close()
    assert found == {"run-ended": (True, True), "run-going-on": (False, True)}
