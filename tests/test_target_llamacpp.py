"""The embedded target with a real llama.cpp server: what it answers, what it is held to, how servers live and die."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from conftest import Tiny
from gguf_edit import copied
from tunesmith.errors import NotFound, ParityError, Unavailable
from tunesmith.serving.pool import ServerPool
from tunesmith.serving.targets.base import Deployment, Endpoint
from tunesmith.serving.targets.llamacpp import LlamaCppTarget, start
from tunesmith.serving.targets.llamacpp_process import LlamaServer
from tunesmith.settings import Settings
from tunesmith.tasks.base import Constraint

pytest.importorskip("xllamacpp")

HELLO = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> LlamaCppTarget:
    return LlamaCppTarget(Settings(home=tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def endpoint(tiny: Tiny, target: LlamaCppTarget) -> Iterator[Endpoint]:
    with target.serve(target.deploy(tiny.candidate())) as endpoint:
        yield endpoint


def ask(endpoint: Endpoint, body: dict[str, object]) -> httpx.Response:
    whole = {"model": endpoint.model, "messages": HELLO, "max_tokens": 24, "temperature": 0, **body}
    return httpx.post(f"{endpoint.base_url}/chat/completions", json=whole, headers=endpoint.headers, timeout=60)


def content(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def test_chat_needs_the_key(endpoint: Endpoint) -> None:
    assert ask(endpoint, {}).status_code == 200
    refused = httpx.post(f"{endpoint.base_url}/chat/completions", json={"messages": HELLO})
    assert refused.status_code == 401
    assert endpoint.base_url.startswith("http://127.0.0.1:")


def test_grammar_is_obeyed(target: LlamaCppTarget, endpoint: Endpoint) -> None:
    words = [f"W{n}" for n in range(300)]
    pieces = [f'p{n} ::= "{word}"' + (f' (" " p{n + 1})?' if n < 299 else "") for n, word in enumerate(words)]
    start = "val ::= " + " | ".join(f"p{n}" for n in range(300))
    grammar = "\n".join(['root ::= "{" "\\"company\\": \\"" val "\\"" "}"', start, *pieces])
    answer = json.loads(content(ask(endpoint, target.body({"max_tokens": 400}, Constraint(SCHEMA, grammar)))))
    said = answer["company"].split(" ")
    first = words.index(said[0])
    assert said == words[first : first + len(said)]


def test_json_schema_without_a_grammar(target: LlamaCppTarget, endpoint: Endpoint) -> None:
    assert json.loads(content(ask(endpoint, target.body({}, Constraint(SCHEMA))))) in ({"n": 1}, {"n": 2})


@pytest.mark.parametrize(
    "own",
    [
        {"grammar": 'root ::= "mine"'},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": "mine"}}}},
    ],
    ids=["grammar", "response_format"],
)
def test_the_callers_own_format_wins(target: LlamaCppTarget, endpoint: Endpoint, own: dict[str, object]) -> None:
    body = target.body(own, Constraint(None, 'root ::= "ours"'))
    assert content(ask(endpoint, body)).strip('"') == "mine"


def test_bad_grammar_is_the_callers_error(endpoint: Endpoint) -> None:
    assert ask(endpoint, {"grammar": 'root ::= "'}).status_code == 400


def test_body_leaves_the_request_alone(target: LlamaCppTarget) -> None:
    request = {"messages": HELLO}
    target.body(request, Constraint(SCHEMA, 'root ::= "x"'))
    assert request == {"messages": HELLO}


def test_answers_run_in_parallel(endpoint: Endpoint) -> None:
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(endpoint, {}).status_code)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8


def test_foreign_files_are_not_served(tiny: Tiny, target: LlamaCppTarget, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.gguf"
    foreign.write_bytes(tiny.f16.read_bytes())
    with pytest.raises(ParityError):
        target.deploy(tiny.candidate(gguf=foreign))
    with pytest.raises(NotFound):
        target.deploy(tiny.candidate(gguf=tmp_path / "gone.gguf"))


def test_broken_weights_do_not_start(tiny: Tiny, target: LlamaCppTarget, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny.f16.read_bytes()[:-50000])
    broken = target.deploy(tiny.candidate(gguf=copied(cut, tmp_path / "sealed.gguf")))
    with pytest.raises(Unavailable) as caught, target.serve(broken):
        pass
    assert caught.value.error_code == "server_not_started"
    assert not caught.value.retryable


def test_deployments_survive_json(tiny: Tiny, target: LlamaCppTarget) -> None:
    deployment = target.deploy(tiny.candidate())
    assert Deployment.from_dict(json.loads(json.dumps(deployment.as_dict()))) == deployment
    assert deployment.system == "You are tiny"
    assert deployment.stop == ["<|im_end|>"]


@pytest.fixture
def pool(settings: Settings) -> Iterator[ServerPool]:
    pool = ServerPool(settings, limit=1)
    yield pool
    pool.close()


def test_pool_starts_a_server_once(tiny: Tiny, target: LlamaCppTarget, pool: ServerPool) -> None:
    deployment = target.deploy(tiny.candidate())
    found: list[Endpoint] = []
    threads = [threading.Thread(target=lambda: found.append(pool.endpoint(deployment))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len({endpoint.base_url for endpoint in found}) == 1


def test_pool_replaces_a_dead_server(tiny: Tiny, target: LlamaCppTarget, pool: ServerPool) -> None:
    deployment = target.deploy(tiny.candidate())
    before = pool.endpoint(deployment)
    (server,) = pool._servers.values()
    os.kill(server.pid, signal.SIGKILL)
    server._child.wait(10)
    after = pool.endpoint(deployment)
    assert after.base_url != before.base_url
    assert ask(after, {}).status_code == 200


def test_pool_ends_the_least_recently_used(
    tiny: Tiny, target: LlamaCppTarget, pool: ServerPool, tmp_path: Path
) -> None:
    first = target.deploy(tiny.candidate())
    second = target.deploy(tiny.candidate("run-2", gguf=copied(tiny.f16, tmp_path / "second.gguf")))
    pool.endpoint(first)
    (server,) = pool._servers.values()
    assert ask(pool.endpoint(second), {}).status_code == 200
    deadline = time.monotonic() + 15
    while psutil.pid_exists(server.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(server.pid)
    assert list(pool._servers) == [second.gguf]


def test_the_pool_never_holds_more_than_its_limit(
    tiny: Tiny, target: LlamaCppTarget, pool: ServerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers were started before others were ended: callers of many models filled the memory."""
    living: list[LlamaServer] = []
    most = []

    def counted(deployment: Deployment) -> LlamaServer:
        living.append(start(deployment))
        most.append(sum(server.alive() for server in living))
        return living[-1]

    monkeypatch.setattr("tunesmith.serving.pool.start", counted)
    versions = [
        target.deploy(tiny.candidate(f"run-{n}", gguf=copied(tiny.f16, tmp_path / f"{n}.gguf"))) for n in range(4)
    ]
    threads = [threading.Thread(target=pool.endpoint, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_a_model_that_does_not_fit_the_memory_is_not_started(
    tiny: Tiny, target: LlamaCppTarget, pool: ServerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.limit = 2
    deployment = target.deploy(tiny.candidate())
    pool.endpoint(deployment)
    (server,) = pool._servers.values()
    free = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    other = target.deploy(tiny.candidate("run-2", gguf=copied(tiny.f16, tmp_path / "second.gguf")))
    with pytest.raises(Unavailable) as caught:
        pool.endpoint(other)
    assert caught.value.error_code == "memory_full"
    assert not server.alive()  # it was tried


def test_closed_pool_starts_nothing(tiny: Tiny, target: LlamaCppTarget, settings: Settings) -> None:
    pool = ServerPool(settings)
    pool.endpoint(target.deploy(tiny.candidate()))
    (server,) = pool._servers.values()
    pool.close()
    assert not psutil.pid_exists(server.pid)
    with pytest.raises(Unavailable):
        pool.endpoint(target.deploy(tiny.candidate()))


def test_servers_do_not_outlive_a_killed_parent(tiny: Tiny, target: LlamaCppTarget) -> None:
    code = (
        "import sys, json, time; from tunesmith.serving.targets.base import Deployment;"
        "from tunesmith.serving.targets.llamacpp import start;"
        "print(start(Deployment.from_dict(json.loads(sys.argv[1]))).pid, flush=True); time.sleep(60)"
    )
    argv = [sys.executable, "-c", code, json.dumps(target.deploy(tiny.candidate()).as_dict())]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    server.wait(10)  # raises when it lives on
