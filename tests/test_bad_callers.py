"""Callers at their worst: each gets a clear answer, and the service stays well."""

import concurrent.futures
import dataclasses
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from fastapi.testclient import TestClient

from service import KEY, Service, extraction_rows, wait
from tunesmith.agents.operations import OPERATIONS
from tunesmith.api import keys
from tunesmith.app import create_app, openapi
from tunesmith.recipes import models
from tunesmith.settings import Settings
from tunesmith.store.tables import Event
from tunesmith.store.workspace import Workspace

ROWS = extraction_rows(20)
MCP = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    parts = tmp_path / "parts"
    settings = Settings(
        home=tmp_path / "home", admin_key=KEY, min_free_disk_mb=0, parts=parts, webhook_hosts="127.0.0.1"
    )
    workspace = Workspace.open(settings)
    keys.ensure_first_key(workspace)
    with TestClient(create_app(workspace=workspace), headers={"Authorization": f"Bearer {KEY}"}) as client:
        yield client


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Without a worker: what is created stays queued."""
    service = Service(tmp_path_factory.mktemp("home"), arguments=["--no-worker"]).start()
    yield service
    service.close()


def new_file(http: Any, **headers: str) -> Any:
    return http.post("/v1/files", files={"file": ("rows.jsonl", ROWS)}, data={"purpose": "fine-tune"}, headers=headers)


def new_run(service: Service) -> str:
    body = {"model": "smollm2-135m-instruct", "training_file": new_file(service.http).json()["id"]}
    run: str = service.http.post("/v1/fine_tuning/jobs", json=body).json()["run_id"]
    return run


def test_ids_of_another_noun_are_told_apart(client: TestClient) -> None:
    file = new_file(client).json()["id"]
    job = client.post("/v1/fine_tuning/jobs", json={"model": "smollm2-135m-instruct", "training_file": file}).json()

    def hint(tool: str, **arguments: Any) -> Any:
        response = client.post(f"/v1/tools/{tool}", json=arguments)
        assert response.status_code == 404
        return response.json()["hint"]

    assert hint("create_fine_tuning_job", training_file=job["run_id"]) == (
        "That is the id of a run; a file is wanted, whose id starts with file-."
    )
    assert "id of a fine-tuning job; a run is wanted" in hint("get_run", run_id=job["id"])
    assert "id of a file; a run is wanted" in hint("cancel_run", run_id=file)
    error = client.get(f"/v1/fine_tuning/jobs/{job['run_id']}").json()["error"]["message"]
    assert "id of a run; a fine-tuning job is wanted" in error
    assert "a file is wanted" in client.get(f"/v1/files/{job['run_id']}").json()["error"]["message"]


def test_who_may_train_may_hear_the_end_of_a_run_and_no_more(client: TestClient) -> None:
    """What n8n needs to sleep until a run has ended; a lasting webhook, or a look at others, needs an admin."""
    workspace = client.app.state.workspace  # type: ignore[attr-defined]
    file = new_file(client).json()["id"]
    run = client.post("/v1/tools/create_fine_tuning_job", json={"training_file": file}).json()["run_id"]
    body = {"url": "http://127.0.0.1:1/resume", "events": ["run.succeeded"]}
    lasting = client.post("/v1/webhooks", json=body).json()["id"]

    def by(*scopes: str) -> dict[str, dict[str, str]]:
        return {"headers": {"Authorization": f"Bearer {keys.create_key(workspace, 'n8n', scopes)}"}}

    trainer, reader = by("read", "train"), by("read", "publish")
    one_off = client.post("/v1/webhooks", json={**body, "run_id": run}, **trainer)
    assert one_off.status_code == 201, one_off.text
    elsewhere = client.post("/v1/webhooks", json={**body, "url": "http://10.0.0.1/", "run_id": run}, **trainer)
    assert elsewhere.json()["code"] == "webhook_host_not_allowed"
    assert client.post("/v1/webhooks", json=body, **trainer).status_code == 403
    assert client.post("/v1/webhooks", json={**body, "run_id": run}, **reader).status_code == 403
    mine = f"/v1/webhooks/{one_off.json()['id']}"
    assert client.delete(mine, **reader).status_code == 403
    assert client.delete(f"/v1/webhooks/{lasting}", **trainer).status_code == 403
    for method, path in (
        ("GET", "/v1/webhooks"),
        ("GET", mine),
        ("PATCH", mine),
        ("GET", f"{mine}/deliveries"),
        ("POST", f"{mine}/test"),
        ("POST", f"{mine}/deliveries/dlv-1/replay"),
    ):
        sent = {"json": {}} if method == "PATCH" else {}
        assert client.request(method, path, **sent, **trainer).status_code == 403, (method, path)  # type: ignore[arg-type]
    assert client.delete(mine, **trainer).status_code == 204


def test_a_key_without_a_scope_gets_nothing_at_all(client: TestClient) -> None:
    workspace = client.app.state.workspace  # type: ignore[attr-defined]
    powerless = {"Authorization": f"Bearer {keys.create_key(workspace, 'powerless', [])}"}
    tried = 0
    for path, methods in openapi()["paths"].items():
        for method, operation in methods.items():
            if operation["security"] == [] or operation["operationId"] == "call_tool":  # that one: test_agents.py
                continue
            given = {item["name"]: item["example"] for item in operation.get("parameters", []) if item["in"] == "path"}
            sent: dict[str, Any] = {}
            if operation["operationId"] == "create_webhook":  # its scope depends on what it is
                sent["json"] = {"url": "http://127.0.0.1:1/", "events": ["run.failed"], "run_id": "run-0123456789ab"}
            response = client.request(method, path.format(**given), headers=powerless, **sent)
            assert response.status_code == 403, (operation["operationId"], response.text)
            tried += 1
    assert tried > 50


def test_the_same_upload_sent_twice_is_stored_once(client: TestClient) -> None:
    first = new_file(client, **{"Idempotency-Key": "mine"}).json()
    assert new_file(client, **{"Idempotency-Key": "mine"}).json() == first
    assert len(client.get("/v1/files").json()["data"]) == 1
    other = client.post(
        "/v1/files", files={"file": ("rows.jsonl", ROWS + b"\n" + ROWS)}, headers={"Idempotency-Key": "mine"}
    )
    assert other.status_code == 409
    folder = client.app.state.workspace.artifacts.home / "files"  # type: ignore[attr-defined]
    assert [path.name for path in folder.iterdir()] == [first["id"]]


def test_the_same_create_sent_eight_times_at_once_makes_one(service: Service) -> None:
    def upload(_: int) -> str:
        response = new_file(service.http, **{"Idempotency-Key": "race"})
        assert response.status_code == 200, response.text
        return str(response.json()["id"])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        files = set(pool.map(upload, range(8)))
        assert len(files) == 1
        service.http.post("/v1/recipes", json={"name": "race", "sources": [{"file": files.pop()}]}).raise_for_status()

        def start(number: int) -> str:
            where = "/v1/recipes/race/runs" if number % 2 else "/v1/tools/run_recipe"
            body = None if number % 2 else {"name": "race", "idempotency_key": "race"}
            response = service.http.post(where, json=body, headers={"Idempotency-Key": "race"})
            assert response.status_code == 200, response.text
            return str(response.json()["id"])

        assert len(set(pool.map(start, range(8)))) == 1
    assert len(service.http.get("/v1/runs", params={"recipe": "race"}).json()["data"]) == 1


def test_a_hundred_waits_at_once_leave_the_service_well(service: Service) -> None:
    run_id = new_run(service)

    def wait_by(number: int) -> str:
        if number % 3 == 0:
            return str(service.http.get(f"/v1/runs/{run_id}/wait", params={"seconds": 6}).json()["status"])
        arguments = {"run_id": run_id, "seconds": 6}
        if number % 3 == 1:
            return str(service.http.post("/v1/tools/wait_for_run", json=arguments).json()["status"])
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        params = {"name": "wait_for_run", "arguments": arguments, "_meta": {"progressToken": number}}
        text = service.http.post("/mcp", json={**call, "params": params}, headers=MCP).text
        last = [line for line in text.splitlines() if line.startswith("data: {")][-1]
        return str(json.loads(last.removeprefix("data: "))["result"]["structuredContent"]["status"])

    with (
        httpx.Client(base_url=service.url, limits=httpx.Limits(max_connections=200)) as other,
        concurrent.futures.ThreadPoolExecutor(100) as pool,
    ):
        service.http.close()
        service.http = httpx.Client(
            base_url=service.url,
            headers={"Authorization": f"Bearer {KEY}"},
            limits=httpx.Limits(max_connections=200),
            timeout=60,
        )
        waits = [pool.submit(wait_by, number) for number in range(100)]
        while not all(done.done() for done in waits):  # httpx gives up on an answer after 5 s
            assert other.get("/healthz").status_code == 200
            assert other.get("/readyz").status_code == 200
            time.sleep(0.1)
        assert {done.result() for done in waits} == {"queued"}


def test_clients_that_never_read_their_events_cost_no_memory_and_are_let_go(service: Service) -> None:
    run_id = new_run(service)
    workspace = Workspace.open(Settings(home=service.home))
    with workspace.database.write() as session:
        session.add_all([Event(run_id=run_id, message="x" * 2000) for _ in range(3000)])  # 6 MB a client
    workspace.close()
    assert service.process is not None
    process = psutil.Process(service.process.pid)
    before, memory = len(process.net_connections()), process.memory_info().rss
    request = (
        f"GET /v1/runs/{run_id}/events?stream=true HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n"
    )
    deaf = []
    for _ in range(50):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)  # before connecting, or it is not held to
        connection.connect(("127.0.0.1", service.port))
        connection.sendall(request.encode())
        deaf.append(connection)
    wait(lambda: len(process.net_connections()) >= before + 50, 10)
    wait(lambda: all(connection.recv(1, socket.MSG_PEEK) for connection in deaf), 60)  # each has begun to be answered
    assert service.http.get("/healthz").status_code == 200
    assert process.memory_info().rss - memory < 100 * 2**20, "what nobody reads is not piled up: it would be 300 MB"
    assert service.http.post(f"/v1/runs/{run_id}/cancel").json()["status"] == "cancelled"
    for connection in deaf:
        connection.close()
    wait(lambda: len(process.net_connections()) <= before, 20)
    assert service.http.get("/readyz").status_code == 200


def test_a_tool_that_breaks_in_the_middle_tells_no_secrets(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("password=hunter2 in /srv/secret")

    monkeypatch.setitem(OPERATIONS, "list_models", dataclasses.replace(OPERATIONS["list_models"], function=broken))
    monkeypatch.setattr(models, "card", broken)
    with pytest.raises(RuntimeError):  # the test client shows it; over the wire it is a 500 without a word of it
        client.post("/v1/tools/list_models", json={})
    for method, params in (
        ("tools/call", {"name": "list_models", "arguments": {}}),
        ("resources/read", {"uri": "tunesmith://models/receipts/card"}),
    ):
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        said = client.post("/mcp", json=call, headers={"Host": "localhost:8765", **MCP}).text
        assert "Something unexpected went wrong. See the service's log." in said
        assert "hunter2" not in said
    assert client.get("/v1/models").status_code == 200


def test_a_call_whose_connection_dies_is_done_once(service: Service) -> None:
    file_id = new_file(service.http).json()["id"]
    arguments = {"training_file": file_id, "idempotency_key": "dies"}
    params = {"name": "create_fine_tuning_job", "arguments": arguments}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    head = [
        "POST /mcp HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {KEY}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in MCP.items()),
    ]
    request = ("\r\n".join(head) + "\r\n\r\n" + body).encode()
    for sent in (request[:-20], request, request):  # torn in the middle of the body, then before the answer
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(sent)
    answer = service.http.post("/v1/tools/create_fine_tuning_job", json=arguments)
    assert answer.status_code == 200
    jobs = service.http.get("/v1/fine_tuning/jobs", params={"limit": 1000}).json()["data"]
    assert [job["id"] for job in jobs if job["training_file"] == file_id] == [answer.json()["id"]]
    run = service.http.get(f"/v1/runs/{answer.json()['run_id']}").json()
    assert [stage["status"] for stage in run["stages"]] == ["queued"] * 5
