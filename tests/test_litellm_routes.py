"""Routes of a LiteLLM proxy: kept in its database, covered by a wildcard, and tried with a real chat."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from conftest import Tiny
from fakes.litellm import FakeLiteLLM
from fakes.ollama import FakeOllama
from tunesmith.errors import BadInput, Unavailable
from tunesmith.serving import publish, routes
from tunesmith.serving.targets.base import Deployment
from tunesmith.serving.targets.ollama import OllamaTarget
from tunesmith.settings import Settings
from tunesmith.tasks.classification import Classification
from tunesmith.tasks.extraction import Extraction
from tunesmith_connectors.litellm import LiteLLM, LiteLLMError

pytest.importorskip("xllamacpp")

Start = Callable[..., tuple[FakeLiteLLM, Settings]]


@pytest.fixture(scope="module")
def ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeOllama]:
    with FakeOllama(tmp_path_factory.mktemp("blobs")) as fake:
        yield fake


@pytest.fixture(scope="module")
def deployment(tiny: Tiny, ollama: FakeOllama, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    target = OllamaTarget(Settings(home=tmp_path_factory.mktemp("home"), ollama_url=ollama.url))
    deployment = target.deploy(tiny.candidate())
    target.promote(deployment)
    return deployment


@pytest.fixture
def start(ollama: FakeOllama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # backoff
    proxies: list[FakeLiteLLM] = []

    def make(*, key: str = "sk-master", **options: object) -> tuple[FakeLiteLLM, Settings]:
        proxies.append(FakeLiteLLM(**options))  # type: ignore[arg-type]
        return proxies[-1], Settings(
            home=tmp_path, ollama_url=ollama.url, litellm_url=proxies[-1].url, litellm_key=SecretStr(key)
        )

    yield make
    for proxy in proxies:
        proxy.close()


def wildcard(ollama: FakeOllama, pattern: str = "*") -> dict[str, dict[str, str]]:
    return {pattern: {"model": f"ollama_chat/{pattern}", "api_base": ollama.url}}


def test_a_database_keeps_the_route_once(start: Start, deployment: Deployment) -> None:
    proxy, settings = start(database=True)
    first = publish.route(deployment, settings)
    assert first == {
        "model": "tiny-model",
        "mode": "database",
        "provider_model": "ollama_chat/tiny-model",
        "verified": True,
        "note": "",
    }
    assert publish.route(deployment, settings) == first
    assert list(proxy.rows) == ["tunesmith-tiny-model"]
    assert proxy.calls.count(("POST", "/model/new")) == 1
    assert ("POST", "/model/update") not in proxy.calls


def test_a_route_that_points_elsewhere_is_updated(start: Start, deployment: Deployment) -> None:
    proxy, settings = start(database=True)
    publish.route(deployment, settings)
    proxy.rows["tunesmith-tiny-model"]["litellm_params"]["api_base"] = "http://127.0.0.1:9"
    publish.route(deployment, settings)
    assert proxy.rows["tunesmith-tiny-model"]["litellm_params"]["api_base"] == settings.ollama_url
    assert len(proxy.rows) == 1


def test_two_at_once_make_one_route(start: Start, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process registered it between our look and our call: a duplicate id is a 500."""
    proxy, settings = start(database=True)
    publish.route(deployment, settings)
    real, looks = LiteLLM.model_info, []

    def late(self: LiteLLM) -> list[dict[str, object]]:
        looks.append(1)
        return [] if len(looks) == 1 else real(self)

    monkeypatch.setattr(LiteLLM, "model_info", late)
    assert (publish.route(deployment, settings) or {})["verified"]
    assert len(proxy.rows) == 1


def test_a_route_that_would_be_forgotten_is_an_error(start: Start, deployment: Deployment) -> None:
    _, settings = start(database=True, forgets=True)
    with pytest.raises(Unavailable, match="does not keep") as caught:
        publish.route(deployment, settings)
    assert "store_model_in_db" in str(caught.value.hint)


def test_withdrawing_a_route(start: Start, deployment: Deployment) -> None:
    proxy, settings = start(database=True)
    publish.route(deployment, settings)
    publish.withdraw("tiny-model", settings)
    publish.withdraw("tiny-model", settings)
    assert proxy.rows == {}


def test_a_wildcard_needs_no_registration(start: Start, deployment: Deployment, ollama: FakeOllama) -> None:
    proxy, settings = start(config=wildcard(ollama))
    route = publish.route(deployment, settings) or {}
    assert (route["mode"], route["verified"]) == ("wildcard", True)
    assert ("POST", "/v1/chat/completions") in proxy.calls
    assert ("POST", "/model/new") not in proxy.calls
    publish.withdraw("tiny-model", settings)


@pytest.mark.parametrize(("name", "pattern"), [("tiny-model", '"*"'), ("ft-mine-1", '"ft-*"')])
def test_no_wildcard_for_the_name_says_what_to_write(
    start: Start, deployment: Deployment, ollama: FakeOllama, name: str, pattern: str
) -> None:
    _, settings = start(config=wildcard(ollama, "other-*"))
    named = Deployment.from_dict({**deployment.as_dict(), "name": name})
    with pytest.raises(BadInput) as caught:
        publish.route(named, settings)
    assert caught.value.error_code == "no_route"
    assert pattern in str(caught.value.hint)
    assert "ollama_chat/" in str(caught.value.hint)


def test_no_proxy_no_route(deployment: Deployment, settings: Settings) -> None:
    assert publish.route(deployment, settings) is None
    publish.withdraw("tiny-model", settings)


@pytest.mark.parametrize("database", [True, False])
def test_a_wrong_key_says_so(start: Start, deployment: Deployment, database: bool) -> None:
    _, settings = start(database=database, key="sk-wrong")
    for call in (lambda: publish.route(deployment, settings), lambda: routes.check(settings)):
        with pytest.raises(BadInput) as caught:
            call()
        assert caught.value.error_code == "litellm_key"
        assert "TUNESMITH_LITELLM_KEY" in str(caught.value.hint)
        assert "sk-wrong" not in str(caught.value) + str(caught.value.hint)


@pytest.mark.parametrize("failures", [[503], [429, 502], [500, 504, 503]])
def test_passing_trouble_is_waited_out(start: Start, deployment: Deployment, failures: list[int]) -> None:
    proxy, settings = start(database=True)
    proxy.failures = list(failures)
    assert (publish.route(deployment, settings) or {})["verified"]


def test_lasting_trouble_is_retryable(start: Start, deployment: Deployment) -> None:
    proxy, settings = start(database=True)
    proxy.failures = [503] * 20
    with pytest.raises(Unavailable) as caught:
        publish.route(deployment, settings)
    assert caught.value.retryable


def test_a_proxy_that_is_away(settings: Settings, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    away = settings.model_copy(update={"litellm_url": "http://127.0.0.1:9"})
    with pytest.raises(Unavailable, match="does not answer"):
        publish.route(deployment, away)


def test_a_proxy_without_a_database_says_so_to_the_caller(start: Start) -> None:
    proxy, _ = start()
    client = LiteLLM(proxy.url, "sk-master")
    with pytest.raises(LiteLLMError) as caught:
        client.add({"model_name": "x", "litellm_params": {}, "model_info": {"id": "x"}})
    client.close()
    assert "wildcard" in str(caught.value.hint)


def test_the_embedded_target_is_routed_to_our_own_api(start: Start, deployment: Deployment) -> None:
    """Our API is not up yet when a command-line run publishes: noted, not an error."""
    proxy, settings = start(database=True)
    embedded = Deployment.from_dict({**deployment.as_dict(), "target": "llamacpp"})
    route = publish.route(embedded, settings.model_copy(update={"host": "0.0.0.0", "port": 9})) or {}
    parameters = proxy.rows["tunesmith-tiny-model"]["litellm_params"]
    assert parameters["model"] == "openai/tiny-model"
    assert parameters["api_base"] == "http://127.0.0.1:9/v1"
    assert parameters["api_key"] == "os.environ/TUNESMITH_API_KEY"
    assert route["verified"] is False
    assert "tunesmith serve" in route["note"]


def test_promote_and_route_twice_leave_one_route(
    start: Start, tiny: Tiny, ollama: FakeOllama, deployment: Deployment
) -> None:
    proxy, settings = start(database=True)
    target = OllamaTarget(settings)
    for _ in range(2):
        publish.promote(target, deployment, settings)
        publish.route(deployment, settings)
    assert ollama.models["tiny-model:latest"].digest == deployment.digest
    assert len(proxy.rows) == 1


def test_check_tells_how_routes_are_kept(start: Start, ollama: FakeOllama) -> None:
    _, kept = start(database=True)
    assert "keeps routes" in routes.check(kept)
    _, wild = start(config=wildcard(ollama))
    assert "wildcard" in routes.check(wild)


INVOICE = Extraction({"schema": {"type": {"enum": ["invoice", "letter"]}, "amount": "money"}})
TASK = {"name": "extraction", "spec": INVOICE.spec}
LABEL = {"name": "classification", "spec": Classification({"labels": ["a", "b"]}).spec}


def limited(deployment: Deployment) -> Deployment:
    return replace(deployment, num_predict=90)


def test_a_registered_route_sets_what_was_measured(start: Start, deployment: Deployment) -> None:
    proxy, settings = start(database=True)
    for _ in range(2):
        assert (publish.route(limited(deployment), settings, TASK) or {})["verified"]
    said = proxy.rows["tunesmith-tiny-model"]["litellm_params"]
    assert (said["temperature"], said["max_tokens"]) == (0, 90)
    assert said["response_format"]["type"] == "json_schema"
    assert said["response_format"]["json_schema"]["schema"] == routes.schema_of(INVOICE)
    assert ("POST", "/model/update") not in proxy.calls, "what the proxy shows is what it was given"


@pytest.mark.parametrize("change", [{"temperature": 1}, {"max_tokens": 9}, {"response_format": None}])
def test_a_route_that_sets_something_else_is_updated(
    start: Start, deployment: Deployment, change: dict[str, Any]
) -> None:
    proxy, settings = start(database=True)
    publish.route(limited(deployment), settings, TASK)
    kept = proxy.rows["tunesmith-tiny-model"]["litellm_params"]
    before = dict(kept)
    kept.update(change)
    publish.route(limited(deployment), settings, TASK)
    assert proxy.rows["tunesmith-tiny-model"]["litellm_params"] == before


def test_what_a_route_no_longer_sets_is_taken_out(start: Start, deployment: Deployment) -> None:
    """An update merges: a schema of an earlier version would stay, and answers be held to it."""
    proxy, settings = start(database=True)
    publish.route(limited(deployment), settings, TASK)
    publish.route(deployment, settings, LABEL)
    said = proxy.rows["tunesmith-tiny-model"]["litellm_params"]
    assert "response_format" not in said
    assert "max_tokens" not in said
    assert list(proxy.rows) == ["tunesmith-tiny-model"]


def test_numbers_that_an_older_proxy_hides_are_not_sent_again_and_again(
    start: Start, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its masker took max_tokens for a secret."""
    proxy, settings = start(database=True)
    shown = LiteLLM.model_info

    def masked(self: LiteLLM) -> list[dict[str, Any]]:
        found = shown(self)
        for route in found:
            route["litellm_params"]["max_tokens"] = "**"
        return found

    monkeypatch.setattr(LiteLLM, "model_info", masked)
    for _ in range(2):
        publish.route(limited(deployment), settings, TASK)
    assert ("POST", "/model/update") not in proxy.calls


def test_the_embedded_target_is_not_given_a_schema_in_place_of_its_grammar(
    start: Start, deployment: Deployment
) -> None:
    proxy, settings = start(database=True)
    publish.route(replace(limited(deployment), target="llamacpp"), settings, TASK)
    said = proxy.rows["tunesmith-tiny-model"]["litellm_params"]
    assert (said["temperature"], said["max_tokens"]) == (0, 90)
    assert "response_format" not in said


def test_the_route_asks_ollama_what_was_measured(
    start: Start, deployment: Deployment, ollama: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, settings = start(database=True)
    publish.route(limited(deployment), settings, TASK)
    asked: list[dict[str, Any]] = []
    real = ollama._chat
    monkeypatch.setattr(ollama, "_chat", lambda body: (asked.append(body), real(body))[1])
    body = {"model": "tiny-model", "messages": [{"role": "user", "content": "A letter"}]}
    headers = {"Authorization": "Bearer sk-master"}
    assert httpx.post(f"{proxy.url}/v1/chat/completions", json=body, headers=headers).status_code == 200
    measured = routes.through_proxy(limited(deployment), INVOICE, settings, "database").parameters
    assert {key: asked[0][key] for key in ("format", "options")} == measured
