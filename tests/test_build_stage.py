"""The build stage: a recipe's options reach the dataset, and its test set is frozen from run to run."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tunesmith.jobs import queue
from tunesmith.recipes import files, runs
from tunesmith.recipes.context import Context
from tunesmith.recipes.schema import Recipe
from tunesmith.recipes.stages import build
from tunesmith.settings import Settings
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.conversation import read_rows


@pytest.fixture
def workspace(settings: Settings) -> Workspace:
    return Workspace.open(settings)


def upload(workspace: Workspace, count: int) -> str:
    rng, lines = Random(1), []
    for n in range(count):
        question = " ".join(str(rng.randrange(10**6)) + rng.choice("abcdef") for _ in range(30))
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": f"answer {n}, ghp_{'a' * 36}"}]
        lines.append(json.dumps({"messages": turns}))
    return files.add_file(workspace, "rows.jsonl", "fine-tune", ["\n".join(lines).encode()]).id


def run(workspace: Workspace, file: str, **dataset: Any) -> dict[str, Any]:
    recipe = Recipe.model_validate({"name": "helper", "sources": [{"file": file}], "dataset": dataset})
    created = runs.create_run(workspace, recipe)
    job = next(j for j in queue.jobs_of(workspace.database, created.id) if j.kind == "build")
    return build.run(Context(workspace, created, job))


def answers(workspace: Workspace, version: str, split: str) -> set[str]:
    place: Path = workspace.artifacts.dataset(version)
    return {row.answer for row in read_rows(place / f"{split}.jsonl")}


def test_a_second_run_tests_on_the_same_rows(workspace: Workspace) -> None:
    first = run(workspace, upload(workspace, 40))
    second = run(workspace, upload(workspace, 400))
    assert second["report"]["frozen_test_rows"] == first["report"]["splits"]["test"] == 8
    assert answers(workspace, first["version"], "test") < answers(workspace, second["version"], "test")
    assert not answers(workspace, first["version"], "train") & answers(workspace, second["version"], "test")


def test_the_same_rows_again_are_the_same_version(workspace: Workspace) -> None:
    file = upload(workspace, 40)
    assert run(workspace, file)["version"] == run(workspace, file)["version"]


def test_options_of_the_recipe_are_used(workspace: Workspace) -> None:
    file = upload(workspace, 40)
    assert "ghp_" not in str(answers(workspace, run(workspace, file)["version"], "train"))
    kept = run(workspace, file, secrets="report", gates={"rows_kept": 50})
    assert "ghp_" in str(answers(workspace, kept["version"], "train"))
    assert next(g for g in kept["report"]["gates"] if g["name"] == "rows_kept")["passed"] is False
