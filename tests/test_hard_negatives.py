"""Hard negatives and general rows: what a model gets wrong counts more, and what may be forgotten is measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from conftest import Tiny
from releases import record
from service import Service
from test_import import different
from tiny import build_tiny_model
from tunesmith.errors import BadInput, NotFound
from tunesmith.evaluation.answers import Examination
from tunesmith.evaluation.forgetting import compare
from tunesmith.jobs import queue
from tunesmith.recipes import datasets, files, models, runs
from tunesmith.recipes.context import Context
from tunesmith.recipes.models import Release
from tunesmith.recipes.schema import Recipe
from tunesmith.recipes.stages import build, hard_negatives
from tunesmith.serving.targets.llamacpp import LlamaCppTarget
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.classification import Classification
from tunesmith.tasks.conversation import Row, read_rows
from tunesmith.training.backends.base import Interrupted

pytest.importorskip("xllamacpp")
LABELS = ("letter", "receipt")
MIX = {"dataset": "general", "share": 0.25}


def labelled(count: int) -> bytes:
    rng, lines = Random(3), []
    for n in range(count):
        text = " ".join("".join(rng.choices("abcdefghij", k=6)) for _ in range(8))
        turns = [
            {"role": "system", "content": "Which kind is it?"},
            {"role": "user", "content": text},
            {"role": "assistant", "content": LABELS[n % 2]},
        ]
        lines.append(json.dumps({"messages": turns}))
    return "\n".join(lines).encode()


def general(count: int) -> str:
    return "\n".join(json.dumps({"prompt": different(n), "completion": f"So {different(-n)}"}) for n in range(count))


def put(workspace: Workspace, content: str | bytes, name: str = "general") -> dict[str, Any]:
    chunks = [content if isinstance(content, bytes) else content.encode()]
    return datasets.import_upload(workspace, name, "rows.jsonl", chunks)


@pytest.fixture
def file(workspace: Workspace) -> str:
    return files.add_file(workspace, "rows.jsonl", "fine-tune", [labelled(60)]).id


@pytest.fixture
def live(workspace: Workspace, tiny: Tiny) -> str:
    """A published model that guesses: of two labels, it gets about half right."""
    deployment = LlamaCppTarget(workspace.settings).deploy(tiny.candidate()).as_dict()
    task = {"name": "classification", "spec": Classification({"labels": list(LABELS)}).spec}
    record(workspace, Release("kinds", "run-0", "run-0", "tiny", "0" * 16, task, deployment, {}))
    return "kinds"


def context(workspace: Workspace, file: str, **dataset: Any) -> Context:
    recipe = {"name": "kinds", "task": "classification", "sources": [{"file": file}], "dataset": dataset}
    created = runs.create_run(workspace, Recipe.model_validate(recipe))
    return Context(workspace, created, queue.jobs_of(workspace.database, created.id)[0])


class Version:
    """One build and what it left."""

    def __init__(self, workspace: Workspace, outcome: dict[str, Any]):
        self.version, self.report = outcome["version"], outcome["report"]
        self.folder: Path = workspace.artifacts.dataset(self.version)

    def rows(self, name: str) -> list[Row]:
        path = self.folder / f"{name}.jsonl"
        return list(read_rows(path)) if path.exists() else []


def built(workspace: Workspace, file: str, **dataset: Any) -> Version:
    return Version(workspace, build.run(context(workspace, file, **dataset)))


# -- hard negatives -----------------------------------------------------------------------------------------------


def test_what_the_live_model_gets_wrong_counts_more(workspace: Workspace, file: str, live: str) -> None:
    plain = built(workspace, file)
    asked = context(workspace, file, hard_negatives={"weight": 4})
    hard = Version(workspace, build.run(asked))
    answers = [json.loads(line) for line in (asked.folder / hard_negatives.ANSWERS).read_text().splitlines()]
    wrong = [item for item in answers if item["answer"] != item["expected"]]
    found = hard.report["hard_negatives"]
    assert found == {"model": "kinds:run-0", "asked": 52, "wrong": len(wrong), "weight": 4.0, "set_aside": 0}
    assert 5 < len(wrong) < 47, "a model that guesses gets some right"
    rows = hard.rows("train")
    assert sum(row.weight == 4.0 for row in rows) == len(wrong) == sum("wrong_by" in row.provenance for row in rows)
    assert [row.messages for row in rows] == [row.messages for row in plain.rows("train")]
    assert (hard.folder / "test.jsonl").read_bytes() == (plain.folder / "test.jsonl").read_bytes()
    assert hard.version != plain.version
    assert built(workspace, file, hard_negatives={"weight": 4}).version == hard.version
    held = Classification(hard.report["spec"])
    with LlamaCppTarget(workspace.settings).serve(asked_deployment(workspace)) as endpoint:
        target = LlamaCppTarget(workspace.settings)
        again = Examination(target, endpoint, held).run(rows)
    assert [item.score.exact for item in again] == [row.weight == 1.0 for row in rows]


def asked_deployment(workspace: Workspace) -> Any:
    from tunesmith.serving.targets.base import Deployment

    return Deployment.from_dict(models.find(workspace, "kinds").deployment)


def test_what_it_gets_right_can_be_set_aside_and_is_never_tested_on(
    workspace: Workspace, file: str, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classification, "minimum_examples", 10)
    hard = built(workspace, file, hard_negatives={"keep_right": 0.0})
    found, rows, aside = hard.report["hard_negatives"], hard.rows("train"), hard.rows("set_aside")
    assert len(aside) == found["set_aside"] == 52 - found["wrong"] > 0
    assert all(row.weight == 3.0 for row in rows)
    assert hard.report["splits"]["train"] == len(rows) == found["wrong"]
    assert hard.report["rows_kept"] == 60 - len(aside)
    more = files.add_file(workspace, "more.jsonl", "fine-tune", [labelled(600)]).id
    tested = {row.messages[1]["content"] for row in built(workspace, more).rows("test")}
    assert len(tested) > 8
    assert not tested & {row.messages[1]["content"] for row in aside}


def test_setting_aside_leaves_what_a_task_needs(
    workspace: Workspace, file: str, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classification, "minimum_examples", 45)
    assert built(workspace, file, hard_negatives={"keep_right": 0.0}).report["splits"]["train"] == 45


def test_only_so_many_rows_are_asked(workspace: Workspace, file: str, live: str) -> None:
    some = built(workspace, file, hard_negatives={"rows": 10})
    assert some.report["hard_negatives"]["asked"] == 10
    assert sum(row.weight == 3.0 for row in some.rows("train")) == some.report["hard_negatives"]["wrong"]


def test_the_base_can_be_asked_and_before_a_first_version_nothing_is(
    workspace: Workspace, file: str, tiny_base: tuple[Path, Path], tmp_path: Path
) -> None:
    first = built(workspace, file, hard_negatives=True)
    assert first.report["hard_negatives"] is None
    assert first.version == built(workspace, file).version
    workspace.settings.models = tiny_base[0].parent
    recipe = {"name": "kinds", "task": "classification", "sources": [{"file": file}], "base_model": "base"}
    recipe["dataset"] = {"hard_negatives": {"model": "base", "rows": 12}}
    created = runs.create_run(workspace, Recipe.model_validate(recipe))
    outcome = build.run(Context(workspace, created, queue.jobs_of(workspace.database, created.id)[0]))
    found = outcome["report"]["hard_negatives"]
    assert (found["model"], found["asked"]) == ("base base", 12)


def test_a_build_that_was_stopped_asks_only_what_is_left(
    workspace: Workspace, file: str, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, asked = context(workspace, file, hard_negatives=True), []
    run = Examination.run

    def counted(self: Examination, rows: Any, on_answer: Any = None) -> Any:
        asked.append(len(rows))
        stopped.stop.set()
        return run(self, rows, on_answer)

    monkeypatch.setattr(Examination, "run", counted)
    with pytest.raises(Interrupted):
        build.run(stopped)
    with (stopped.folder / hard_negatives.ANSWERS).open("a") as cut:
        cut.write('{"key": "half a li')
    stopped.stop.clear()
    outcome = build.run(stopped)
    assert asked == [40, 12]
    assert built(workspace, file, hard_negatives=True).version == outcome["version"]


def test_another_task_or_an_unknown_model_is_refused(workspace: Workspace, file: str, live: str) -> None:
    with pytest.raises(NotFound):
        context(workspace, file, hard_negatives={"model": "knids"})
    other = {"name": "other", "task": "chat", "sources": [{"file": file}]}
    other["dataset"] = {"hard_negatives": {"model": "kinds"}}
    created = runs.create_run(workspace, Recipe.model_validate(other))
    with pytest.raises(BadInput, match="does the task classification"):
        build.run(Context(workspace, created, queue.jobs_of(workspace.database, created.id)[0]))


# -- general rows -------------------------------------------------------------------------------------------------


def test_general_rows_are_a_share_of_training_and_of_nothing_else(workspace: Workspace, file: str) -> None:
    given = put(workspace, general(200))
    plain, mixed = built(workspace, file), built(workspace, file, mix=MIX)
    source = f"general@{given['version']}"
    assert mixed.report["general"] == {"source": source, "rows": 17, "share": 0.2464, "held_out": 10}
    rows = mixed.rows("general")
    assert len(rows) == 17
    assert {row.provenance["general"] for row in rows} == {source}
    assert not {row.answer for row in rows} & {row.answer for row in mixed.rows("general_test")}
    for split in ("train", "validation", "test"):
        assert (mixed.folder / f"{split}.jsonl").read_bytes() == (plain.folder / f"{split}.jsonl").read_bytes()
    assert mixed.report["gates"] == plain.report["gates"], "chats with another system prompt are none of its rows"
    assert mixed.report["task"] == "classification"
    assert mixed.version != plain.version
    again = built(workspace, file, mix=MIX)
    assert again.version == mixed.version
    card = datasets.dataset_card(workspace, "kinds")
    assert f"| general, trained on too ({source}) | 17 |" in card
    assert datasets.export_dataset(workspace, "kinds", "messages", workspace.settings.home / "x", split="train")[
        "rows"
    ] == 17 + len(mixed.rows("train"))
    changes = datasets.diff_datasets(workspace, "kinds", plain.version, mixed.version)
    assert (changes["added"], changes["same"]) == ({"general": 17, "general_test": 10}, False)


def test_a_file_of_general_rows_and_one_that_is_too_small(workspace: Workspace, file: str) -> None:
    own = labelled(60).decode().splitlines()[:5]  # rows that the task has itself
    lines = "\n".join([*general(30).splitlines(), *own, general(1)])
    rows = [json.loads(line) for line in lines.splitlines()]
    chats = [
        row if "messages" in row else {"messages": [
            {"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]}
        for row in rows
    ]  # fmt: skip
    chat = files.add_file(workspace, "g.jsonl", "fine-tune", ["\n".join(map(json.dumps, chats)).encode()]).id
    mixed = built(workspace, file, mix={"file": chat, "share": 0.5})
    found = mixed.report["general"]
    assert found["rows"] + found["held_out"] == 30, "no row of the task's own, none twice"
    assert found["share"] == round(found["rows"] / (found["rows"] + 52), 4) < 0.5
    with pytest.raises(NotFound):
        built(workspace, file, mix="nothing")


def test_a_dataset_source_with_general_rows_is_a_version_of_its_own(workspace: Workspace) -> None:
    put(workspace, general(200))
    source = put(workspace, labelled(60), "imported")
    recipe = {"name": "mine", "sources": [{"dataset": "imported"}], "dataset": {"mix": "general"}}
    created = runs.create_run(workspace, Recipe.model_validate(recipe))
    outcome = build.run(Context(workspace, created, queue.jobs_of(workspace.database, created.id)[0]))
    assert outcome["version"] != source["version"]
    assert datasets.get_version(workspace, "mine").version == outcome["version"]
    assert datasets.get_version(workspace, "imported").version == source["version"]
    assert not (workspace.artifacts.dataset(source["version"]) / "general.jsonl").exists()
    again = {**recipe, "sources": [{"dataset": "mine"}]}
    created = runs.create_run(workspace, Recipe.model_validate(again))
    with pytest.raises(BadInput, match="already"):
        build.run(Context(workspace, created, queue.jobs_of(workspace.database, created.id)[0]))


def test_a_mix_names_one_source() -> None:
    for wrong in ({}, {"dataset": "a", "file": "b"}, {"dataset": "a", "share": 0}):
        with pytest.raises(ValueError, match=r"mix"):
            Recipe.model_validate({"name": "r", "sources": [{"file": "f"}], "dataset": {"mix": wrong}})


def test_forgetting_is_the_mean_of_paired_differences() -> None:
    base = [{"likeness": 0.8, "fine": True}, {"likeness": 0.4, "fine": True}]
    found = compare(base, [{"likeness": 0.5, "fine": True}, {"likeness": 0.3, "fine": False}])
    assert (found.rows, found.broken) == (2, 0.5)
    assert (found.base, found.tuned, found.lost, found.error) == pytest.approx((0.6, 0.4, 0.2, 0.1))


# -- the whole loop -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("models")
    build_tiny_model(folder / "tiny")
    service = Service(tmp_path_factory.mktemp("home"), TUNESMITH_MODELS=str(folder)).start()
    yield service
    service.close()


def test_a_second_run_trains_on_what_the_first_got_wrong_beside_general_rows(service: Service) -> None:
    http = service.http
    http.post("/v1/datasets/general/import", files={"file": ("g.jsonl", general(120))}).raise_for_status()
    file_id = service.openai.files.create(file=("rows.jsonl", labelled(60)), purpose="fine-tune").id
    recipe = {
        "name": "kinds",
        "task": "classification",
        "sources": [{"file": file_id}],
        "dataset": {"hard_negatives": True, "mix": MIX},
        "base_model": "tiny",
        "training": {"hyperparameters": {"n_epochs": 1, "batch_size": 8}},
        "evaluation": {"rows": 4},
        "gate": {"format_adherence": None, "not_worse_than": "none"},
    }
    http.post("/v1/recipes", json=recipe).raise_for_status()
    first = service.finished(http.post("/v1/recipes/kinds/runs").json()["id"], 600)
    assert first["status"] == "succeeded", first["error"]
    assert first["stages"][0]["outcome"]["report"]["hard_negatives"] is None
    second = service.finished(http.post("/v1/recipes/kinds/runs").json()["id"], 600)
    assert second["status"] == "succeeded", second["error"]
    report = second["stages"][0]["outcome"]["report"]
    assert report["hard_negatives"]["model"] == f"kinds:{first['id']}"
    assert report["hard_negatives"]["asked"] == 52
    assert report["general"]["rows"] == 17
    for run in (first, second):
        lost = run["report"]["forgetting"]
        assert lost["rows"] == 4
        assert lost["lost"] == pytest.approx(lost["base"] - lost["tuned"])
    folder = service.home / "jobs" / second["stages"][1]["job_id"]
    assert sum("general" in row.provenance for row in read_rows(folder / "rows.jsonl")) == 17
    assert len(list(read_rows(folder / "rows.jsonl"))) == 52 + 17
