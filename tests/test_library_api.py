"""The library over the API and on the command line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from typer.testing import CliRunner

from fakes.paperless import FakePaperless
from releases import record
from test_paperless import document, lines
from tunesmith.api import keys
from tunesmith.app import create_app
from tunesmith.cli.main import app as command_line
from tunesmith.recipes import answering, suggest
from tunesmith.recipes.models import Release
from tunesmith.serving.targets.base import Endpoint
from tunesmith.settings import Settings, get_settings
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.extraction import Extraction


@pytest.fixture
def fake() -> Iterator[FakePaperless]:
    with FakePaperless(lines(document(1, content="Total 12.30 EUR"), document(2, tags=[2]))) as server:
        yield server


@pytest.fixture
def workspace(tmp_path: Path, fake: FakePaperless) -> Workspace:
    settings = Settings(
        home=tmp_path / "home", admin_key="admin-key", paperless_url=fake.url, paperless_token=SecretStr("secret")
    )
    opened = Workspace.open(settings)
    keys.ensure_first_key(opened)
    task = {"name": "extraction", "spec": Extraction().spec}
    deployment = {"target": "llamacpp", "name": "extractor", "version": "run-1", "model": "extractor:run-1"}
    deployment |= {"gguf": "", "hf_dir": "", "digest": "", "system": None, "stop": [], "num_ctx": 0, "quantization": ""}
    record(opened, Release("extractor", "run-1", "run-1", "base", "0" * 16, task, deployment, {}))
    return opened


@pytest.fixture
def client(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr(answering, "prepare", lambda *asked: (Endpoint("http://model/v1", "m"), asked[-1]))
    monkeypatch.setattr(suggest, "complete", lambda *_: '{"amount": "12.30"}')
    with TestClient(create_app(workspace=workspace), headers={"Authorization": "Bearer admin-key"}) as client:
        yield client


def test_sync_and_status(client: TestClient) -> None:
    assert client.get("/v1/library").json()["documents"] == 0
    synced = client.post("/v1/library/sync").json()
    assert (synced["new"], synced["documents"]) == (2, 2)
    assert client.post("/v1/library/sync", json={"full": True}).json()["full"] is True
    assert client.get("/v1/library").json()["last_sync"]["full"] is True


def test_suggest_and_record(client: TestClient, fake: FakePaperless) -> None:
    asked = {"model": "extractor", "write": ["amount"]}
    said = client.post("/v1/library/documents/1/suggest", json=asked).json()
    assert said["written"] == {"amount": "12.30"}
    assert fake.documents[0]["custom_fields"] == [{"field": 1, "value": "EUR12.30"}]
    told = {"document": 2, "model": "extractor", "answer": {"amount": "1.00"}}
    assert client.post("/v1/library/suggestions", json=told).json()["answer"] == {"amount": "1.00"}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/library/documents/99/suggest", {"model": "extractor"}, 400),
        ("/v1/library/documents/1/suggest", {"model": "nobody"}, 404),
        ("/v1/library/documents/1/suggest", {"model": "extractor", "write": ["total"]}, 400),
        ("/v1/library/documents/1/suggest", {"model": "extractor", "writes": []}, 422),
        ("/v1/library/suggestions", {"document": 1, "model": "extractor", "answer": {}}, 422),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    client: TestClient, fake: FakePaperless, path: str, body: Any, status: int
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == status
    assert answer.json()["hint"]
    assert fake.writes == []


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/library", "read"),
        ("POST", "/v1/library/sync", "train"),
        ("POST", "/v1/library/suggestions", "publish"),
        ("POST", "/v1/library/documents/1/suggest", "publish"),
    ],
)
def test_scopes(client: TestClient, workspace: Workspace, method: str, path: str, scope: str) -> None:
    others = [s for s in ("read", "train", "publish") if s != scope]
    key = keys.create_key(workspace, "other", others)
    refused = client.request(method, path, json={}, headers={"Authorization": f"Bearer {key}"})
    assert refused.status_code == 403
    assert scope in refused.json()["hint"]


def test_command_line(workspace: Workspace, fake: FakePaperless, client: TestClient) -> None:
    get_settings.cache_clear()
    env = {"TUNESMITH_HOME": str(workspace.settings.home), "TUNESMITH_PAPERLESS_URL": fake.url,
           "TUNESMITH_PAPERLESS_TOKEN": "secret"}  # fmt: skip
    run = CliRunner(env=env)
    try:
        assert run.invoke(command_line, ["library", "sync"]).stdout.startswith("2 new, 0 changed, 0 deleted")
        assert json.loads(run.invoke(command_line, ["library", "status"]).stdout)["documents"] == 2
        asked = ["suggest", "extractor", "--tag", "finance", "--write", "amount", "--dry-run"]
        said = run.invoke(command_line, asked)
        assert json.loads(said.stdout)["written"] == {"amount": "12.30"}
        assert fake.writes == []
        assert run.invoke(command_line, ["suggest", "extractor", "--document", "99"]).exit_code == 1
    finally:
        get_settings.cache_clear()


def test_a_program_that_requires_a_tool_gets_a_call_of_it(client: TestClient) -> None:
    """Paperless-ngx 3 with an OpenAI-like backend asks so; the model never sees the tool, only its own prompt."""
    sent: list[Any] = []

    def model(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        message = {"role": "assistant", "content": '{"title": "Water"}'}
        return httpx.Response(200, json={"choices": [{"finish_reason": "stop", "index": 0, "message": message}]})

    app: Any = client.app
    app.state.http = httpx.AsyncClient(transport=httpx.MockTransport(model))
    tool = {"type": "function", "function": {"name": "DocumentClassifierSchema", "parameters": {"type": "object"}}}
    asked = {"model": "extractor", "messages": [{"role": "user", "content": "Classify."}], "tools": [tool]}
    choice = client.post("/v1/chat/completions", json={**asked, "tool_choice": "required"}).json()["choices"][0]
    call = choice["message"]["tool_calls"][0]["function"]
    assert (call["name"], json.loads(call["arguments"])) == ("DocumentClassifierSchema", {"title": "Water"})
    assert choice["finish_reason"] == "tool_calls"
    assert "tools" not in sent[0]
    assert "tool_choice" not in sent[0]
    plain = client.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]
    assert plain["content"] == '{"title": "Water"}'
    assert "tools" in sent[1]
