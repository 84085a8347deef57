"""A data folder of version 0.1 (commit a56e6d0) opens: its models answer, its schedules fire, its keys are valid.

tests/data/home-a56e6d0.tar.xz was made by that version's service: a recipe run twice, a fine-tuning job, an imported
dataset, a schedule, a webhook and a key with the scope `read`; checkpoints and logs were left out.
"""

import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service import Service, wait

MADE = Path(__file__).parent / "data" / "home-a56e6d0.tar.xz"
READ_KEY = "tsk-T9ia43ZilRSHESr2-oIFRpLkSHUH6XJ_rUxQcKbrUhg"
JOB, NAMES = "ftjob-0a33f348afb5", {"household-extractor", "ft-old-0a33f348afb5"}
RECEIPT = [{"role": "user", "content": "Corner Books\nitem 7\nTOTAL 12.34"}]
ANSWER = '{"shop": "item 7", "total": null}'  # what that version answered


@pytest.fixture(scope="module")
def service(tiny_base: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(MADE) as archive:
        archive.extractall(folder, filter="data")
    models = folder / "models"
    shutil.copytree(tiny_base[0], models / "tiny")
    with sqlite3.connect(folder / "home" / "tunesmith.sqlite3") as database:
        database.execute("UPDATE schedules SET next_run_at = 1")  # due: the old service was away for long
    service = Service(folder / "home", TUNESMITH_MODELS=str(models), TUNESMITH_WEBHOOK_HOSTS="127.0.0.1")
    yield service.start()
    service.close()


def test_its_models_answer_as_they_did(service: Service) -> None:
    assert {model.id for model in service.openai.models.list()} == NAMES
    for name in NAMES:
        reply = service.openai.chat.completions.create(model=name, messages=RECEIPT, max_tokens=40)  # type: ignore[arg-type]
        assert reply.choices[0].message.content == ANSWER


def test_its_schedule_fires(service: Service) -> None:
    wait(lambda: service.http.get("/v1/schedules/nightly").json()["last_run_id"] is not None, 60)
    run = service.http.get("/v1/schedules/nightly").json()["last_run_id"]
    service.http.post(f"/v1/runs/{run}/cancel").raise_for_status()


def test_its_keys_and_webhooks_are_there(service: Service) -> None:
    reader = {"Authorization": f"Bearer {READ_KEY}"}
    assert httpx.get(f"{service.url}/v1/models", headers=reader).status_code == 200
    assert httpx.get(f"{service.url}/v1/webhooks", headers=reader).status_code == 403
    [webhook] = service.http.get("/v1/webhooks").json()["data"]
    assert webhook["events"] == ["run.succeeded"]


def test_its_jobs_runs_and_datasets_are_shown(service: Service) -> None:
    job = service.openai.fine_tuning.jobs.retrieve(JOB)
    assert (job.status, job.fine_tuned_model, job.metadata) == (
        "succeeded",
        "ft-old-0a33f348afb5",
        {"asked_by": "somebody"},
    )
    assert {"receipts", "household-documents"} <= {d["name"] for d in service.http.get("/v1/datasets").json()["data"]}
    runs = service.http.get("/v1/runs").json()["data"]
    assert [run["status"] for run in runs].count("succeeded") == 3
    events = service.openai.fine_tuning.jobs.list_events(JOB).data
    assert any("is live" in event.message for event in events)


def test_a_version_can_be_rolled_back_and_forth(service: Service) -> None:
    versions = service.http.get("/v1/models/household-extractor/versions").json()["data"]
    assert [version["live"] for version in versions] == [True, False]
    back = service.http.post("/v1/models/household-extractor/rollback").raise_for_status().json()
    assert back["version"] == versions[1]["version"]
    again = {"version": versions[0]["version"]}
    service.http.post("/v1/models/household-extractor/publish", json=again).raise_for_status()
