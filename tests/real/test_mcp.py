"""The real `mcp` client over HTTP and stdio, the MCP inspector and the conformance suite, against a real service."""

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from fakes.http_app import HttpApp
from real.conftest import node
from service import KEY, Service, extraction_rows
from tiny import build_tiny_model
from tunesmith.agents.operations import OPERATIONS

pytestmark = pytest.mark.real
ENDED = {"succeeded", "failed", "cancelled", "paused"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    build_tiny_model(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("home"), TUNESMITH_MODELS=str(models)).start()
    yield service
    service.close()


def over_http(service: Service, talk: Callable[[Client], Awaitable[None]], mode: str) -> None:
    async def run() -> None:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=90) as http,
            Client(streamable_http_client(f"{service.url}/mcp", http_client=http), mode=mode) as client,
        ):
            await talk(client)

    anyio.run(run)


async def tool(client: Client, name: str, /, **arguments: Any) -> Any:
    """The structured answer, which the text must say as well."""
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content[0].text  # type: ignore[union-attr]
    assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
    return result.structured_content


async def tune(client: Client, suffix: str = "stdio", base_model: str = "tiny") -> None:
    """From rows to a live model that answers, as an agent does it."""
    known = await tool(client, "list_base_models")
    assert base_model in [item["id"] for item in known["data"]]
    file = await tool(
        client, "upload_training_rows", rows=extraction_rows(40).decode(), idempotency_key=f"rows-{suffix}"
    )
    job = await tool(
        client,
        "create_fine_tuning_job",
        model=base_model,
        training_file=file["id"],
        suffix=suffix,
        n_epochs=1,
        idempotency_key=f"tune-{suffix}",
    )
    run_id, heard = job["run_id"], []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append((done, total, message))

    while True:
        result = await client.call_tool("wait_for_run", {"run_id": run_id, "seconds": 20}, progress_callback=progress)
        run = result.structured_content
        if run["status"] in ENDED:
            break
    assert run["status"] == "succeeded", run["error"]
    assert any(message for _, _, message in heard)
    assert all(total == 20 for _, total, _ in heard)
    card = await tool(client, "get_model", name=run["model"])
    assert card["live"] is True
    assert card["evaluation"]
    reply = await tool(client, "try_model", model=run["model"], prompt="Corner Books\nTOTAL 12.34", max_tokens=60)
    assert set(json.loads(reply["choices"][0]["message"]["content"])) == {"shop", "total"}
    events = await tool(client, "list_run_events", run_id=run_id, limit=200)
    assert any(event["message"].endswith("is live.") for event in events["data"])
    resources = {str(item.uri) for item in (await client.list_resources()).resources}
    assert f"tunesmith://models/{run['model']}/card" in resources
    content = (await client.read_resource(f"tunesmith://runs/{run_id}/events")).contents[0]
    assert "is live." in content.text  # type: ignore[union-attr]
    prompt = await client.get_prompt("tune_a_model", {"need": "Read receipts"})
    assert "Read receipts" in prompt.messages[0].content.text  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_agent_tunes_a_model_over_http(service: Service, mode: str) -> None:
    over_http(service, lambda client: tune(client, mode), mode)


def test_a_misspelt_argument_is_an_error_that_says_so(service: Service) -> None:
    async def talk(client: Client) -> None:
        result = await client.call_tool("get_run", {"run": "run-0123456789ab"})
        assert result.is_error
        assert "did you mean 'run_id'" in result.content[0].text  # type: ignore[union-attr]

    over_http(service, talk, "auto")


def test_an_agent_tunes_a_model_over_stdio_without_a_service(models: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "TUNESMITH_HOME": str(tmp_path / "home"), "TUNESMITH_MODELS": str(models)}
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "tunesmith.cli", "mcp"],
        env={**environment, "TUNESMITH_MIN_FREE_DISK_MB": "0"},
    )

    async def run() -> None:
        async with Client(stdio_client(command)) as client:
            await tune(client)

    anyio.run(run)


def test_stdio_in_front_of_a_service_elsewhere(service: Service, tmp_path: Path) -> None:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "tunesmith.cli", "mcp", "--url", service.url],
        env={**os.environ, "TUNESMITH_HOME": str(tmp_path / "none"), "TUNESMITH_API_KEY": KEY},
    )

    async def run() -> None:
        async with Client(stdio_client(command)) as client:
            await tune(client, "relay")

    anyio.run(run)
    assert not (tmp_path / "none").exists()


class KeyAdder(HttpApp):
    """The conformance suite cannot send a key, so this one adds it on the way and changes nothing else."""

    def __init__(self, url: str):
        self.upstream = url
        super().__init__()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in request.headers.items() if name.lower() != "connection"}
        headers["Authorization"] = f"Bearer {KEY}"
        answer = httpx.request(request.command, self.upstream + request.path, content=body, headers=headers, timeout=60)
        request.send_response(answer.status_code)
        for name in ("Content-Type", "Mcp-Session-Id"):
            if name in answer.headers:
                request.send_header(name, answer.headers[name])
        request.send_header("Content-Length", str(len(answer.content)))
        request.end_headers()
        request.wfile.write(answer.content)


def test_the_inspector_finds_nothing_in_strict_mode(service: Service, node_tools: Path) -> None:
    where = [f"{service.url}/mcp", "--transport", "http", "--header", f"Authorization: Bearer {KEY}"]
    listed = node(node_tools, "mcp-inspector", "--cli", *where, "--method", "tools/list", "--strict")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert [item["name"] for item in json.loads(listed.stdout)["tools"]] == list(OPERATIONS)
    called = ["--method", "tools/call", "--tool-name", "list_base_models"]
    answer = node(node_tools, "mcp-inspector", "--cli", *where, *called)
    assert answer.returncode == 0, answer.stderr
    assert "tiny" in json.loads(answer.stdout)["content"][0]["text"]


@pytest.mark.parametrize(
    "scenario",
    [
        "server-initialize",
        "ping",
        "tools-list",
        "resources-list",
        "prompts-list",
        "server-sse-multiple-streams",
        "dns-rebinding-protection",
    ],
)
def test_conformance(service: Service, node_tools: Path, scenario: str, tmp_path: Path) -> None:
    """The scenarios that need no tool of the suite's own, and nothing that is not offered (sampling, logging, …)."""
    with KeyAdder(service.url) as adder:
        arguments = ["server", "--url", f"{adder.url}/mcp", "--scenario", scenario]
        done = node(node_tools, "conformance", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
