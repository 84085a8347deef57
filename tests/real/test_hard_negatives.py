"""The packaged SmolLM2 for real: it is asked the pool before training, and general rows before it has been tuned."""

import json
from pathlib import Path

import pytest

from tunesmith.evaluation import forgetting
from tunesmith.jobs import queue
from tunesmith.recipes import datasets, files, runs
from tunesmith.recipes.context import Context
from tunesmith.recipes.schema import DEFAULT_BASE, Recipe
from tunesmith.recipes.stages import baselines, build, hard_negatives
from tunesmith.serving import base_models
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.conversation import Row, read_rows

pytestmark = pytest.mark.real
ASKED = 8
HOUSEHOLD = Path(__file__).parents[2] / "examples" / "documents" / "household.jsonl"
GENERAL = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("What colour is the sky on a clear day?", "The sky is blue on a clear day."),
    ("How many days does a week have?", "A week has seven days."),
    ("What do bees make?", "Bees make honey."),
    ("Which animal barks?", "A dog barks."),
    ("What is the opposite of hot?", "The opposite of hot is cold."),
    ("In which season does snow fall?", "Snow falls in winter."),
    ("What do we call frozen water?", "Frozen water is called ice."),
)


def context(workspace: Workspace) -> Context:
    base_models.install_parts(workspace.settings)
    file = files.add_file(workspace, HOUSEHOLD.name, "documents", [HOUSEHOLD.read_bytes()])
    general = "\n".join(
        json.dumps({"prompt": f"{question} ({n})", "completion": answer})
        for n in range(10)
        for question, answer in GENERAL
    )
    datasets.import_upload(workspace, "general", "general.jsonl", [general.encode()])
    recipe = {
        "name": "household",
        "sources": [{"documents": file.id}],
        "split": {"held_out": ["held-out"]},
        "dataset": {"hard_negatives": {"model": "base", "rows": ASKED}, "mix": {"dataset": "general", "share": 0.01}},
        "base_model": DEFAULT_BASE,
    }
    run = runs.create_run(workspace, Recipe.model_validate(recipe))
    return Context(workspace, run, queue.jobs_of(workspace.database, run.id)[0])


def test_the_base_is_asked_the_pool_and_what_it_gets_wrong_weighs_more(workspace: Workspace) -> None:
    asked = context(workspace)
    report = build.run(asked)["report"]
    answers = [json.loads(line) for line in (asked.folder / hard_negatives.ANSWERS).read_text().splitlines()]
    assert len(answers) == report["hard_negatives"]["asked"] == ASKED
    assert all(item["score"]["format_ok"] for item in answers), "it is held to the task's format"
    wrong = report["hard_negatives"]["wrong"]
    print(f"the untuned base, held to the format: {wrong} of {ASKED} documents wrong")
    assert wrong >= ASKED / 2, "an untuned model of this size gets most documents wrong"
    rows = list(read_rows(workspace.artifacts.dataset(report["version"]) / "train.jsonl"))
    assert sum(row.weight == 3.0 for row in rows) == wrong
    assert report["general"]["rows"] > 0


def test_general_answers_of_the_base_are_measured_once(workspace: Workspace) -> None:
    rows = [Row([{"role": "user", "content": q}, {"role": "assistant", "content": a}]) for q, a in GENERAL]
    asked = context(workspace)
    known = baselines.general(asked, rows)
    (asked.folder / "base_general.jsonl").unlink()
    assert baselines.general(asked, rows) == known, "the second time they come from the cache"
    assert not (asked.folder / "base_general.jsonl").exists()
    found = forgetting.compare(known, known)
    print(found.sentence())
    assert (found.lost, found.error) == (0.0, 0.0)
    assert found.base > 0.1
