"""A LiteLLM proxy: its model routes and one chat through it. Retries what may pass, with backoff."""

import random
import time
from collections.abc import Mapping
from typing import Any

import httpx

from tunesmith_connectors.addresses import without_userinfo

_RETRIED = {429, 500, 502, 503, 504}


class LiteLLMError(Exception):
    """`status`: HTTP status, 0 when there was no answer. `hint`: what to do."""

    def __init__(self, message: str, *, status: int = 0, hint: str | None = None, retryable: bool = False):
        super().__init__(without_userinfo(message))
        self.status = status
        self.hint = hint
        self.retryable = retryable


class LiteLLM:
    """`url`: of the proxy, without /v1. `key`: its master key, or one that may manage models."""

    def __init__(self, url: str, key: str | None, *, attempts: int = 4, pause: float = 0.5, timeout: float = 120.0):
        self.url = url.rstrip("/").removesuffix("/v1")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=httpx.Timeout(timeout, connect=5.0))
        self._attempts = attempts
        self._pause = pause

    def close(self) -> None:
        self._http.close()

    def has_database(self) -> bool:
        """Whether routes can be added while it runs: only a database-backed proxy keeps them."""
        answer = self._call("GET", "/health/readiness")
        return str(answer.get("db", "")).lower() == "connected"

    def models(self) -> list[str]:
        """Names that callers may ask for; also the cheapest call that tells whether the key is right."""
        return [str(model["id"]) for model in self._call("GET", "/v1/models").get("data", [])]

    def model_info(self) -> list[dict[str, Any]]:
        """Every route: model_name, litellm_params (secrets masked), model_info with id and db_model."""
        data: list[dict[str, Any]] = self._call("GET", "/v1/model/info").get("data", [])
        return data

    def add(self, route: Mapping[str, Any]) -> None:
        """`route`: model_name, litellm_params, model_info with an id of our own. A duplicate id is a 500."""
        self._call("POST", "/model/new", route, retried=_RETRIED - {500})

    def update(self, route: Mapping[str, Any]) -> None:
        self._call("POST", "/model/update", route)

    def delete(self, route_id: str) -> None:
        self._call("POST", "/model/delete", {"id": route_id})

    def chat(self, model: str, text: str = "Hello", *, max_tokens: int = 1) -> dict[str, Any]:
        """One real chat through the proxy, not retried on what the model's server says."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": max_tokens}
        return self._call("POST", "/v1/chat/completions", body, retried={429, 503})

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, retried: set[int] = _RETRIED
    ) -> dict[str, Any]:
        for attempt in range(1, self._attempts + 1):
            last = attempt == self._attempts
            try:
                response = self._http.request(method, path, json=body)
            except httpx.TransportError as error:
                if last:
                    raise LiteLLMError(
                        f"LiteLLM at {self.url} does not answer: {error}", hint="Is the proxy running?", retryable=True
                    ) from error
            else:
                if response.status_code not in retried or last or _no_database(response):
                    return _answer(response)
            time.sleep(self._pause * 2 ** (attempt - 1) * (0.5 + random.random()))  # noqa: S311  spreads retries
        raise AssertionError("the last attempt returns or raises")


def _no_database(response: httpx.Response) -> bool:
    return response.status_code == 500 and "No DB Connected" in response.text


def _answer(response: httpx.Response) -> dict[str, Any]:
    status = response.status_code
    if status < 400:
        try:
            answer: dict[str, Any] = response.json()
        except ValueError as error:
            raise LiteLLMError(
                f"LiteLLM answered {response.request.url.path} with something that is not JSON"
            ) from error
        return answer
    if status == 400 and "no_db_connection" in response.text:
        status = 401  # without a database a wrong key is answered like this
    hints = {
        401: "Set TUNESMITH_LITELLM_KEY to the proxy's master key, or to a key that may manage models.",
        403: "The key may not do this: use the proxy's master key.",
    }
    hint = "The proxy has no database: use a wildcard route in its configuration." if _no_database(response) else None
    raise LiteLLMError(
        f"LiteLLM answered HTTP {response.status_code}: {_reason(response)}",
        status=status,
        hint=hints.get(status, hint),
        retryable=status in _RETRIED and not hint,
    )


def _reason(response: httpx.Response) -> str:
    try:
        error = response.json().get("error") or response.json().get("detail")
        message = error.get("message") or error.get("error") if isinstance(error, dict) else error
        return str(message)[:300]
    except (ValueError, AttributeError):
        return response.text[:300]
