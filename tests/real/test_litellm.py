"""A real LiteLLM proxy with the shipped configurations: models that were published answer through its wildcards."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest
from pydantic import SecretStr

from conftest import Tiny
from fakes.http_app import Answer, HttpApp, parsed
from fakes.ollama import FakeOllama
from fakes.tuning_agent import NEXT, TuningAgent
from service import KEY as SERVICE_KEY
from service import Service, extraction_rows
from tunesmith.agents.operations import OPERATIONS
from tunesmith.errors import BadInput
from tunesmith.serving import publish, routes
from tunesmith.serving.targets.base import Deployment
from tunesmith.serving.targets.llamacpp import LlamaCppTarget
from tunesmith.serving.targets.ollama import OllamaTarget
from tunesmith.settings import Settings

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
KEY = "sk-test-master"


@contextmanager
def proxy(command: str, config: str, log: Path, **environment: str) -> Iterator[str]:
    """A proxy on a free port, ended afterwards. Boots in about 25 s."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [
        command,
        "--config",
        str(ROOT / "examples" / "litellm" / config),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    path = f"{Path(command).parent}{os.pathsep}{os.environ['PATH']}"
    whole = {
        **os.environ,
        "PATH": path,
        "LITELLM_MASTER_KEY": KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        **environment,
    }
    url = f"http://127.0.0.1:{port}"
    with (
        log.open("wb") as out,
        subprocess.Popen(argv, env=whole, stdout=out, stderr=out, cwd=log.parent) as process,
    ):
        try:
            for _ in range(600):
                assert process.poll() is None, log.read_text()[-2000:]
                try:
                    if httpx.get(f"{url}/health/readiness", timeout=2).status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.5)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def settings_for(url: str, tmp_path: Path, **more: object) -> Settings:
    return Settings(home=tmp_path, litellm_url=url, litellm_key=SecretStr(KEY), **more)  # type: ignore[arg-type]


def chat(url: str, model: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4, "temperature": 0}
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)


def test_ollama_behind_the_wildcards(command: str, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    with (
        FakeOllama(tmp_path / "blobs") as ollama,
        proxy(command, "ollama.yaml", tmp_path / "log", OLLAMA_API_BASE=ollama.url) as url,
    ):
        settings = settings_for(url, tmp_path, ollama_url=ollama.url)
        target = OllamaTarget(settings)
        deployment = target.deploy(tiny.candidate())
        target.promote(deployment)
        route = publish.route(deployment, settings) or {}
        assert (route["mode"], route["verified"]) == ("wildcard", True)
        assert ("POST", "/api/chat") in ollama.calls
        ollama.models["ft-mine:latest"] = ollama.models["tiny-model:latest"]
        through = chat(url, "ft-mine")
        assert through.status_code == 200
        direct = httpx.post(
            f"{ollama.url}/api/chat",
            json={
                "model": "tiny-model",
                "messages": [{"role": "user", "content": "hello"}],
                "options": {"num_predict": 4, "temperature": 0},
            },
            timeout=60,
        )
        assert through.json()["choices"][0]["message"]["content"] == direct.json()["message"]["content"]
        assert through.json()["usage"]["prompt_tokens"] == direct.json()["prompt_eval_count"]  # no other template
        assert "has no database" in routes.check(settings)
        wrong = settings.model_copy(update={"litellm_key": SecretStr("sk-wrong")})
        with pytest.raises(BadInput) as caught:
            publish.route(deployment, wrong)
        assert caught.value.error_code == "litellm_key"


class OurApi(HttpApp):
    """Tunesmith's /v1 as far as a proxy sees it: passes on to the embedded server, and wants its own key."""

    def __init__(self, endpoint_url: str, model: str, headers: dict[str, str]):
        self.upstream, self.model, self.headers = endpoint_url, model, headers
        super().__init__()

    def handle(self, method: str, path: str, body: bytes, headers: object) -> Answer:
        if headers["Authorization"] != "Bearer our-key":  # type: ignore[index]
            return 401, {"error": {"message": "wrong key"}}
        asked = parsed(body)
        if asked["model"] != "tiny-model":
            return 404, {"error": {"message": f"There is no model {asked['model']!r}.", "code": "model_not_found"}}
        sent = {**asked, "model": self.model}
        answer = httpx.post(f"{self.upstream}/chat/completions", json=sent, headers=self.headers, timeout=60)
        return answer.status_code, answer.json()


def test_the_embedded_target_behind_the_wildcards(command: str, tiny: Tiny, tmp_path: Path) -> None:
    target = LlamaCppTarget(Settings(home=tmp_path))
    deployment = target.deploy(tiny.candidate())
    with (
        target.serve(deployment) as endpoint,
        OurApi(endpoint.base_url, endpoint.model, endpoint.headers) as api,
        proxy(
            command,
            "embedded.yaml",
            tmp_path / "log",
            TUNESMITH_API_BASE=f"{api.url}/v1",
            TUNESMITH_API_KEY="our-key",
        ) as url,
    ):
        settings = settings_for(url, tmp_path)
        route = publish.route(deployment, settings) or {}
        assert (route["mode"], route["provider_model"], route["verified"]) == ("wildcard", "openai/tiny-model", True)
        assert chat(url, "tiny-model").json()["choices"][0]["message"]["content"]
        unknown = Deployment.from_dict({**deployment.as_dict(), "name": "nobody"})
        missing = publish.route(unknown, settings) or {}
        assert not missing["verified"]
        assert missing["note"]


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Service]:
    """Without a worker: what is created stays queued."""
    service = Service(tmp_path / "home", ["--no-worker"]).start()
    yield service
    service.close()


def test_the_mcp_gateway_lists_and_calls_our_tools(command: str, idle: Service, tmp_path: Path) -> None:
    where = {"TUNESMITH_MCP_URL": f"{idle.url}/mcp", "TUNESMITH_API_KEY": SERVICE_KEY}
    with (
        proxy(command, "mcp.yaml", tmp_path / "log", **where) as url,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as http,
    ):
        tools = http.get("/mcp-rest/tools/list").json()["tools"]
        assert {tool["name"].removeprefix("tunesmith-") for tool in tools} == set(OPERATIONS)
        server_id = tools[0]["mcp_info"]["server_id"]
        rows = extraction_rows(12).decode()
        call = {"server_id": server_id, "name": "tunesmith-upload_training_rows", "arguments": {"rows": rows}}
        answer = http.post("/mcp-rest/tools/call", json=call).json()
        stored = json.loads(answer["content"][0]["text"])
        assert idle.http.get(f"/v1/files/{stored['id']}").json()["report"]["rows"] == 12
        wrong = {**call, "name": "tunesmith-get_run", "arguments": {"run": "run-0123456789ab"}}
        refused = http.post("/mcp-rest/tools/call", json=wrong)
        assert "did you mean 'run_id'" in refused.text


SENTENCE = "I need a small model that reads shop and total from my receipts. Tune one and put it live."


def test_a_sentence_becomes_a_model_through_chat_completions_with_mcp_tools(
    command: str, tiny_service: Service, tmp_path: Path
) -> None:
    """The proxy lists our tools to its model, and runs one round of calls a request."""
    config = tmp_path / "config.yaml"
    model = {"model": "openai/scripted", "api_base": "os.environ/AGENT_BASE", "api_key": "sk-1"}
    shipped = (ROOT / "examples" / "litellm" / "mcp.yaml").read_text(encoding="utf-8")
    config.write_text(shipped + f"model_list:\n  - model_name: agent\n    litellm_params: {json.dumps(model)}\n")
    where = {"TUNESMITH_MCP_URL": f"{tiny_service.url}/mcp", "TUNESMITH_API_KEY": SERVICE_KEY}
    agent = TuningAgent(extraction_rows(40).decode(), "tiny", "Corner Books\nTOTAL 12.34", one_a_turn=True)
    with agent, proxy(command, str(config), tmp_path / "log", AGENT_BASE=f"{agent.url}/v1", **where) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=120)
        gateway = {
            "type": "mcp",
            "server_label": "tunesmith",
            "server_url": "litellm_proxy",
            "require_approval": "never",
        }
        said, messages = "", [{"role": "user", "content": SENTENCE}]
        for _ in range(60):
            reply = client.chat.completions.create(model="agent", messages=messages, tools=[gateway])  # type: ignore[call-overload]
            said = reply.choices[0].message.content
            if not said.startswith(NEXT):
                break
            messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "Go on."}]
    assert "is live and answers" in said, said
    name = said.partition(" ")[0]
    question = [{"role": "user", "content": "Harbour Tools\nTOTAL 9.99"}]
    reply = tiny_service.openai.chat.completions.create(model=name, messages=question, temperature=0)  # type: ignore[arg-type]
    assert set(json.loads(reply.choices[0].message.content or "")) == {"shop", "total"}


def test_tools_made_of_our_flat_openapi_document(command: str, idle: Service, tmp_path: Path) -> None:
    where = {"TUNESMITH_URL": idle.url, "TUNESMITH_OPENAPI": f"{idle.url}/v1/tools/openapi.json"}
    with (
        proxy(command, "openapi.yaml", tmp_path / "log", TUNESMITH_API_KEY=SERVICE_KEY, **where) as url,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as http,
    ):
        tools = {
            tool["name"].removeprefix("tunesmith-"): tool for tool in http.get("/mcp-rest/tools/list").json()["tools"]
        }
        assert set(tools) == set(OPERATIONS)
        for name, tool in tools.items():
            assert tool["description"] == OPERATIONS[name].description
            body = tool["inputSchema"]["properties"]["body"]
            assert body["properties"].keys() == OPERATIONS[name].input_schema["properties"].keys(), "nothing is lost"
        server_id = tools["get_run"]["mcp_info"]["server_id"]

        def call(name: str, **arguments: object) -> httpx.Response:
            asked = {"server_id": server_id, "name": f"tunesmith-{name}", "arguments": {"body": arguments}}
            return http.post("/mcp-rest/tools/call", json=asked)

        stored = json.loads(
            call("upload_training_rows", rows=extraction_rows(12).decode()).json()["content"][0]["text"]
        )
        assert idle.http.get(f"/v1/files/{stored['id']}").json()["report"]["rows"] == 12
        refused = call("get_run", run="run-0123456789ab").json()
        assert refused["isError"]
        assert "422" in refused["content"][0]["text"], "the proxy keeps our words to itself; over MCP they arrive"


def test_files_and_jobs_pass_through(command: str, idle: Service, tmp_path: Path) -> None:
    where = {"TUNESMITH_API_BASE": f"{idle.url}/v1", "TUNESMITH_API_KEY": SERVICE_KEY}
    with proxy(command, "pass-through.yaml", tmp_path / "log", **where) as url:
        client = openai.OpenAI(base_url=f"{url}/tunesmith/api", api_key=KEY, max_retries=0)
        rows = extraction_rows(12)
        file = client.files.create(file=("rows.jsonl", rows), purpose="fine-tune")
        assert client.files.content(file.id).read() == rows
        jobs = client.fine_tuning.jobs
        job = jobs.create(
            model="smollm2-135m-instruct", training_file=file.id, suffix="passed", hyperparameters={"n_epochs": 2}
        )
        assert (job.user_provided_suffix, job.hyperparameters.n_epochs) == ("passed", 2)
        assert [item.id for item in jobs.list(limit=1)] == [job.id]
        assert jobs.list_events(job.id).data
        assert jobs.pause(job.id).status == "paused"
        assert jobs.resume(job.id).status == "queued"
        assert jobs.cancel(job.id).status == "cancelled"
        with pytest.raises(openai.NotFoundError, match="ftjob-0"):
            jobs.retrieve("ftjob-000000000000")
        assert client.files.delete(file.id).deleted
        with pytest.raises(openai.APIStatusError, match="No connected db"):  # how it refuses keys that it does not know
            openai.OpenAI(base_url=client.base_url, api_key="sk-wrong", max_retries=0).files.list()
