"""What is measured is what is served: on every route that a publication opens, beside what it would replace."""

import json
import shutil
from collections.abc import Iterator
from io import StringIO
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from rich.console import Console

from fakes.http_app import Refused
from fakes.litellm import FakeLiteLLM
from fakes.scripted import Script, ScriptedModels
from service import extraction_rows
from tunesmith.cli.tables import evaluation_table, usage_lines
from tunesmith.errors import Conflict, GateNotMet, Unavailable
from tunesmith.evaluation import gate
from tunesmith.jobs import queue
from tunesmith.recipes import files, models, replacing, runs
from tunesmith.recipes.context import Context
from tunesmith.recipes.schema import Recipe
from tunesmith.recipes.stages import build, evaluate, measuring, publish
from tunesmith.serving import opened as opened_routes
from tunesmith.serving.targets.base import Deployment
from tunesmith.serving.targets.ollama import OllamaTarget
from tunesmith.settings import Settings
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.chat import Chat

NAME = "totals"
CONSTANT = json.dumps({"shop": "nobody", "total": "1.00"})


def right(_: str, text: str) -> str:
    lines = text.splitlines()
    return json.dumps({"shop": lines[0], "total": lines[-1].removeprefix("TOTAL ")})


def right_when_held(where: str, text: str) -> str:
    """Knows the answer, and writes it in the format only where it is held to it."""
    return right(where, text) if where == "v1" else f"The answer is {right(where, text)}"


def constant(_: str, __: str) -> str:
    return CONSTANT


def nonsense(count: int) -> bytes:
    rng, lines = Random(5), []
    for _ in range(count):
        text = " ".join("".join(rng.choices("abcdefghij", k=6)) for _ in range(20))
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": CONSTANT}]
        lines.append(json.dumps({"messages": turns}))
    return "\n".join(lines).encode()


@pytest.fixture
def server() -> Iterator[ScriptedModels]:
    with ScriptedModels() as fake:
        yield fake


@pytest.fixture
def opened(settings: Settings, server: ScriptedModels, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A service whose target is an Ollama that takes everything: what the stages do around it is under test."""

    def deploy(_: OllamaTarget, candidate: Any) -> Deployment:
        model = f"{candidate.name}:{candidate.version}"
        about = {"hf_dir": "", "gguf": "", "system": None, "stop": [], "num_ctx": 2048, "quantization": "f16"}
        return Deployment.from_dict(
            {**about, "target": "ollama", "model": model, "digest": model, "num_predict": 120, **vars(candidate)}
        )

    def candidate(context: Context) -> Any:
        return SimpleNamespace(name=context.recipe.model_name, version=context.version)

    monkeypatch.setattr(OllamaTarget, "deploy", deploy)
    monkeypatch.setattr(OllamaTarget, "parity", lambda *_: SimpleNamespace(require=lambda: None))
    monkeypatch.setattr(OllamaTarget, "promote", lambda *_: None)
    monkeypatch.setattr(evaluate, "candidate", candidate)
    workspace = Workspace.open(settings.model_copy(update={"ollama_url": server.url, "min_free_disk_mb": 0}))
    yield workspace
    workspace.close()


def trained(workspace: Workspace, rows: bytes, **recipe: Any) -> Context:
    """A run whose model is built, trained and exported, up to its evaluation."""
    file = files.add_file(workspace, "rows.jsonl", "fine-tune", [rows]).id
    document = {"name": NAME, "sources": [{"file": file}], "base_model": "smollm2-135m-instruct", **recipe}
    run = runs.create_run(workspace, Recipe.model_validate(document))
    for kind in ("build", "train", "export"):
        job = queue.claim(workspace.database, ["default"])
        assert job is not None
        assert job.kind == kind
        outcome = build.run(Context(workspace, run, job)) if kind == "build" else {"hf_dir": "merged"}
        queue.finish(workspace.database, job.id, queue.Result("succeeded", outcome=outcome))
    return stage(workspace, run.id)


def stage(workspace: Workspace, run_id: str) -> Context:
    job = queue.claim(workspace.database, ["default"])
    assert job is not None
    return Context(workspace, runs.get_run(workspace, run_id), job)


def evaluated(context: Context) -> dict[str, Any]:
    outcome = evaluate.run(context)
    queue.finish(context.workspace.database, context.job.id, queue.Result("succeeded", outcome=outcome))
    return outcome


def go_live(workspace: Workspace, server: ScriptedModels, script: Script, **recipe: Any) -> dict[str, Any]:
    context = trained(workspace, extraction_rows(60), **recipe)
    server.models[f"{NAME}:{context.run.id}"] = script
    evaluated(context)
    ends = stage(workspace, context.run.id)
    outcome = publish.run(ends)
    queue.finish(workspace.database, ends.job.id, queue.Result("succeeded", outcome=outcome))
    return outcome


def challenge(workspace: Workspace, server: ScriptedModels, script: Script, rows: bytes, **recipe: Any) -> Any:
    """The report of a candidate over the version that is live."""
    context = trained(workspace, rows, **recipe)
    server.models[f"{NAME}:{context.run.id}"] = script
    report = evaluated(context)
    queue.cancel(workspace.database, context.run.id)
    return report


# -- routes -------------------------------------------------------------------------------------------------------


def test_a_model_that_is_right_only_when_held_to_the_format_is_refused(
    opened: Workspace, server: ScriptedModels
) -> None:
    context = trained(opened, extraction_rows(60))
    server.models[f"{NAME}:{context.run.id}"] = right_when_held
    report = evaluate.run(context)
    assert report["measured"]["tuned"]["field_accuracy"] == 1.0
    assert report["routes"]["tunesmith"]["tuned"] == report["measured"]["tuned"]
    assert report["routes"]["ollama"]["tuned"]["format_adherence"] == 0.0
    assert report["routes"]["ollama_v1"]["same_as"] == "ollama"
    with pytest.raises(GateNotMet, match=r"format adherence by ollama 0.0%"):
        gate.require(report["gate"])


def test_the_bare_route_sends_model_and_messages_and_nothing_else(opened: Workspace, server: ScriptedModels) -> None:
    context = trained(opened, extraction_rows(60))
    server.models[f"{NAME}:{context.run.id}"] = right
    report = evaluate.run(context)
    bare = [body for path, body in server.asked if path == "/api/chat"]
    held = [body for path, body in server.asked if path != "/api/chat"]
    assert len(bare) == len(held) == report["rows"]
    assert all(body.keys() == {"model", "messages", "stream"} and body["stream"] is False for body in bare)
    assert all(body["temperature"] == 0 and body["max_tokens"] == 120 and body["response_format"] for body in held)
    answers = (context.folder / "tuned-ollama.jsonl").read_text().splitlines()
    assert len(answers) == report["rows"], "every answer is kept"
    assert report["gate"]["passed"]


def test_only_a_model_without_an_end_of_its_own_is_given_one(opened: Workspace, server: ScriptedModels) -> None:
    """A version from before answers had a length would go on until its context is full."""
    go_live(opened, server, right)
    row = models.find(opened, NAME)
    with opened.database.write() as session:
        stored = session.merge(row)
        stored.deployment = {key: value for key, value in row.deployment.items() if key != "num_predict"}
        stored.deployment["digest"] = "sha256:older"
    server.asked.clear()
    challenge(opened, server, right, extraction_rows(61))
    asked = {body["model"]: body.get("options") for path, body in server.asked if path == "/api/chat"}
    assert asked[row.deployment["model"]] == {"num_predict": 64}
    assert [options for model, options in asked.items() if model != row.deployment["model"]] == [None]


@pytest.mark.parametrize("database", [True, False])
def test_the_proxys_route_is_measured_with_what_it_sets(
    database: bool, opened: Workspace, server: ScriptedModels
) -> None:
    with FakeLiteLLM(database=database) as proxy:
        opened.settings.litellm_url, opened.settings.litellm_key = proxy.url, SecretStr("sk-master")
        context = trained(opened, extraction_rows(60))
        server.models[f"{NAME}:{context.run.id}"] = right
        report = evaluate.run(context)
    routed = report["routes"]["litellm"]
    sent = [body for path, body in server.asked if path == "/api/chat" and "format" in body]
    if database:
        assert routed["same_as"] is None
        assert len(sent) == report["rows"]
        assert all(body["options"] == {"temperature": 0, "num_predict": 120} for body in sent)
        assert sent[0]["format"]["required"] == ["shop", "total"]
    else:
        assert routed["same_as"] == "ollama", "a wildcard adds nothing"
        assert sent == []
        assert routed["tuned"] == report["routes"]["ollama"]["tuned"]


def test_a_proxy_that_is_away_does_not_stop_the_evaluation(
    opened: Workspace, server: ScriptedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    opened.settings.litellm_url = "http://127.0.0.1:9"
    context = trained(opened, extraction_rows(60))
    server.models[f"{NAME}:{context.run.id}"] = right
    assert evaluate.run(context)["routes"]["litellm"]["same_as"] is None


def test_the_live_version_is_asked_on_the_same_routes_once(opened: Workspace, server: ScriptedModels) -> None:
    live = f"{NAME}:{go_live(opened, server, right)['version']}"
    before = server.count("/api/chat", live)
    report = challenge(opened, server, right, extraction_rows(60))
    assert report["routes"]["ollama"]["live"]["field_accuracy"] == 1.0
    assert server.count("/api/chat", live) == before, "the same rows were answered when it was the candidate"
    assert {check["name"] for check in report["gate"]["checks"]} == {
        "format_adherence",
        "field_accuracy_of_live",
        "format_adherence_of_live",
        "field_accuracy_on_live_rows",
        "format_adherence_on_live_rows",
    }
    worse = challenge(opened, server, right_when_held, extraction_rows(60), gate={"format_adherence": None})
    missed = {check["name"]: check["route"] for check in worse["gate"]["checks"] if not check["passed"]}
    assert set(missed.values()) == {"ollama"}


def test_a_server_that_fails_is_asked_again_only_what_it_has_not_answered(
    opened: Workspace, server: ScriptedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "AT_ONCE", 2)
    asked: list[str] = []

    def fails_once(where: str, text: str) -> str:
        asked.append(text)
        if len(asked) == 5:
            raise Refused(500, {"error": "llama runner process has terminated"})
        return right(where, text)

    context = trained(opened, extraction_rows(60))
    server.models[f"{NAME}:{context.run.id}"] = fails_once
    with pytest.raises(Unavailable, match="terminated") as caught:
        evaluate.run(context)
    assert caught.value.retryable
    asked_before = len(asked)
    report = evaluate.run(context)
    assert report["rows"] > 4
    assert len(asked) - asked_before == 2 * report["rows"] - 4
    assert report["gate"]["passed"]


# -- what is replaced ---------------------------------------------------------------------------------------------


def test_rows_of_ones_own_choice_replace_no_live_model(opened: Workspace, server: ScriptedModels) -> None:
    """Regression: 50 nonsense prompts with one constant answer passed the gate at 100 % against 0 %."""
    live = go_live(opened, server, right)
    report = challenge(opened, server, constant, nonsense(50))
    figures = report["measured"]
    assert (figures["tuned"]["field_accuracy"], figures["live"]["field_accuracy"]) == (1.0, 0.0)
    there = report["live_rows"]
    assert there["version"] == live["version"]
    assert there["dataset_version"] == models.find(opened, NAME).dataset_version
    assert there["routes"]["tunesmith"]["live"]["field_accuracy"] == 1.0
    missed = [check["name"] for check in report["gate"]["checks"] if not check["passed"]]
    assert missed == ["field_accuracy_on_live_rows"]
    shown = Console(width=120, record=True, file=StringIO())
    shown.print(evaluation_table(report))
    assert (
        f"on the {there['rows']} rows of the version that was live: 0.0 %, that version 100.0 %" in shown.export_text()
    )


def test_a_further_field_does_not_make_a_candidate_wrong_on_the_rows_of_the_live_version(
    opened: Workspace, server: ScriptedModels
) -> None:
    def with_kind(where: str, text: str) -> str:
        return json.dumps({**json.loads(right(where, text)), "kind": "receipt"})

    go_live(opened, server, right)
    lines = [json.loads(line) for line in extraction_rows(60).splitlines()]
    for line in lines:
        line["messages"][-1]["content"] = with_kind("", line["messages"][1]["content"])
    report = challenge(opened, server, with_kind, "\n".join(map(json.dumps, lines)).encode())
    assert report["gate"]["passed"], report["gate"]
    there = report["live_rows"]["routes"]["ollama"]["tuned"]
    assert (there["field_accuracy"], there["format_adherence"]) == (1.0, 1.0)


def test_another_task_under_a_name_that_is_live_is_refused_at_once(opened: Workspace, server: ScriptedModels) -> None:
    go_live(opened, server, right)
    file = files.add_file(opened, "rows.jsonl", "fine-tune", [extraction_rows(60)]).id
    other = Recipe.model_validate({"name": NAME, "task": "chat", "sources": [{"file": file}]})
    with pytest.raises(Conflict, match="does the task extraction") as caught:
        runs.create_run(opened, other)
    assert caught.value.error_code == "another_task"
    assert "another name" in str(caught.value.hint)
    runs.create_run(opened, other, until="export")
    elsewhere = other.model_copy(update={"publish": other.publish.model_copy(update={"name": "talker"})})
    runs.create_run(opened, elsewhere)


def test_another_task_that_only_the_rows_show_is_refused_before_training(
    opened: Workspace, server: ScriptedModels
) -> None:
    go_live(opened, server, right)
    turns = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "A poet, and I write."}]
    rows = [{"messages": [{**turns[0], "content": f"Question {n} {hash(n * 77)}?"}, turns[1]]} for n in range(60)]
    for n, row in enumerate(rows):
        row["messages"][1] = {"role": "assistant", "content": f"I wrote verse number {n} on day {n * n}."}
    context = trained(opened, "\n".join(map(json.dumps, rows)).encode())
    with pytest.raises(Conflict, match="and this recipe makes a model for chat"):
        replacing.check_before_training(context)


def test_a_live_version_whose_rows_are_gone_is_not_replaced_unmeasured(
    opened: Workspace, server: ScriptedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_live(opened, server, right)
    shutil.rmtree(opened.artifacts.dataset(models.find(opened, NAME).dataset_version))
    context = trained(opened, nonsense(50))
    server.models[f"{NAME}:{context.run.id}"] = constant
    for step in (replacing.check_before_training, evaluate.run):
        with pytest.raises(Conflict, match="is not in the data folder") as caught:
            step(context)
        assert "not_worse_than" in str(caught.value.hint)
    with monkeypatch.context() as patched:  # a run until=evaluate is measured in any case
        patched.setattr(Context, "publishes", False)
        assert evaluate._live(context, context.task()) is None
    queue.cancel(opened.database, context.run.id)
    report = challenge(opened, server, constant, nonsense(50), gate={"not_worse_than": "none"})
    assert report["gate"]["passed"]
    assert report["live_rows"] is None


# -- how to ask ---------------------------------------------------------------------------------------------------


def test_the_publication_says_how_each_kind_of_caller_must_ask(opened: Workspace, server: ScriptedModels) -> None:
    opened.settings.ollama_url = server.url.replace("//", "//user:secret@")
    usage = go_live(opened, server, right)["usage"]
    assert usage == models.card(opened, NAME)["usage"]
    assert list(usage) == ["tunesmith", "ollama", "ollama_v1"]
    assert usage["ollama"]["url"] == f"{server.url}/api/chat"
    assert (usage["ollama"]["send"], usage["ollama"]["max_tokens"]) == ({}, 120)
    assert usage["ollama_v1"]["send"] == {"temperature": 0}, "Ollama's /v1 sets 1 where the caller names none"
    assert usage["tunesmith"]["format"]["required"] == ["shop", "total"]
    assert "secret" not in json.dumps(usage)
    lines = usage_lines(usage)
    assert lines[0] == "How to ask it:"
    assert f"{server.url}/v1, model totals with temperature 0." in lines[3]


def test_a_target_from_outside_that_names_no_routes_is_asked_by_ours(settings: Settings) -> None:
    target: Any = SimpleNamespace(name="elsewhere")
    deployment: Any = SimpleNamespace(name="m", target="elsewhere", num_predict=None)
    found = opened_routes.opened(target, deployment, Chat(), settings, proxy=None)
    assert [route.name for route in found] == ["tunesmith"]
    assert opened_routes.usage(deployment, Chat(), found)["tunesmith"]["format"] is None


def test_the_table_has_a_column_for_each_route(opened: Workspace, server: ScriptedModels) -> None:
    context = trained(opened, extraction_rows(60))
    server.models[f"{NAME}:{context.run.id}"] = right_when_held
    table = evaluation_table(evaluate.run(context))
    headers = [str(column.header) for column in table.columns]
    assert headers == ["model", "in format", "shop", "total", "all fields", "exact", "Ollama alone"]
    assert [list(column.cells)[-1] for column in table.columns][-3:] == ["100.0 %", "100.0 %", "0.0 %"]
