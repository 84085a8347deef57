"""Input that no caller should send: each is refused with a hint, by a status that says whose mistake it is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.exceptions import HTTPException

from fakes.chat_model import ChatModel
from fakes.http_app import Answer, HttpApp
from releases import record
from service import KEY, extraction_rows
from tunesmith import json_safely
from tunesmith.api import keys
from tunesmith.app import create_app, openapi
from tunesmith.json_safely import MAX_DEPTH, NotJson
from tunesmith.recipes import models
from tunesmith.settings import Settings
from tunesmith.store.workspace import Workspace

BEYOND = 2**63  # one more than databases hold
TASKS: dict[str, dict[str, Any]] = {
    "talker": {"name": "chat", "spec": {}},
    "caller": {"name": "tool_use", "spec": {"tools": [{"name": "stop"}]}},
    "extractor": {"name": "extraction", "spec": {}},
}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
MCP = {"Accept": "application/json, text/event-stream", "Host": "localhost", "Content-Type": "application/json"}
USER = {"role": "user", "content": "What is it?"}


@contextmanager
def serving(home: Path, server: HttpApp) -> Iterator[TestClient]:
    """A service with a live model of each of three tasks, all answered by `server`."""
    settings = Settings(home=home, admin_key=KEY, min_free_disk_mb=0, ollama_url=server.url)
    workspace = Workspace.open(settings)
    keys.ensure_first_key(workspace)
    for name, task in TASKS.items():
        deployment: dict[str, Any] = dict.fromkeys(("gguf", "hf_dir", "digest", "system", "quantization"), "")
        deployment |= {"target": "ollama", "name": name, "version": "run-1", "model": f"{name}:run-1"}
        deployment |= {"stop": [], "num_ctx": 512}
        record(workspace, models.Release(name, "run-1", "run-1", "base", "v", task, deployment, {}))
    app = create_app(workspace=workspace)
    with TestClient(app, headers={"Authorization": f"Bearer {KEY}"}, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home = tmp_path_factory.mktemp("home")
    with ChatModel(["An answer."] * 1000) as server, serving(home, server) as client:
        yield client


@pytest.fixture(scope="module")
def run_id(client: TestClient) -> str:
    file = client.post("/v1/files", files={"file": ("rows.jsonl", extraction_rows(20))}).json()["id"]
    job = client.post("/v1/fine_tuning/jobs", json={"model": "smollm2-135m-instruct", "training_file": file})
    return str(job.json()["run_id"])


def refused(response: Any, *statuses: int) -> None:
    """The answer says whose mistake it is and what to do next."""
    assert response.status_code in (statuses or (400, 422)), (response.status_code, response.text[:300])
    said = response.json()
    assert said["error"]["message"].count(".") if "error" in said else said["hint"], said


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[-Infinity]",
        "1e400",
        '{"a": 1e999}',
        str(BEYOND),
        str(-BEYOND - 1),
        "9" * 5000,
        '"\\ud800"',
        '{"\\udc00": 1}',
        '"\ud800"',
        b'"\xed\xa0\x80"',
        '"\xff"'.encode("latin-1"),
        '{"a": "é"}'.encode("utf-16"),
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        "[" * 100_000,
        '{"a":' * 100_000,
        "{} {}",
        "",
    ],
    ids=ascii,
)
def test_what_is_not_json_for_everyone_is_not_read(text: str | bytes) -> None:
    with pytest.raises(NotJson):
        json_safely.loads(text)


@pytest.mark.parametrize(
    "value", [None, "é \U0001f600", 2**63 - 1, -(2**63), 1.5e300, {"a": [True, {"b": None}]}, "\0"], ids=ascii
)
def test_what_is_json_is_read_as_python_reads_it(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert json_safely.loads(text) == value
        assert json_safely.loads(b"\xef\xbb\xbf" + text.encode()) == value
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json_safely.loads(deep) == json.loads(deep)


def test_every_route_reads_its_body_safely(client: TestClient) -> None:
    """A router without `route_class=SafeRoute` would read NaN, or 300 arrays in each other, again."""
    tried = 0
    for path, methods in openapi()["paths"].items():
        for method, operation in methods.items():
            if "application/json" not in operation.get("requestBody", {}).get("content", {}):
                continue
            given = {item["name"]: item["example"] for item in operation.get("parameters", []) if item["in"] == "path"}
            for body in ('{"a": NaN}', "[" * 300 + "]" * 300, '{"a": "\\ud800"}', str(BEYOND)):
                headers = {"Content-Type": "application/json"}
                response = client.request(method, path.format(**given), content=body, headers=headers)
                refused(response, 400 if body.startswith("[") else 422)
                said = "nested deeper" if body.startswith("[") else "not JSON"
                assert said in response.text, (operation["operationId"], response.text)
                tried += 1
    assert tried > 50


@pytest.mark.parametrize("body", ['{"a": NaN}', '{"a": "\\ud800"}', "[" * 300 + "]" * 300])
def test_mcp_outlives_what_is_not_json_for_everyone(client: TestClient, body: str) -> None:
    said = '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_models", "arguments": %s}}'
    response = client.post("/mcp", content=said % body, headers=MCP)
    assert response.status_code < 500, response.text


def test_a_number_beyond_the_database_is_no_event(client: TestClient, run_id: str) -> None:
    where = f"/v1/runs/{run_id}/events"
    job = f"/v1/fine_tuning/jobs/{run_id.replace('run-', 'ftjob-')}/events"
    assert client.get(where, params={"after": BEYOND - 1}).json()["data"] == []
    for after in (BEYOND, 10**30, "9" * 5000):
        refused(client.get(where, params={"after": after}))
        refused(client.get(job, params={"after": f"ftevent-{after}"}), 404)
    refused(client.post("/v1/tools/list_run_events", json={"run_id": run_id, "after": BEYOND}))
    params = {"name": "list_run_events", "arguments": {"run_id": run_id, "after": BEYOND}}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    assert '"structuredContent":{"data":[]}' in client.post("/mcp", json=call, headers=MCP).text
    refused(client.post(f"/v1/library/documents/{BEYOND}/suggest", json={"model": "extractor"}))
    refused(client.post("/v1/library/suggestions", json={"document": BEYOND, "model": "m", "answer": {"a": 1}}))


@pytest.mark.parametrize("last", [b"\xb2", b"\xb9\xb2", b"9" * 5000, str(BEYOND).encode(), b"-", b"", b"x"])
def test_a_last_event_id_that_is_no_number_we_gave(client: TestClient, run_id: str, last: bytes) -> None:
    for path in (f"/v1/runs/{run_id}/events", f"/v1/fine_tuning/jobs/{run_id.replace('run-', 'ftjob-')}/events"):
        headers = {b"Last-Event-ID": last}
        refused(client.get(path, params={"stream": "true"}, headers=headers))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": {"type": "function", "function": "f"}},
        {"tool_choice": {"type": "function", "function": {"name": ["f"]}}},
        {"tool_choice": {"type": "function"}},
        {"tool_choice": 5},
        {"tool_choice": ["auto"]},
        {"messages": [{**USER, "role": "assistant", "tool_calls": 5}]},
        {"messages": [{**USER, "role": "assistant", "tool_calls": {"a": 1}}]},
        {"messages": [{**USER, "role": "assistant", "tool_calls": [5]}]},
        {"messages": [{**USER, "role": ["user"]}]},
        {"messages": [{"role": "tool", "content": {"a": 1}}]},
    ],
    ids=ascii,
)
def test_tools_of_a_wrong_form_are_refused(client: TestClient, more: dict[str, Any]) -> None:
    for tools in ([TOOL], None):
        body = {"model": "caller", "messages": [USER], "tools": tools, **more}
        response = client.post("/v1/chat/completions", json=body)
        if tools or "messages" in more:
            refused(response)


@pytest.mark.parametrize("model", list(TASKS))
@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": {"type": "function", "function": "f"}},
        {"tool_choice": 5},
        {"tools": [5]},
        {"tools": [{"type": "function", "function": {"name": 5}}], "tool_choice": "required"},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]},
        {"messages": [{"role": "assistant", "tool_calls": 5}]},
        {"messages": [{"content": "no role"}]},
        {"messages": [{"role": {"a": 1}, "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": ["text"], "text": "x"}]}]},
        {"stream": True, "stream_options": 5},
        {"response_format": 5},
        {"stop": {"a": 1}, "max_tokens": "many", "temperature": "hot", "logit_bias": 5, "seed": "x", "n": "x"},
    ],
    ids=ascii,
)
def test_no_chat_request_is_a_server_error(client: TestClient, model: str, more: dict[str, Any]) -> None:
    response = client.post("/v1/chat/completions", json={"model": model, "messages": [USER], "tools": [TOOL], **more})
    assert response.status_code in (200, 400, 422), response.text


@pytest.mark.parametrize("arguments", ['{"a": NaN}', '{"a": 1e400}', '{"a": "\\ud800"}', "[" * 300, '{"a":' * 100_000])
def test_arguments_of_a_call_that_are_no_json(client: TestClient, arguments: str) -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "stop", "arguments": arguments}}]
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": calls}]
    response = client.post("/v1/chat/completions", json={"model": "caller", "messages": messages})
    refused(response, 400)
    line = {"messages": [*messages, USER, {"role": "assistant", "content": "Done."}], "tools": [TOOL]}
    file = json.dumps(line).encode()
    refused(client.post("/v1/files", files={"file": ("rows.jsonl", file)}), 400)


@pytest.mark.parametrize("mapping", ["[" * 100_000, '{"prompt": NaN}', '{"prompt": "\\ud800"}', "5", '{"prompt": 5}'])
def test_a_mapping_that_is_none(client: TestClient, mapping: str) -> None:
    file = {"file": ("rows.csv", b"question,answer\na,b\n")}
    response = client.post("/v1/datasets/letters/import", files=file, data={"mapping": mapping})
    refused(response, 400)
    assert len(response.text) < 2000, "what was sent is not sent back whole"


DOCUMENT: dict[str, Any] = {"id": 1, "content": "RECEIPT", "title": "t", "tags": [], "custom_fields": []}


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        "1e400",
        '{"id": 1e400, "content": "x"}',
        '{"id": NaN, "content": "x"}',
        '{"kind": "tags", "results": 5}',
        '{"kind": "tags", "results": [{"id": 1e400}]}',
        '{"kind": ["tags"]}',
        json.dumps({**DOCUMENT, "content": "\ud800"}),
        json.dumps({**DOCUMENT, "id": BEYOND}),
        json.dumps({**DOCUMENT, "tags": 5}),
        json.dumps({**DOCUMENT, "custom_fields": [5]}),
    ],
    ids=lambda line: line[:40],
)
def test_a_line_of_documents_that_is_none(client: TestClient, line: str) -> None:
    response = client.post("/v1/files", files={"file": ("d.jsonl", line.encode())}, data={"purpose": "documents"})
    refused(response, 400)
    assert len(response.text) < 2000, "what was sent is not sent back whole"


@pytest.mark.parametrize(
    "tools",
    [
        [{"name": "f", "parameters": 5}],
        {"tools": 5},
        {"tools": [5]},
        {"paths": {"/a": {"get": {"parameters": 5}}}},
        {"paths": {"/a": {"get": {"parameters": [5]}}}},
        {"paths": {"/a": {"parameters": 5, "get": {}}}},
        {"paths": {"/a": {"get": {"parameters": [{"in": "query", "name": ["x"]}]}}}},
        {"paths": {"/a": {"get": {"parameters": [{"in": "query", "name": "x", "schema": 5}]}}}},
        {"paths": {"/a": {"post": {"requestBody": 5}}}},
        {"paths": {"/a": {"post": {"requestBody": {"content": 5}}}}},
        {"paths": {"/a": {"post": {"requestBody": {"content": {"application/json": 5}}}}}},
        {"paths": {"/a": {"post": {"requestBody": {"content": {"application/json": {"schema": 5}}}}}}},
        {"paths": {"/a": {"post": {"requestBody": {"content": {"application/json": {"schema": {"properties": 5}}}}}}}},
        {"paths": {"/a": {"post": {"requestBody": {"content": {"application/json": {"schema": {"required": 5}}}}}}}},
    ],
    ids=ascii,
)
def test_synthesis_about_tools_that_are_none(client: TestClient, tools: Any) -> None:
    body = {"synthetic": {"like": "tools", "tools": tools, "teacher": "t"}, "task": {"type": "tool_use"}}
    response = client.post("/v1/datasets/letters/synthesize", json=body)
    refused(response, 400)


@pytest.mark.parametrize("version", ["latest", "", "run-2", "run-1:run-1", "\0", "%"])
def test_only_a_version_can_be_published(client: TestClient, version: str) -> None:
    refused(client.post("/v1/models/talker/publish", json={"version": version}), 400, 404)
    assert client.get("/v1/models/talker").json()["version"] == "run-1"


def test_a_method_that_a_path_does_not_have_is_told_which_it_has(client: TestClient) -> None:
    for path, allowed in {
        "/v1/recipes": "GET, POST",
        "/v1/recipes/a/runs": "POST",
        "/v1/schedules/a": "GET, PATCH, DELETE",
        "/v1/models/a": "GET, DELETE",
        "/v1/files": "GET, POST",
        "/healthz": "GET",
    }.items():
        response = client.put(path)
        assert response.status_code == 405
        assert response.headers["Allow"] == allowed
        assert allowed.replace(", ", " or ") in response.text


def test_refusals_keep_the_headers_that_they_came_with(client: TestClient) -> None:
    app: Any = client.app
    for status, headers in ((401, {"WWW-Authenticate": "Digest"}), (503, {"Retry-After": "7"}), (416, {"X": "y"})):

        async def endpoint(status: int = status, headers: dict[str, str] = headers) -> None:
            raise HTTPException(status, headers=headers)

        app.add_api_route(f"/refusal/{status}", endpoint, response_model=None)
        response = client.get(f"/refusal/{status}")
        assert response.status_code == status
        assert {name: response.headers[name] for name in headers} == headers
    assert client.get("/v1/models", headers={"Authorization": ""}).headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/fine_tuning/jobs", {"model": "m", "training_file": "f", "seed": False}),
        ("POST", "/v1/fine_tuning/jobs", {"model": "m", "training_file": "f", "hyperparameters": {"n_epochs": True}}),
        ("POST", "/v1/library/sync", {"full": 0}),
        ("POST", "/v1/library/suggestions", {"document": True, "model": "m", "answer": {"a": 1}}),
        ("POST", "/v1/webhooks", {"url": "http://127.0.0.1:1", "events": ["run.failed"], "enabled": 0}),
        ("POST", "/v1/schedules", {"name": "a", "recipe": "a", "every": "1d", "minimum_new_documents": True}),
        ("POST", "/v1/recipes", {"name": "a", "sources": [{"file": "f"}], "seed": False}),
        ("POST", "/v1/recipes", {"name": "a", "sources": [{"file": "f"}], "evaluation": {"baselines": 1.0}}),
        ("POST", "/v1/tools/create_fine_tuning_job", {"training_file": "f", "n_epochs": True}),
    ],
)
def test_true_is_no_number_and_0_is_not_false(client: TestClient, method: str, path: str, body: Any) -> None:
    response = client.request(method, path, json=body)
    refused(response, 422)
    assert "true or false" in response.text


class Unread(ChatModel):
    """Answers 500 as llama.cpp's server does to messages or tools that it cannot read."""

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> Answer:
        return 500, {"error": {"code": 500, "message": "Failed to parse tools: Missing tool type: {}", "type": "x"}}


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_models_server_cannot_read_is_the_callers_mistake(tmp_path: Path, stream: bool) -> None:
    with Unread([]) as server, serving(tmp_path, server) as client:
        body = {"model": "talker", "messages": [USER], "tools": [{}], "stream": stream}
        refused(client.post("/v1/chat/completions", json=body), 400)


def test_the_short_forms_of_a_recipe_are_documented(client: TestClient) -> None:
    schemas = openapi()["components"]["schemas"]
    for schema, field, short in (
        ("Recipe", "task", "string"),
        ("Source", "documents", "string"),
        ("Source", "dataset", "string"),
        ("DatasetOptions", "mix", "string"),
        ("DatasetOptions", "hard_negatives", "boolean"),
    ):
        assert short in [kind.get("type") for kind in schemas[schema]["properties"][field]["anyOf"]], field
    sources = [{"dataset": "letters"}]
    recipe = {
        "name": "short",
        "task": "chat",
        "sources": sources,
        "dataset": {"hard_negatives": True, "mix": "letters"},
    }
    saved = client.post("/v1/recipes", json=recipe).json()["document"]
    assert saved["sources"] == [{"dataset": {"name": "letters"}}]
    assert saved["dataset"] == {"hard_negatives": {}, "mix": {"dataset": "letters"}}


def test_links_lead_to_operations_that_are_there() -> None:
    operations = {op["operationId"]: op for methods in openapi()["paths"].values() for op in methods.values()}
    reached = set()
    for operation in operations.values():
        for response in operation["responses"].values():
            for link in response.get("links", {}).values():
                taker = operations[link["operationId"]]
                names = {item["name"] for item in taker.get("parameters", [])}
                assert set(link.get("parameters", {})) <= names
                reached.add(link["operationId"])
    with_place = {
        name
        for name, operation in operations.items()
        if any(item["in"] == "path" for item in operation.get("parameters", []))
    }
    assert with_place - reached == {"suggest_values", "call_tool"}  # told of a document of Paperless, and of a name
