"""One request must not end a model's server for the others: what is passed on, and what happens when it dies."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from conftest import Tiny
from fakes.chat_model import ChatModel
from fakes.http_app import Answer
from test_chat_api import chat, serving
from tunesmith.app import create_app
from tunesmith.serving.targets.base import Endpoint

POISON = {"role": "user", "content": "poison"}
DEEP: dict[str, Any] = {"type": "string"}
for _ in range(60):
    DEEP = {"type": "array", "items": DEEP}


def held_to(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


@pytest.fixture
def server() -> Iterator[ChatModel]:
    with ChatModel(["An answer."] * 40) as app:
        yield app


@pytest.fixture
def client(tmp_path: Path, server: ChatModel) -> Iterator[TestClient]:
    with TestClient(
        create_app(workspace=serving(tmp_path, server)),
        headers={"Authorization": "Bearer k"},
        raise_server_exceptions=False,
    ) as client:
        yield client


@pytest.mark.parametrize(
    "name",
    ["grammar", "json_schema", "format", "chat_template", "cache_prompt", "samplers", "id_slot", "lora", "n_predict"],
)
def test_only_openais_parameters_pass(client: TestClient, server: ChatModel, name: str) -> None:
    """`grammar` with 200,000 nested parentheses ended llama.cpp's server for everybody."""
    response = chat(client, **{name: "root ::= " + "(" * 2000})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"]) == ("unknown_parameter", name)
    assert not server.asked
    assert chat(client, **{name: None}).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response_format", held_to(DEEP)["response_format"]),
        ("response_format", held_to({"enum": list(range(100_000))})["response_format"]),
        ("response_format", held_to({"type": "array", "minItems": 10**9})["response_format"]),
        ("response_format", held_to({"$ref": "http://169.254.169.254/"})["response_format"]),
        ("response_format", {"type": "json_object", "schema": DEEP}),
        ("response_format", {"type": "grammar", "grammar": "x"}),
        ("tools", [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": DEEP}}}}]),
        ("tools", [{"type": "function", "function": {"name": f"f{n}"}} for n in range(129)]),
        ("messages", [POISON] * 3000),
        ("stop", ["x"] * 17),
        ("stop", ["x" * 1000]),
        ("logit_bias", {str(n): 1 for n in range(301)}),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", {"1": 1e9}),
        ("n", 129),
        ("n", -1),
        ("max_tokens", 0),
        ("max_tokens", 10**30),
        ("max_completion_tokens", True),
        ("top_logprobs", 10**9),
        ("seed", 10**30),
        ("temperature", -1),
        ("top_p", "1"),
        ("stream_options", {"include_usage": {"a": 1}}),
    ],
    ids=range(24),
)
def test_parameters_are_bounded(client: TestClient, server: ChatModel, name: str, value: Any) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], name: value}
    response = client.post("/v1/chat/completions", json=body)
    unread = {"too_many_values": 413, "invalid_parameters": 422}  # refused before anybody looks at parameters
    error = response.json()["error"]
    assert response.status_code == unread.get(error["code"], 400), response.text
    assert error["param"] == name or error["code"] in unread
    assert not server.asked


def test_what_openai_clients_send_is_taken(client: TestClient, server: ChatModel) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 5.0}}}
    said = {
        **held_to(schema),
        "max_tokens": 20.0,
        "stop": "x",
        "seed": -3,
        "logit_bias": {"5": -100},
        "stream_options": {"include_usage": True},
        "logprobs": True,
        "top_logprobs": 2,
        "presence_penalty": 1,
    }
    without_effect = {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto"}
    assert chat(client, **said, **without_effect).status_code == 200
    (asked,) = server.asked
    assert set(said) <= set(asked)
    assert not set(without_effect) & set(asked)
    held = asked["response_format"]["json_schema"]["schema"]
    assert json.dumps(held["properties"]["a"]) == '{"type": "string", "maxLength": 5}'


class Mortal(ChatModel):
    """A server that the word poison ends; `company`: how many others must be waiting for their answers by then."""

    def __init__(self, company: int) -> None:
        super().__init__(["An answer."] * 40)
        self.company, self.waiting = company, 0
        self.changed, self.dead = threading.Condition(), threading.Event()
        self.endpoint = Endpoint(f"{self.url}/v1", "m", {})

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> Answer:
        if b"poison" in body:
            with self.changed:
                assert self.changed.wait_for(lambda: self.waiting >= self.company, 30)
            self.dead.set()
        elif self.company:
            with self.changed:
                self.waiting += 1
                self.changed.notify_all()
            assert self.dead.wait(30)
        if self.dead.is_set():
            raise ConnectionError
        return super().handle(method, path, body, headers)

    def alive(self) -> bool:
        return not self.dead.is_set()

    def gone(self) -> bool:
        return self.dead.is_set()

    def busy(self) -> bool:
        return False


def test_a_request_that_ends_the_server_ends_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is started anew, and each request is asked once more, by itself."""
    started: list[Mortal] = []

    def start(*_: object) -> Mortal:
        started.append(Mortal(company=0 if started else 3))
        return started[-1]

    monkeypatch.setattr("tunesmith.serving.pool.start", start)
    with ChatModel([]) as unused:
        app = create_app(workspace=serving(tmp_path, unused, target="llamacpp"))
        with TestClient(app, headers={"Authorization": "Bearer k"}) as client, ThreadPoolExecutor(4) as threads:
            poison = threads.submit(chat, client, POISON)
            others = [threads.submit(chat, client) for _ in range(3)]
            assert [other.result().status_code for other in others] == [200] * 3
            assert poison.result().status_code == 503
            assert poison.result().json()["error"]["code"] == "unavailable"
            assert chat(client).status_code == 200
    assert sum(b"poison" in json.dumps(asked).encode() for server in started for asked in server.asked) == 0
    assert [server.dead.is_set() for server in started].count(True) == 2


def test_a_server_that_is_away_but_not_ours_is_asked_once(tmp_path: Path) -> None:
    with Mortal(company=0) as away:
        with TestClient(create_app(workspace=serving(tmp_path, away)), headers={"Authorization": "Bearer k"}) as client:
            assert chat(client, POISON).status_code == 503
        assert len(away.calls) == 1


def test_a_stream_whose_server_ends_says_so(tmp_path: Path) -> None:
    class Half(ChatModel):
        def _serve(self, request: Any) -> None:
            request.rfile.read(int(request.headers["Content-Length"]))
            request.send_response(200)
            request.send_header("Content-Type", "text/event-stream")
            request.send_header("Content-Length", "1000")
            request.end_headers()
            request.wfile.write(b'data: {"choices": []}\n\n')
            request.close_connection = True

    with Half([]) as half:
        app = create_app(workspace=serving(tmp_path, half))
        with TestClient(app, headers={"Authorization": "Bearer k"}) as client:
            lines = chat(client, stream=True).text.split("\n\n")
    assert json.loads(lines[0].removeprefix("data: ")) == {"choices": []}
    assert json.loads(lines[-2].removeprefix("data: "))["error"]["code"] == "unavailable"


def test_the_grammar_that_ended_a_real_server_is_refused_and_a_real_one_starts_again(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    grammar = "root ::= " + "(" * 200_000 + '"a"' + ")" * 200_000
    with ChatModel([]) as unused:
        about = {"gguf": str(tiny.f16), "hf_dir": str(tiny.hf_dir), "target": "llamacpp"}
        app = create_app(workspace=serving(tmp_path, unused, **about))
        with TestClient(app, headers={"Authorization": "Bearer k"}) as client:
            assert chat(client, max_tokens=4, grammar=grammar).status_code == 400
            assert chat(client, max_tokens=4).status_code == 200
            with monkeypatch.context() as patched:  # as if it had got through
                patched.setattr("tunesmith.recipes.chat_parameters.checked", lambda asked: asked)
                assert chat(client, max_tokens=4, grammar=grammar).status_code == 503
            assert chat(client, max_tokens=4).status_code == 200
