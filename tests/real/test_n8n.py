"""The node package in a real n8n, against a real service with a tiny model."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from n8n_server import Json, N8n, error_of, node, output, quietly, tunesmith, webhook
from service import KEY, Service, extraction_rows, wait

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "real_n8n.sh"
QUESTION = "Corner Books\nitem 7\nTOTAL 12.34"
SCAN = """
import { analyzePackage, SOURCE_FILE_PATTERNS } from '@n8n/scan-community-package/scanner/scanner.mjs';
for (const patterns of [SOURCE_FILE_PATTERNS, ['**/*.js', 'package.json']]) {
    const result = await analyzePackage(process.cwd(), patterns);
    if (!result.passed) { console.error(result.message, result.details); process.exitCode = 1; }
}
"""


def test_the_package_lints_and_passes_the_official_scan(package: Path, tools: Path) -> None:
    quietly(["n8n-node", "lint"], package, tools)
    quietly(["node", "--input-type=module", "--eval", SCAN], package, tools)


def test_the_unit_tests_of_the_package(package: Path, tools: Path) -> None:
    quietly(["node", "--test", "tests/*.test.mjs"], package, tools)


def create_job(key: Json, **more: Any) -> Json:
    fields = {"suffix": more.pop("suffix", "n8n"), "n_epochs": more.pop("n_epochs", 1), "batch_size": 4}
    return tunesmith(
        "Create",
        key,
        resource="job",
        operation="create",
        baseModel="tiny",
        examplesFrom="binary",
        binaryField="rows",
        additionalFields=fields,
        **more,
    )


def rows(count: int = 40) -> Json:
    return {"rows": ("rows.jsonl", extraction_rows(count), "application/jsonl")}


def by_id(value: str) -> Json:
    return {"__rl": True, "mode": "id", "value": value}


@pytest.fixture(scope="module")
def tuned(n8n: N8n, key: Json) -> Json:
    """A job from an uploaded file, waited for by polling; then the model is asked."""
    ask = tunesmith(
        "Ask",
        key,
        resource="model",
        operation="try",
        model=by_id("={{ $json.fine_tuned_model }}"),
        message=QUESTION,
    )
    return n8n.run([webhook("tune"), create_job(key, wait="poll", timeLimit=9), ask], files=rows())


def test_a_file_becomes_a_model_that_answers(tuned: Json) -> None:
    assert tuned["status"] == "success", error_of(tuned)
    job = output(tuned, "Create")[0]
    assert job["status"] == "succeeded"
    answer = output(tuned, "Ask")[0]
    assert answer["model"] == job["fine_tuned_model"]
    assert set(answer["fields"]) == {"shop", "total"}, "the grammar holds even a bad model"


def test_runs_models_and_evaluations_are_read(n8n: N8n, key: Json, tuned: Json) -> None:
    job = output(tuned, "Create")[0]
    run_id, model = job["run_id"], job["fine_tuned_model"]
    nodes = [
        webhook("read"),
        tunesmith("Run", key, resource="run", operation="get", runId=by_id(run_id)),
        tunesmith("Evaluation", key, resource="evaluation", operation="get", runId=by_id(run_id)),
        tunesmith("Events", key, resource="run", operation="getEvents", runId=by_id(run_id), limit=500),
        tunesmith("Runs", key, resource="run", operation="getAll", returnAll=True) | {"executeOnce": True},
        tunesmith("Jobs", key, resource="job", operation="getAll", limit=1) | {"executeOnce": True},
        tunesmith("Models", key, resource="model", operation="getAll", returnAll=True) | {"executeOnce": True},
        tunesmith("Versions", key, resource="model", operation="getVersions", model=by_id(model), returnAll=True)
        | {"executeOnce": True},
        tunesmith(
            "Publish",
            key,
            resource="model",
            operation="publish",
            model=by_id(model),
            version="={{ $('Versions').first().json.version }}",
        ),
    ]
    read = n8n.run(nodes)
    assert read["status"] == "success", error_of(read)
    assert output(read, "Run")[0]["id"] == run_id
    assert output(read, "Evaluation")[0]["measured"]["tuned"]["format_adherence"] == 1.0
    assert len(output(read, "Events")) > 5
    assert run_id in [run["id"] for run in output(read, "Runs")]
    assert len(output(read, "Jobs")) == 1
    assert model in [item["id"] for item in output(read, "Models")]
    assert output(read, "Publish")[0]["live"] is True


def test_an_error_shows_our_words_and_our_hint(n8n: N8n, key: Json) -> None:
    missing = {"resource": "recipe", "operation": "get", "recipe": by_id("nobody")}
    failed = n8n.run([webhook("error"), tunesmith("Get", key, **missing)])
    assert failed["status"] == "error"
    assert "nobody" in error_of(failed)["message"]
    assert error_of(failed)["description"]
    assert error_of(failed)["httpCode"] == "404"
    goes_on = n8n.run([webhook("goes-on"), tunesmith("Get", key, **missing, on_error="continueRegularOutput")])
    assert goes_on["status"] == "success"
    item = output(goes_on, "Get")[0]
    assert (item["details"]["code"], item["details"]["status"]) == ("not_found", 404)
    assert "nobody" in item["error"]
    assert item["details"]["hint"] == error_of(failed)["description"]


def test_a_gate_that_is_not_met_fails_the_node_with_the_reason(
    n8n: N8n, key: Json, household: str, tiny_service: Service
) -> None:
    known = tiny_service.http.get("/v1/recipes/household-documents").json()["document"]
    strict = {**known, "name": "strict", "gate": {"field_accuracy": 1.0}, "publish": {"name": "strict"}}
    save = tunesmith("Save", key, resource="recipe", operation="save", document=json.dumps(strict))
    run = {"resource": "recipe", "operation": "run", "recipe": by_id("strict"), "wait": "poll", "timeLimit": 9}
    failed = n8n.run([webhook("strict"), save, tunesmith("Run", key, **run, waitOptions={})])
    assert failed["status"] == "error"
    assert "field accuracy" in error_of(failed)["message"]
    assert error_of(failed)["description"]
    tolerant = tunesmith("Run", key, **run, waitOptions={"failOnError": False})
    told = n8n.run([webhook("tolerant"), tolerant])
    assert told["status"] == "success", error_of(told)
    assert output(told, "Run")[0]["status"] == "failed"
    assert output(told, "Run")[0]["error"]["code"] == "gate_not_met"


@pytest.fixture(scope="module")
def trainer(n8n: N8n, tiny_service: Service) -> Json:
    """A credential that may look and train, and is no admin."""
    return n8n.credential(
        "tunesmithApi", {"baseUrl": tiny_service.url, "apiKey": tiny_service.new_key("read", "train")}
    )


def one_off_hooks(service: Service) -> list[Json]:
    return [hook for hook in service.http.get("/v1/webhooks").json()["data"] if hook["run_id"]]


def test_suspended_until_tunesmith_calls_back(n8n: N8n, trainer: Json, tiny_service: Service) -> None:
    nodes = [webhook("suspend"), create_job(trainer, wait="suspend", timeLimit=9, suffix="suspended")]
    workflow = n8n.create("suspend", nodes)
    n8n.activate(workflow)
    assert n8n.call("suspend", files=rows()).status_code == 200
    wait(lambda: [run["status"] for run in n8n.executions(workflow)] == ["waiting"], 120)
    done = n8n.ended(workflow)
    assert done["status"] == "success"
    job = output(done, "Create")[0]
    assert (job["status"], job["user_provided_suffix"]) == ("succeeded", "suspended")
    assert "timed_out" not in job
    wait(lambda: not one_off_hooks(tiny_service), 120)


def test_suspended_beyond_its_time_limit_goes_on_with_its_input(
    n8n: N8n, tiny_service: Service, tmp_path: Path
) -> None:
    environment = {name: tiny_service.environment[name] for name in ("TUNESMITH_MODELS", "TUNESMITH_WEBHOOK_HOSTS")}
    idle = Service(tmp_path / "home", ["--no-worker"], **environment).start()  # its runs never end
    try:
        credential = n8n.credential("tunesmithApi", {"baseUrl": idle.url, "apiKey": KEY})
        job = create_job(credential, wait="suspend", timeLimit=1)
        after = node("After", "n8n-nodes-base.noOp", 1, {})
        workflow = n8n.create("too-long", [webhook("too-long"), job, after])
        n8n.activate(workflow)
        assert n8n.call("too-long", files=rows()).status_code == 200
        done = n8n.ended(workflow)  # n8n looks every minute for what is to be woken
        assert done["status"] == "success", error_of(done)
        assert "status" not in output(done, "After")[0], "a workflow branches on this: what has ended has one"
        assert [run["status"] for run in idle.http.get("/v1/runs").json()["data"]] == ["queued"]
    finally:
        idle.close()


def test_a_run_is_paused_and_resumed(n8n: N8n, trainer: Json) -> None:
    run = {"resource": "run", "runId": by_id("={{ $('Create').first().json.run_id }}")}
    nodes = [
        webhook("pause"),
        create_job(trainer, wait="no", suffix="paused", n_epochs=4),
        tunesmith("Pause", trainer, operation="pause", **run),
        tunesmith("Wait", trainer, operation="wait", timeLimit=9, waitOptions={"failOnError": False}, **run),
        tunesmith("Resume", trainer, operation="resume", wait="poll", timeLimit=9, waitOptions={}, **run)
        | {"retryOnFail": True, "maxTries": 5, "waitBetweenTries": 5000},  # a checkpoint may still be under way
    ]
    done = n8n.run(nodes, files=rows())
    assert done["status"] == "success", error_of(done)
    assert output(done, "Wait")[0]["status"] == "paused"
    assert output(done, "Resume")[0]["status"] == "succeeded"


def test_artefacts_come_as_binary_data(n8n: N8n, trainer: Json, household: str) -> None:
    download = {"resource": "model", "operation": "download", "model": by_id(household), "version": "latest"}
    answers = {}
    for artifact in ("report", "adapter", "gguf"):
        path = f"download-{artifact}"
        back = {"responseData": "firstEntryBinary", "responseBinaryPropertyName": "file"}
        get = tunesmith("Download", trainer, **download, artifact=artifact, binaryField="file")
        n8n.activate(n8n.create(path, [webhook(path, "lastNode", **back), get]))
        answers[artifact] = n8n.call(path).content
    assert json.loads(answers["report"])["name"] == household
    with zipfile.ZipFile(io.BytesIO(answers["adapter"])) as archive:
        assert "adapter_config.json" in archive.namelist()
    assert answers["gguf"].startswith(b"GGUF")


def test_a_dataset_is_built_and_widened_without_training_and_a_file_is_checked(
    n8n: N8n, trainer: Json, household: str, tiny_service: Service
) -> None:
    recipe = {"recipe": by_id("household-documents"), "wait": "poll", "timeLimit": 9, "waitOptions": {}}
    check = {"resource": "dataset", "operation": "check", "name": "checked", "binaryField": "rows"}
    dataset = {"dataset": by_id("household-documents")}
    wanted = {"like": "dataset", "rows": 4, "kinds": ["ocr"]}  # bad scans, which need no teacher
    more = {**recipe, **dataset, "synthetic": json.dumps(wanted)}
    nodes = [
        webhook("build"),
        tunesmith("Check", trainer, **check),
        tunesmith("Build", trainer, resource="dataset", operation="build", **recipe),
        tunesmith("Synthesise", trainer, resource="dataset", operation="synthesize", **more),
        tunesmith("Report", trainer, resource="dataset", operation="getReport", **dataset),
    ]
    done = n8n.run(nodes, files=rows(12))
    assert done["status"] == "success", error_of(done)
    assert output(done, "Check")[0]["rows_kept"] == 12
    assert "checked" not in [item["name"] for item in tiny_service.http.get("/v1/datasets").json()["data"]]
    built = output(done, "Build")[0]
    assert ([stage["stage"] for stage in built["stages"]], built["status"]) == (["build"], "succeeded")
    report = output(done, "Report")[0]
    assert report["run_id"] == output(done, "Synthesise")[0]["id"] != built["id"]
    assert report["report"]["synthetic"][0]["kept"] > 0


def test_trigger_starts_on_signed_events_only(n8n: N8n, key: Json, tiny_service: Service) -> None:
    trigger = {
        "id": "trigger",
        "name": "Trigger",
        "type": "n8n-nodes-tunesmith.tunesmithTrigger",
        "typeVersion": 1,
        "position": [0, 0],
        "webhookId": "tunesmith-trigger",
        "parameters": {"events": ["run.cancelled"], "filters": {}},
        "credentials": key,
    }
    workflow = n8n.create("trigger", [trigger, tunesmith("Models", key, resource="model", operation="getAll")])
    n8n.activate(workflow)
    wait(lambda: bool(tiny_service.http.get("/v1/webhooks").json()["data"]), 120)
    (hook,) = tiny_service.http.get("/v1/webhooks").json()["data"]
    assert hook["events"] == ["run.cancelled"]
    forged = httpx.post(hook["url"], json={"type": "run.cancelled", "data": {}})
    assert forged.status_code == 401
    file = tiny_service.openai.files.create(file=("rows.jsonl", extraction_rows(40)), purpose="fine-tune")
    job = tiny_service.openai.fine_tuning.jobs.create(model="tiny", training_file=file.id)
    tiny_service.openai.fine_tuning.jobs.cancel(job.id)
    done = n8n.ended(workflow)
    event = output(done, "Trigger")[0]
    assert (event["type"], event["data"]["run_id"]) == ("run.cancelled", f"run-{job.id.removeprefix('ftjob-')}")
    assert len(n8n.executions(workflow)) == 1, "the forged one started nothing"
    n8n.deactivate(workflow)
    wait(lambda: tiny_service.http.get("/v1/webhooks").json()["data"] == [], 120)


def test_cancelling_the_execution_cancels_the_run(n8n: N8n, key: Json, tiny_service: Service) -> None:
    workflow = n8n.create("stop", [webhook("stop"), create_job(key, wait="poll", suffix="stopped", n_epochs=40)])
    n8n.activate(workflow)
    n8n.call("stop", files=rows())
    wait(lambda: any("stopped" in run["model"] for run in tiny_service.http.get("/v1/runs").json()["data"]), 120)
    run = next(run for run in tiny_service.http.get("/v1/runs").json()["data"] if "stopped" in run["model"])
    (execution,) = n8n.executions(workflow, status="running")
    assert n8n.api.post(f"/executions/{execution['id']}/stop").status_code == 200
    wait(lambda: tiny_service.http.get(f"/v1/runs/{run['id']}").json()["status"] == "cancelled", 120)


def test_lists_are_searched_and_the_credential_is_tested(
    n8n: N8n, key: Json, tuned: Json, tiny_service: Service
) -> None:
    model = output(tuned, "Create")[0]["fine_tuned_model"]
    asked = {
        "path": "model",
        "methodName": "searchModels",
        "nodeTypeAndVersion": {"name": "n8n-nodes-tunesmith.tunesmith", "version": 1},
        "currentNodeParameters": {"resource": "model", "operation": "get"},
        "credentials": key,
        "filter": model[-6:],
    }
    found = n8n.rest.post("/dynamic-node-parameters/resource-locator-results", json=asked).json()["data"]["results"]
    assert [item["value"] for item in found] == [model]
    for api_key, status in ((KEY, "OK"), ("wrong", "Error")):
        data = {"baseUrl": f"{tiny_service.url}/", "apiKey": api_key}
        tested = {"id": key["tunesmithApi"]["id"], "name": "tunesmithApi", "type": "tunesmithApi", "data": data}
        answer = n8n.rest.post("/credentials/test", json={"credentials": tested}).json()["data"]
        assert answer["status"] == status, answer


def test_datasets_come_in_and_go_out_as_files(n8n: N8n, key: Json) -> None:
    nodes = [
        webhook("datasets", "lastNode", responseData="firstEntryBinary", responseBinaryPropertyName="data"),
        tunesmith("Import", key, resource="dataset", operation="import", name="receipts", binaryField="rows"),
        tunesmith("Report", key, resource="dataset", operation="getReport", dataset=by_id("={{ $json.name }}")),
        tunesmith("Preview", key, resource="dataset", operation="preview", dataset=by_id("receipts"), rows=3),
        tunesmith("Export", key, resource="dataset", operation="export", dataset=by_id("receipts"), format="messages")
        | {"executeOnce": True},
    ]
    workflow = n8n.create("datasets", nodes)
    n8n.activate(workflow)
    answer = n8n.call("datasets", files=rows(30))
    done = n8n.ended(workflow)
    assert done["status"] == "success", error_of(done)
    assert output(done, "Import")[0]["rows_kept"] == 30
    assert output(done, "Report")[0]["version"] == output(done, "Import")[0]["version"]
    assert len(output(done, "Preview")) == 3
    exported = [json.loads(line) for line in answer.content.decode().splitlines()]
    assert len(exported) == 30
    assert exported[0]["messages"][-1]["role"] == "assistant"


def test_schedules_are_made_listed_and_deleted(n8n: N8n, key: Json, household: str) -> None:
    fields = {"timezone": "Europe/Berlin", "quietFrom": "07:00", "quietUntil": "22:00"}
    recipe = by_id("household-documents")
    made = {"name": "nightly", "recipe": recipe, "when": "cron", "cron": "0 2 * * *", "additionalFields": fields}
    nodes = [
        webhook("schedules"),
        tunesmith("Create", key, resource="schedule", operation="create", **made),
        tunesmith("List", key, resource="schedule", operation="getAll"),
        tunesmith("Delete", key, resource="schedule", operation="delete", schedule=by_id("nightly")),
    ]
    done = n8n.run(nodes)
    assert done["status"] == "success", error_of(done)
    assert output(done, "Create")[0]["quiet_hours"] == {"from": "07:00", "to": "22:00"}
    assert [item["name"] for item in output(done, "List")] == ["nightly"]
    assert output(done, "Delete") == [{"name": "nightly", "deleted": True}]
