"""Synthetic sources of recipes, and the operation that makes a dataset's next version with them."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner

from fakes.teacher import asks
from test_synthetic import words
from tunesmith.api import keys
from tunesmith.app import create_app
from tunesmith.cli.datasets import datasets as commands
from tunesmith.datasets.synthetic import asking
from tunesmith.errors import BadInput, NotFound
from tunesmith.jobs import queue
from tunesmith.recipes import datasets, runs, views
from tunesmith.recipes.context import Context
from tunesmith.recipes.schema import Recipe, TaskSpec
from tunesmith.recipes.stages import build
from tunesmith.settings import Settings
from tunesmith.store.tables import Run
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.conversation import read_rows

TOTALS = TaskSpec.model_validate({"type": "extraction", "schema": {"total": "money"}})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    settings = Settings(home=tmp_path / "home", min_free_disk_mb=0, teacher_url="http://127.0.0.1:9", teacher_model="m")
    return Workspace.open(settings)


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], Any]], None]:
    return lambda script: monkeypatch.setattr(asking.distilabel, "ask", asks(script))


def total_of(question: str) -> str:
    text = f"{words(Random(question), 30)}\nTOTAL 7.35"
    return json.dumps({"document": text, "values": {"total": "7.35"}})


def same_total(question: str) -> str:
    total = question.split('"total": "', 1)[1].split('"', 1)[0]
    return json.dumps({"document": f"{words(Random(question), 30)} in all {total}"})


def rows_file(folder: Path, count: int) -> Path:
    lines = []
    for n in range(count):
        asked = {"role": "user", "content": f"{words(Random(n), 30)}\nTOTAL {n + 1}.50"}
        answer = {"role": "assistant", "content": json.dumps({"total": f"{n + 1}.50"})}
        lines.append(json.dumps({"messages": [asked, answer]}))
    path = folder / "rows.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def finish(workspace: Workspace, run: Run) -> dict[str, Any]:
    job = next(j for j in queue.jobs_of(workspace.database, run.id) if j.kind == "build")
    return build.run(Context(workspace, run, job))


def options(**given: Any) -> Any:
    return runs.SyntheticOptions.model_validate({"rows": 5, **given})


def test_a_dataset_gets_synthetic_rows_and_keeps_its_splits(
    workspace: Workspace, teacher: Callable[..., None], tmp_path: Path
) -> None:
    before = datasets.import_file(workspace, "totals", rows_file(tmp_path, 60))
    teacher(same_total)
    outcome = finish(workspace, runs.synthesize_dataset(workspace, "totals", options(like="dataset", kinds=["layout"])))
    old, new = (workspace.artifacts.dataset(version) for version in (before["version"], outcome["version"]))
    assert (new / "test.jsonl").read_bytes() == (old / "test.jsonl").read_bytes()
    trained = list(read_rows(new / "train.jsonl"))
    assert len(trained) == before["splits"]["train"] + 5
    made = [row for row in trained if row.provenance.get("source") == "synthetic"]
    assert len(made) == outcome["report"]["synthetic"][0]["kept"] == 5
    assert datasets.get_version(workspace, "totals").version == outcome["version"]
    card = datasets.dataset_card(workspace, "totals")
    assert "## Synthetic rows\n\n- Synthetic: 5 of 5 rows" in card
    assert "synthetic, layout" in card


def test_from_a_schema_there_need_be_no_dataset(workspace: Workspace, teacher: Callable[..., None]) -> None:
    teacher(total_of)
    run = runs.synthesize_dataset(workspace, "invented", options(like="schema", rows=12), task=TOTALS)
    assert [stage["stage"] for stage in views.run(workspace, run)["stages"]] == ["build"]
    outcome = finish(workspace, run)
    assert outcome["report"]["splits"] == {"train": 12, "validation": 0, "test": 0}
    assert outcome["task"]["name"] == "extraction"


def test_tools_are_those_of_the_task_that_is_served(workspace: Workspace, teacher: Callable[..., None]) -> None:
    tool = {"name": "ring", "description": "Ring.", "inputSchema": {"type": "object", "properties": {}}}

    def script(question: str) -> str:
        said = [{"role": "user", "content": words(Random(question), 30)}]
        return json.dumps({"turns": [*said, {"role": "assistant", "calls": [{"name": "ring", "arguments": {}}]}]})

    teacher(script)
    run = runs.synthesize_dataset(workspace, "bells", options(like="tools", tools={"tools": [tool]}))
    outcome = finish(workspace, run)
    assert outcome["task"]["name"] == "tool_use"
    assert [t["name"] for t in outcome["task"]["spec"]["tools"]] == ["ring"]
    assert outcome["report"]["synthetic"][0]["refused"]["other_scene"] > 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"like": "paperless"}, "need a source paperless beside them"),
        ({"like": "schema", "kinds": ["layout"]}, "like: schema has no kind layout"),
        ({"like": "schema", "kinds": ["translate"]}, "has no kind translate"),
        ({"like": "paperless", "kinds": ["translate"]}, "translate needs languages"),
        ({"like": "schema", "budget": {"cost": 1}}, "a budget of cost needs prices"),
        ({"like": "schema", "tools": []}, "tools go with like: tools"),
        ({"like": "schema", "row": 5}, "Extra inputs are not permitted"),
    ],
)
def test_a_source_that_cannot_work_is_refused_at_once(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate({"name": "r", "sources": [{"synthetic": given}]})


def test_what_is_missing_is_said_before_any_work(workspace: Workspace) -> None:
    bare = Workspace(Settings(home=workspace.settings.home), workspace.database, workspace.artifacts)
    with pytest.raises(BadInput, match="none is configured"):
        runs.synthesize_dataset(bare, "x", options(like="schema"), task=TOTALS)
    with pytest.raises(BadInput, match="no tool"):
        runs.synthesize_dataset(workspace, "x", options(like="tools"))
    with pytest.raises(NotFound, match="no dataset"):
        runs.synthesize_dataset(workspace, "x", options(like="dataset"))
    with pytest.raises(BadInput, match="need a source paperless"):
        runs.synthesize_dataset(workspace, "x", options(like="paperless"))


@pytest.mark.parametrize(
    ("given", "url", "key"),
    [
        ({"teacher_url": "http://t:1/v1", "litellm_url": "http://l"}, "http://t:1/v1", "none"),
        ({"litellm_url": "http://l/", "litellm_key": "sk-l", "ollama_url": "http://o"}, "http://l/v1", "sk-l"),
        ({"ollama_url": "http://o:11434"}, "http://o:11434/v1", "none"),
    ],
)
def test_where_the_teacher_is(tmp_path: Path, given: dict[str, Any], url: str, key: str) -> None:
    teacher = asking.teacher_of(Settings(home=tmp_path, **given), options(like="schema", teacher="gpt-oss"))
    assert (teacher.base_url, teacher.model, teacher.api_key) == (url, "gpt-oss", key)
    assert key == "none" or key not in repr(teacher)


def test_the_command_line_makes_the_next_version_without_a_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TUNESMITH_MIN_FREE_DISK_MB", "0")
    workspace = Workspace.open(Settings())
    before = datasets.import_file(workspace, "totals", rows_file(tmp_path, 40))
    options_file = tmp_path / "bad-scans.yaml"
    options_file.write_text("synthetic: {like: dataset, rows: 6, kinds: [ocr]}", encoding="utf-8")
    done = CliRunner().invoke(commands, ["synthesize", "totals", str(options_file)])
    assert done.exit_code == 0, done.output
    after = datasets.get_version(workspace, "totals")
    assert after.version != before["version"]
    assert after.report["splits"]["train"] > before["splits"]["train"]
    assert after.version in done.output
    options_file.write_text("synthetic: {like: dataset, rowz: 6}", encoding="utf-8")
    refused = CliRunner().invoke(commands, ["synthesize", "totals", str(options_file)])
    assert refused.exit_code != 0
    assert "rowz" in str(refused.exception)


def test_over_rest(workspace: Workspace) -> None:
    settings = workspace.settings.model_copy(update={"admin_key": SecretStr("admin-key")})
    keys.ensure_first_key(Workspace(settings, workspace.database, workspace.artifacts))
    body = {"synthetic": {"like": "schema", "rows": 5}, "task": {"type": "extraction"}}
    with TestClient(create_app(workspace=workspace), headers={"Authorization": "Bearer admin-key"}) as client:
        once = {"Idempotency-Key": "one"}
        first, again = (client.post("/v1/datasets/made/synthesize", json=body, headers=once) for _ in range(2))
        assert first.status_code == 200, first.text
        assert [stage["stage"] for stage in first.json()["stages"]] == ["build"]
        assert again.json()["id"] == first.json()["id"]
        wrong = {"synthetic": {"like": "schema", "teacher_url": "http://evil.example"}}
        assert client.post("/v1/datasets/made/synthesize", json=wrong).status_code == 422
        job = client.get(f"/v1/fine_tuning/jobs/{first.json()['id'].replace('run-', 'ftjob-')}").json()
        assert job["fine_tuned_model"] is None
        assert client.get(f"/v1/fine_tuning/jobs/{job['id']}/checkpoints").json()["data"] == []
