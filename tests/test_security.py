"""Who may replace what: nobody what is not ours, only a publisher what is live. And requests are their caller's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from fakes.folder_target import FolderTarget
from fakes.litellm import FakeLiteLLM
from fakes.ollama import FakeOllama, Made
from lifecycle import Runs, install_folder_target
from service import extraction_rows
from test_agents import answer, mcp
from tunesmith.api import keys
from tunesmith.app import create_app, openapi
from tunesmith.errors import Conflict, Forbidden
from tunesmith.jobs.scheduler import Scheduler
from tunesmith.recipes import files, models, runs, schedules, stages
from tunesmith.recipes.schema import Recipe
from tunesmith.serving import gguf_file
from tunesmith.settings import Settings
from tunesmith.store.tables import Schedule
from tunesmith.store.workspace import Workspace

ROWS = extraction_rows(20)


@pytest.fixture
def tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return install_folder_target(tmp_path, monkeypatch)


@pytest.fixture
def workspace(tmp_path: Path, tags: Path) -> Iterator[Workspace]:
    opened = Workspace.open(Settings(home=tmp_path / "home", min_free_disk_mb=0, litellm_key="sk-master"))
    yield opened
    opened.close()


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    with TestClient(create_app(workspace=workspace)) as client:
        yield client


@pytest.fixture
def made(workspace: Workspace) -> Runs:
    return Runs(workspace, files.add_file(workspace, "rows.jsonl", "fine-tune", [ROWS]).id)


def key(workspace: Workspace, *scopes: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {keys.create_key(workspace, 'test', scopes)}"}


@pytest.fixture
def trainer(workspace: Workspace) -> dict[str, str]:
    return key(workspace, "read", "train")


@pytest.fixture
def publisher(workspace: Workspace) -> dict[str, str]:
    return key(workspace, "read", "train", "publish")


def document(made: Runs, name: str = "m", publish: str | None = None) -> dict[str, Any]:
    return made.recipe(name, publish={"name": publish} if publish else {}).document()


def count(workspace: Workspace) -> int:
    return len(runs.list_runs(workspace))


# -- a name that is live ---------------------------------------------------------------------------------------------


def test_only_a_publisher_saves_or_runs_what_replaces_a_live_model(
    client: TestClient, workspace: Workspace, made: Runs, trainer: dict[str, str], publisher: dict[str, str]
) -> None:
    """Regression: a key that may only train replaced any live model."""
    assert client.post("/v1/recipes", json=document(made), headers=trainer).status_code == 200
    assert client.post("/v1/recipes/m/runs", headers=trainer).status_code == 200, "a new name is anybody's"
    made.published()
    before = count(workspace)
    for body in (document(made), document(made, "other", publish="m")):
        refused = client.post("/v1/recipes", json=body, headers=trainer)
        assert refused.status_code == 403, refused.text
        assert refused.json()["code"] == "name_is_live"
        assert "publish" in refused.json()["hint"]
    assert client.post("/v1/recipes/m/runs", headers=trainer).status_code == 403
    assert count(workspace) == before
    assert client.post("/v1/recipes/m/runs", params={"until": "evaluate"}, headers=trainer).status_code == 200
    assert client.post("/v1/recipes", json=document(made), headers=publisher).status_code == 200
    assert client.post("/v1/recipes/m/runs", headers=publisher).status_code == 200


def test_tools_and_mcp_give_no_more_rights_than_the_api(
    client: TestClient, workspace: Workspace, made: Runs, trainer: dict[str, str]
) -> None:
    runs.save_recipe(workspace, made.recipe())
    made.published()
    before = count(workspace)
    save = {"name": "n", "file_ids": [made.file_id], "publish_as": "m"}
    for tool, arguments in (("run_recipe", {"name": "m"}), ("save_recipe", save)):
        refused = client.post(f"/v1/tools/{tool}", json=arguments, headers=trainer)
        assert refused.status_code == 403, refused.text
        result = answer(mcp(client, "tools/call", trainer, name=tool, arguments=arguments))["result"]
        assert result["isError"] is True
        assert "name_is_live" in result["content"][0]["text"]
    assert count(workspace) == before


def test_schedules_run_with_the_rights_of_their_maker(
    client: TestClient, workspace: Workspace, made: Runs, trainer: dict[str, str], publisher: dict[str, str]
) -> None:
    runs.save_recipe(workspace, made.recipe())
    body = {"name": "weak", "recipe": "m", "every": "1d"}
    assert client.post("/v1/schedules", json=body, headers=trainer).status_code == 201
    assert client.post("/v1/schedules", json={**body, "name": "strong"}, headers=publisher).status_code == 201
    made.published()
    take_turns(workspace)
    said = {name: schedules.get(workspace, name).last_result or {} for name in ("weak", "strong")}
    assert said["weak"]["status"] == "skipped"
    assert "is live" in said["weak"]["reason"]
    assert said["strong"]["status"] == "started"


def test_a_trainer_makes_changes_or_starts_no_schedule_that_replaces_a_live_model(
    client: TestClient, workspace: Workspace, made: Runs, trainer: dict[str, str], publisher: dict[str, str]
) -> None:
    for name in ("m", "free"):
        runs.save_recipe(workspace, made.recipe(name))
    made.published()
    body = {"name": "nightly", "recipe": "m", "every": "1d"}
    assert client.post("/v1/schedules", json=body, headers=trainer).status_code == 403
    assert client.post("/v1/schedules", json=body, headers=publisher).status_code == 201
    assert client.post("/v1/schedules", json={**body, "name": "own", "recipe": "free"}, headers=trainer).is_success
    assert client.patch("/v1/schedules/own", json={"recipe": "m"}, headers=trainer).status_code == 403
    assert client.patch("/v1/schedules/nightly", json={"every": "30m"}, headers=trainer).status_code == 403
    assert client.patch("/v1/schedules/nightly", json={"recipe": "free"}, headers=trainer).status_code == 403
    assert client.post("/v1/schedules/nightly/run", headers=trainer).status_code == 403
    assert client.patch("/v1/schedules/nightly", json={"enabled": False}, headers=trainer).status_code == 200
    assert client.patch("/v1/schedules/nightly", json={"enabled": True}, headers=trainer).status_code == 403
    assert client.post("/v1/schedules/nightly/run", headers=publisher).status_code == 200


def test_a_trainer_writes_no_recipe_that_a_publishers_schedule_runs(
    client: TestClient, workspace: Workspace, made: Runs, trainer: dict[str, str], publisher: dict[str, str]
) -> None:
    """Its runs would have the right that the writer lacks."""
    assert client.post("/v1/recipes", json=document(made), headers=trainer).status_code == 200
    body = {"name": "nightly", "recipe": "m", "every": "1d"}
    assert client.post("/v1/schedules", json=body, headers=publisher).status_code == 201
    refused = client.post("/v1/recipes", json=document(made), headers=trainer)
    assert refused.status_code == 403
    assert refused.json()["code"] == "recipe_is_scheduled"
    assert client.post("/v1/recipes", json=document(made), headers=publisher).status_code == 200


def test_a_name_that_went_live_meanwhile_is_not_replaced_by_a_trainers_run(workspace: Workspace, made: Runs) -> None:
    """Refused before the training, and at the end where that is over."""
    begun = runs.create_run(workspace, made.recipe(), may_replace=False)
    live = made.published()
    for stage in ("build", "train"):
        with pytest.raises(Forbidden):
            stages.run(stage, made.context(begun))
    trained = runs.create_run(workspace, made.recipe("other"), may_replace=False)
    made.do(trained, "build", {"version": "0" * 16, "task": {"name": "chat", "spec": {}}})
    made.do(trained, "train", {"adapter": "adapter"})
    first = made.published("other")
    made.export(trained)
    made.evaluate(trained)
    with pytest.raises(Forbidden):
        made.publish(trained)
    assert FolderTarget(workspace.settings).tags()["m:latest"] == live.id
    assert FolderTarget(workspace.settings).tags()["other:latest"] == first.id


def test_a_trainer_resumes_no_run_that_replaces_a_live_model(
    client: TestClient, made: Runs, trainer: dict[str, str], publisher: dict[str, str]
) -> None:
    made.published()
    run = made.evaluated()
    made.end(run, "publish", "failed")
    refusal = client.post(f"/v1/runs/{run.id}/resume", headers=trainer)
    assert (refusal.status_code, refusal.json()["code"]) == (403, "name_is_live")
    assert client.post(f"/v1/runs/{run.id}/resume", headers=publisher).status_code == 200


def test_a_fine_tuning_job_of_a_trainer_is_a_new_name(client: TestClient, made: Runs, trainer: dict[str, str]) -> None:
    body = {"model": "smollm2-135m-instruct", "training_file": made.file_id, "suffix": "m"}
    assert client.post("/v1/fine_tuning/jobs", json=body, headers=trainer).status_code == 200


def take_turns(workspace: Workspace) -> None:
    with workspace.database.write() as session:
        for row in session.query(Schedule):
            row.next_run_at = 1.0
    Scheduler(workspace.database, lambda row, key: schedules.take_turn(workspace, row, key)).step()


# -- what is not ours ------------------------------------------------------------------------------------------------


def test_a_foreign_name_is_refused_before_the_training(
    client: TestClient, workspace: Workspace, made: Runs, tags: Path, publisher: dict[str, str]
) -> None:
    """Regression: `publish.name: llama3.2` trained for an hour and replaced somebody's llama3.2."""
    (tags / "foreign").write_text("llama3.2")
    body = document(made, publish="llama3.2")
    assert client.post("/v1/recipes", json=body, headers=publisher).status_code == 200
    refused = client.post("/v1/recipes/m/runs", headers=publisher)
    assert refused.status_code == 409
    assert refused.json()["code"] == "foreign_model"
    assert "llama3.2" in refused.json()["detail"]
    assert count(workspace) == 0
    assert client.post("/v1/recipes/m/runs", params={"until": "evaluate"}, headers=publisher).status_code == 200


def test_a_target_that_is_away_is_asked_again(workspace: Workspace, made: Runs, tags: Path) -> None:
    """At the submission, before the training, and before it goes live."""
    (tags / "away").touch()
    run = runs.create_run(workspace, made.recipe())
    (tags / "away").unlink()
    (tags / "foreign").write_text("m")
    for stage in ("build", "train"):
        with pytest.raises(Conflict):
            stages.run(stage, made.context(run))
    (tags / "foreign").unlink()
    evaluated = made.evaluated()
    (tags / "foreign").write_text("m")
    with pytest.raises(Conflict) as refused:
        made.publish(evaluated)
    assert refused.value.error_code == "foreign_model"
    assert "m:latest" not in FolderTarget(workspace.settings).tags()


def test_a_foreign_tag_of_ollama_is_refused_before_the_training(workspace: Workspace, made: Runs) -> None:
    recipe = Recipe.model_validate({**document(made), "publish": {"target": "ollama", "name": "llama3.2"}})
    with FakeOllama(workspace.artifacts.home) as ollama:
        weights = ollama.blobs.put(gguf_file.smallest({}))
        ollama.models["llama3.2:latest"] = Made(weights, None, "", "LLAMA 3.2 COMMUNITY LICENSE", "{}")
        workspace.settings.ollama_url = ollama.url
        with pytest.raises(Conflict, match=r"llama3\.2"):
            runs.create_run(workspace, recipe)
        free = Recipe.model_validate({**document(made), "publish": {"target": "ollama", "name": "llama3"}})
        runs.create_run(workspace, free)


@pytest.mark.parametrize("database", [True, False])
def test_a_foreign_model_of_the_proxy_is_refused_before_the_training(
    workspace: Workspace, made: Runs, database: bool
) -> None:
    """Regression: it got a second deployment, and half of somebody's calls came to us."""
    config = {
        "gpt-4o": {"model": "openai/gpt-4o", "api_base": "https://api.openai.com/v1"},
        "*": {"model": "ollama_chat/*", "api_base": "http://127.0.0.1:9"},
        "by-hand": {"model": "openai/by-hand", "api_base": "http://127.0.0.1:8765/v1"},
    }
    with FakeLiteLLM(database=database, config=config) as proxy:
        workspace.settings.litellm_url = proxy.url
        with pytest.raises(Conflict, match="gpt-4o") as refused:
            runs.create_run(workspace, made.recipe(publish={"name": "gpt-4o"}))
        assert refused.value.error_code == "foreign_model"
        runs.create_run(workspace, made.recipe(publish={"name": "by-hand"}))  # it leads to us
        runs.create_run(workspace, made.recipe(publish={"name": "under-the-wildcard"}))
        runs.create_run(workspace, made.recipe(publish={"name": "gpt-4o", "litellm": False}))
    runs.create_run(workspace, made.recipe(publish={"name": "gpt-4o"}))  # nobody to be asked any more


def test_a_foreign_model_of_the_proxy_gets_no_second_deployment(workspace: Workspace, made: Runs) -> None:
    evaluated = made.evaluated()
    somebodys = {"m": {"model": "openai/gpt-4o", "api_base": "https://api.openai.com/v1"}}
    with FakeLiteLLM(database=True, config=somebodys) as proxy:
        workspace.settings.litellm_url = proxy.url
        with pytest.raises(Conflict):
            made.publish(evaluated)
        assert models.list_models(workspace) == []
        proxy.config = {}
        made.publish(evaluated)
        proxy.config, proxy.rows = somebodys, {}
        assert "did not make" in models.make_live(workspace, "m", evaluated.id).warnings[0]
        assert proxy.rows == {}


def test_a_route_that_fails_is_told_in_an_answer_that_says_what_is_live(
    client: TestClient, workspace: Workspace, made: Runs, publisher: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: a rollback answered 503 after it was done, and a retry went back twice."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    first, second = made.published(), made.published()
    workspace.settings.litellm_url = "http://127.0.0.1:9"
    for _ in range(2):
        body = {"from_version": second.id}
        answered = client.post("/v1/models/m/rollback", json=body, headers=publisher)
        assert answered.status_code == 200, answered.text
        said = answered.json()
        assert (said["version"], said["live"], said["route"]) == (first.id, True, None)
        assert "does not answer" in said["warnings"][0]
    outcome = made.publish(made.evaluated())
    assert outcome["route"] is None
    assert "does not answer" in outcome["warnings"][0]


# -- the same key for another caller ---------------------------------------------------------------------------------


def test_every_create_with_an_idempotency_key_is_known_here() -> None:
    """A new one belongs into the test below."""
    taking = {
        operation["operationId"]
        for path in openapi()["paths"].values()
        for operation in path.values()
        if any(parameter["name"] == "idempotency-key" for parameter in operation.get("parameters", []))
    }
    assert taking == {"create_file", "create_fine_tuning_job", "run_recipe", "synthesize_dataset"}


def test_an_idempotency_key_is_its_callers_own(client: TestClient, workspace: Workspace, made: Runs) -> None:
    """Regression: who guessed another caller's key read that caller's run, or kept it from being made."""
    runs.save_recipe(workspace, made.recipe())
    job = {"model": "smollm2-135m-instruct", "training_file": made.file_id}
    synthetic = {"synthetic": {"like": "schema", "rows": 10, "teacher": "t"}, "task": {"schema": {"a": "string"}}}
    workspace.settings.teacher_url = "http://127.0.0.1:9"
    callers = [key(workspace, "read", "train", "publish") for _ in range(2)]
    rows = {"rows": ROWS.decode(), "idempotency_key": "once"}

    def all_of(headers: dict[str, str]) -> list[str]:
        send = {"headers": {**headers, "Idempotency-Key": "once"}}
        answers = [
            client.post("/v1/files", files={"file": ("rows.jsonl", ROWS)}, **send),  # type: ignore[arg-type]
            client.post("/v1/fine_tuning/jobs", json=job, **send),  # type: ignore[arg-type]
            client.post("/v1/recipes/m/runs", **send),  # type: ignore[arg-type]
            client.post("/v1/datasets/some/synthesize", json=synthetic, **send),  # type: ignore[arg-type]
        ]
        tools = [
            client.post("/v1/tools/upload_training_rows", json=rows, headers=headers),
            client.post("/v1/tools/create_fine_tuning_job", json={**job, "idempotency_key": "once"}, headers=headers),
            client.post("/v1/tools/run_recipe", json={"name": "m", "idempotency_key": "once"}, headers=headers),
        ]
        assert [one.status_code for one in (*answers, *tools)] == [200] * 7, [one.text for one in (*answers, *tools)]
        ids = [one.json()["id"] for one in answers]
        assert [one.json()["id"] for one in tools] == ids[:3], "the same operation by another way"
        return ids

    first = all_of(callers[0])
    assert len(set(first)) == 4
    assert all_of(callers[0]) == first
    assert set(all_of(callers[1])).isdisjoint(first)


def test_no_caller_takes_the_key_of_a_schedules_turn(
    client: TestClient, workspace: Workspace, made: Runs, trainer: dict[str, str]
) -> None:
    runs.save_recipe(workspace, made.recipe())
    row = schedules.create(workspace, {"name": "nightly", "recipe": "m", "every": "1d"})
    guessed = {"Idempotency-Key": f"schedule:{row.id}:1.0"}
    theirs = client.post("/v1/recipes/m/runs", headers={**trainer, **guessed}).json()["id"]
    take_turns(workspace)
    assert schedules.get(workspace, "nightly").last_run_id not in (None, theirs)
