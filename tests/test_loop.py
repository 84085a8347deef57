"""The whole loop on a tiny model, through the unmodified OpenAI SDK, over kill -9 of everything."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.receiver import Receiver
from service import Service, extraction_rows, wait
from tiny import build_tiny_model

SHORT = {"n_epochs": 1, "batch_size": 4}
LONG = {"n_epochs": 8, "batch_size": 2}  # long enough to be killed in the middle


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    models = tmp_path_factory.mktemp("models")
    build_tiny_model(models / "tiny")
    home = tmp_path_factory.mktemp("home")
    service = Service(home, TUNESMITH_MODELS=str(models), TUNESMITH_WEBHOOK_HOSTS="127.0.0.1").start()
    yield service
    service.close()


def submit(service: Service, hyperparameters: dict[str, int], suffix: str) -> tuple[str, str]:
    """Ids of the job and of its run."""
    file = service.openai.files.create(file=("rows.jsonl", extraction_rows(40)), purpose="fine-tune")
    job = service.openai.fine_tuning.jobs.create(
        model="tiny", training_file=file.id, suffix=suffix, hyperparameters=hyperparameters, metadata={"by": suffix}
    )
    return job.id, f"run-{job.id.removeprefix('ftjob-')}"


def test_sdk_trains_and_chats_with_the_result(service: Service) -> None:
    with Receiver() as receiver:
        job_id, run_id = submit(service, SHORT, "sdk")
        body = {"url": receiver.url, "events": ["model.published", "run.succeeded", "run.failed"], "run_id": job_id}
        receiver.secret = service.http.post("/v1/webhooks", json=body).json()["secret"]
        run = service.finished(run_id)
        receiver.wait_for("model.published", "run.succeeded")
    assert receiver.events[-1]["data"]["report"]["measured"]["tuned"] == run["report"]["measured"]["tuned"]
    assert run["status"] == "succeeded", run["error"]
    client = service.openai
    job = client.fine_tuning.jobs.retrieve(job_id)
    assert job.status == "succeeded"
    assert job.fine_tuned_model == run["model"]
    assert job.trained_tokens
    assert job.hyperparameters.n_epochs == 1
    assert job.metadata == {"by": "sdk"}
    assert any(event.type == "metrics" for event in client.fine_tuning.jobs.list_events(job_id, limit=100))
    checkpoints = client.fine_tuning.jobs.checkpoints.list(job_id).data
    assert checkpoints
    assert checkpoints[0].step_number > 0
    assert run["report"]["measured"]["tuned"]["format_adherence"] == 1.0, "the grammar holds even a bad model"

    messages = [{"role": "user", "content": "Corner Books\nitem 7\nTOTAL 12.34"}]
    reply = client.chat.completions.create(model=job.fine_tuned_model, messages=messages, temperature=0)
    assert reply.model == job.fine_tuned_model
    assert set(json.loads(reply.choices[0].message.content or "")) == {"shop", "total"}
    stream = client.chat.completions.create(model=job.fine_tuned_model, messages=messages, temperature=0, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert set(json.loads(text)) == {"shop", "total"}
    free = client.chat.completions.create(
        model=job.fine_tuned_model, messages=messages, max_tokens=5, response_format={"type": "text"}
    )
    assert free.choices[0].message.content is not None
    assert job.fine_tuned_model in [model.id for model in client.models.list()]


def test_an_imported_dataset_is_trained_on(service: Service) -> None:
    files = {"file": ("receipts.jsonl", extraction_rows(40) + b"\nnot a row")}
    imported = service.http.post("/v1/datasets/receipts/import", files=files).json()
    assert [(item["line"], item["code"]) for item in imported["rejected"]] == [(41, "cut_off")]
    recipe = {
        "name": "from-dataset",
        "sources": [{"dataset": "receipts"}],
        "base_model": "tiny",
        "training": {"hyperparameters": SHORT},
        "gate": {"not_worse_than": "none"},
    }
    service.http.post("/v1/recipes", json=recipe).raise_for_status()
    run = service.finished(service.http.post("/v1/recipes/from-dataset/runs").json()["id"])
    assert run["status"] == "succeeded", run["error"]
    assert run["stages"][0]["outcome"]["version"] == imported["version"]


def test_kill_9_of_trainer_worker_and_server_finishes_once(service: Service) -> None:
    job_id, run_id = submit(service, LONG, "killed")
    train = service.stage("train", run_id)["job_id"]
    wait(lambda: bool(service.openai.fine_tuning.jobs.checkpoints.list(job_id).data), 120)
    trainer = service.stage_process(train)
    assert trainer is not None
    trainer.kill()
    wait(lambda: service.stage("train", run_id)["attempts"] == 2, 60)

    worker = service.worker()
    assert worker is not None
    worker.kill()
    wait(lambda: (now := service.worker()) is not None and now.pid != worker.pid, 30)

    wait(lambda: service.stage("export", run_id)["status"] == "running", 180)
    service.stop(signal.SIGKILL)
    wait(lambda: service.stage_process(service_stage_id(service, run_id)) is None, 30)
    service.start()
    run = service.finished(run_id)
    assert run["status"] == "succeeded", run["error"]
    versions = service.http.get(f"/v1/models/{run['model']}/versions").json()["data"]
    assert [version["version"] for version in versions] == [run_id]
    events = service.http.get(f"/v1/runs/{run_id}/events", params={"limit": 1000}).json()["data"]
    assert sum(event["message"].endswith("is live.") for event in events) == 1


def service_stage_id(service: Service, run_id: str) -> str:
    """The export job's id, read from the data folder while the service is down."""
    from tunesmith.jobs import queue
    from tunesmith.settings import Settings
    from tunesmith.store.workspace import Workspace

    workspace = Workspace.open(Settings(home=service.home))
    try:
        return next(job.id for job in queue.jobs_of(workspace.database, run_id) if job.kind == "export")
    finally:
        workspace.close()


def test_pause_and_resume_through_the_sdk(service: Service) -> None:
    jobs = service.openai.fine_tuning.jobs
    job_id, run_id = submit(service, LONG, "paused")
    wait(lambda: bool(jobs.checkpoints.list(job_id).data), 120)
    assert jobs.pause(job_id).status == "paused"
    wait(lambda: service.stage("train", run_id)["status"] == "paused", 60)
    steps_before = jobs.checkpoints.list(job_id).data[0].step_number
    assert jobs.resume(job_id).status in ("queued", "running")
    run = service.finished(run_id)
    assert run["status"] == "succeeded", run["error"]
    assert jobs.checkpoints.list(job_id).data[0].step_number >= steps_before


def test_versions_gate_and_roll_back(service: Service, tmp_path: Path) -> None:
    http = service.http
    file_id = service.openai.files.create(file=("rows.jsonl", extraction_rows(40)), purpose="fine-tune").id
    recipe = {
        "name": "totals",
        "sources": [{"file": file_id}],
        "base_model": "tiny",
        "training": {"hyperparameters": SHORT},
        "evaluation": {"rows": 4},
    }
    http.post("/v1/recipes", json=recipe).raise_for_status()
    first = service.finished(http.post("/v1/recipes/totals/runs").json()["id"])
    assert first["status"] == "succeeded", first["error"]
    second = service.finished(http.post("/v1/recipes/totals/runs").json()["id"])
    assert second["status"] == "succeeded", second["error"]
    assert set(second["report"]["measured"]) == {"live", "tuned"}
    assert second["report"]["replaces"] == first["id"], "what it was measured against is what it may replace"
    assert http.get("/v1/models/totals/versions").json()["data"][0]["version"] == second["id"]

    http.post("/v1/recipes", json={**recipe, "gate": {"field_accuracy": 1.0}}).raise_for_status()
    refused = service.finished(http.post("/v1/recipes/totals/runs").json()["id"])
    assert refused["status"] == "failed"
    assert refused["error"]["code"] == "gate_not_met"
    assert "short by" in refused["error"]["message"]
    kept = [path.name for path in service.home.glob("jobs/*/merged/*.safetensors")]
    assert kept == [], "half a gigabyte for each refused run of a schedule fills the disk"
    export = service.home / "jobs" / next(s["job_id"] for s in refused["stages"] if s["stage"] == "export")
    assert {path.name for path in export.iterdir()} == {"log.txt", "outcome.json"}, "nor its GGUF"
    assert http.post(f"/v1/runs/{refused['id']}/resume").status_code == 200
    again = service.finished(refused["id"])
    assert again["error"]["code"] == "gate_not_met", "exported and measured again, and no better"
    assert [stage["status"] for stage in again["stages"]] == ["succeeded"] * 4 + ["failed"]
    live = [version for version in http.get("/v1/models/totals/versions").json()["data"] if version["live"]]
    assert [version["version"] for version in live] == [second["id"]]

    assert http.post("/v1/models/totals/rollback").json()["version"] == first["id"]
    assert http.post("/v1/models/totals/rollback").status_code == 409
    body = {"model": "totals", "messages": [{"role": "user", "content": "TOTAL 4.20"}], "max_tokens": 60}
    assert http.post("/v1/chat/completions", json=body).status_code == 200
    assert http.post("/v1/models/totals/publish", json={"version": second["id"]}).json()["live"] is True
