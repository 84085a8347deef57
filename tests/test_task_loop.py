"""Each task from rows or documents to a live answer, on a tiny model: built, trained, measured as served, asked."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from service import Service
from test_text_to_sql import DDL
from test_tool_use import LIGHT, TOOLS
from tiny import build_tiny_model
from tunesmith.tasks.document import Document
from tunesmith.tasks.text_to_sql import TextToSql
from tunesmith.tasks.tool_use import ToolUse

TYPES = ("Invoice", "Letter", "Receipt")
COMMON: dict[str, Any] = {
    "base_model": "tiny",
    "training": {"hyperparameters": {"n_epochs": 1, "batch_size": 8}},
    "evaluation": {"rows": 4},
    "gate": {"format_adherence": None},
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    models = tmp_path_factory.mktemp("models")
    build_tiny_model(models / "tiny")
    service = Service(tmp_path_factory.mktemp("home"), TUNESMITH_MODELS=str(models)).start()
    yield service
    service.close()


def upload(service: Service, lines: list[dict[str, Any]], purpose: str) -> str:
    content = "\n".join(json.dumps(line) for line in lines).encode()
    answer = service.http.post("/v1/files", files={"file": ("rows.jsonl", content)}, data={"purpose": purpose})
    answer.raise_for_status()
    return str(answer.json()["id"])


def finished(service: Service, recipe: dict[str, Any]) -> dict[str, Any]:
    service.http.post("/v1/recipes", json={**COMMON, **recipe}).raise_for_status()
    run = service.finished(service.http.post(f"/v1/recipes/{recipe['name']}/runs").json()["id"])
    assert run["status"] == "succeeded", run["error"]
    measured: dict[str, Any] = run["report"]["measured"]["tuned"]
    assert measured["rows"] == 4
    return measured


def test_classification(service: Service) -> None:
    lookups = [{"id": number, "name": name} for number, name in enumerate(TYPES, start=1)]
    lines: list[dict[str, Any]] = [{"kind": "document_types", "results": lookups}]
    lines += [
        {"id": n, "title": f"t{n}", "content": f"{TYPES[n % 3]} {chr(97 + n % 26)}{n}", "document_type": 1 + n % 3,
         "correspondent": None, "storage_path": None, "tags": [], "created": "2025-01-02",
         "added": "2025-01-03T00:00:00Z",
         "modified": "2025-01-03T00:00:00Z", "custom_fields": []}
        for n in range(1, 67)
    ]  # fmt: skip
    source = {"documents": upload(service, lines, "documents")}
    measured = finished(service, {"name": "types", "task": {"type": "classification"}, "sources": [source]})
    assert measured["format_adherence"] == 1.0, "the closed list holds even a bad model"
    assert 0 <= measured["macro_f1"] <= 1
    assert set(measured["fields"]) <= set(TYPES)
    asked = {"model": "types", "messages": [{"role": "user", "content": "Dear Ada"}], "temperature": 0}
    reply = service.http.post("/v1/chat/completions", json=asked).json()
    assert reply["choices"][0]["message"]["content"] in TYPES


def test_text_to_sql(service: Service) -> None:
    task = TextToSql({"ddl": DDL})
    rows = [
        task.example(Document(str(n), f"Bill {n}?", {"sql": f"SELECT amount FROM bills WHERE id = {n}"}))
        for n in range(1, 41)
    ]
    lines: list[dict[str, Any]] = [{"messages": row.messages} for row in rows]
    lines.append({"messages": [*rows[0].prompt, {"role": "assistant", "content": "DROP TABLE bills"}]})
    source = {"file": upload(service, lines, "fine-tune")}
    measured = finished(service, {"name": "sql", "task": {"type": "text_to_sql"}, "sources": [source]})
    assert set(measured["fields"]) == {"query"}
    run = service.http.get("/v1/runs").json()["data"][0]
    report = service.stage("build", run["id"])["outcome"]["report"]
    assert report["rejected_by_code"] == {"sql_not_read_only": 1}


def test_tool_use_and_openais_tool_calls(service: Service) -> None:
    task = ToolUse({"tools": [LIGHT]})
    rooms = LIGHT["parameters"]["properties"]["room"]["enum"]
    rows = [
        task.example(Document(str(n), f"{rooms[n % 2]} {n}", {"calls": [
            {"name": "set_light", "arguments": {"room": rooms[n % 2], "brightness": n}}]}))
        for n in range(40)
    ]  # fmt: skip
    source = {"file": upload(service, [{"messages": row.messages} for row in rows], "fine-tune")}
    measured = finished(service, {"name": "home", "sources": [source]})
    assert set(measured["fields"]) == {"tool", "arguments"}

    client = service.openai
    tools: Any = [{"type": "function", "function": TOOLS[2]}]  # a letter is a token here, and 1,024 are all there are
    messages: Any = [{"role": "user", "content": "Light in the hall!"}]
    stop: Any = {"type": "function", "function": {"name": "stop"}}
    stream = client.chat.completions.create(
        model="home", messages=messages, tools=tools, tool_choice=stop, parallel_tool_calls=False, stream=True
    )
    chunks = [chunk.choices[0] for chunk in stream]
    calls = chunks[0].delta.tool_calls or []
    assert [(c.function.name, c.function.arguments) for c in calls if c.function] == [("stop", "{}")]
    assert chunks[-1].finish_reason == "tool_calls"
    call = {"id": "c", "type": "function", "function": {"name": "stop", "arguments": "{}"}}
    messages += [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "stopped"},
    ]
    after = client.chat.completions.create(
        model="home", messages=messages, tools=tools, tool_choice="none", max_tokens=9
    )
    assert after.choices[0].message.content
    assert after.choices[0].message.tool_calls is None
    twice = service.http.post(
        "/v1/chat/completions", json={"model": "home", "messages": messages[:1], "tools": [LIGHT, LIGHT]}
    )
    assert (twice.status_code, "Two tools" in twice.text) == (400, True)
