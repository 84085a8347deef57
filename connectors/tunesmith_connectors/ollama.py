"""Ollama: what is needed to put an exported model up, prove it and make it live. Never pulls anything.

Errors inside a 200 stream are raised, and a stream that ends without "success" is an error too.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import ollama

from tunesmith_connectors.addresses import without_userinfo

Schema = dict[str, Any]

_CHUNK = 1024 * 1024
_LIKELY: dict[str, Any] = {"logprobs": True, "top_logprobs": 8}


class OllamaError(Exception):
    """`status`: HTTP status, 0 when there was no answer. `retryable`: the same call may go through later."""

    def __init__(self, message: str, *, status: int = 0, retryable: bool = False):
        super().__init__(without_userinfo(message))
        self.status = status
        self.retryable = retryable


@dataclass(frozen=True)
class Answer:
    """`steps`: each token with the log-probabilities of the likely ones there; none from an Ollama that tells none.

    `prompt_tokens` is None where Ollama broke off because it could not read what the model wrote.
    """

    prompt_tokens: int | None
    text: str
    steps: list[tuple[str, dict[str, float]]]
    ended: bool
    """By the model itself, not by the number of tokens that was asked for."""


class Ollama:
    """`url`: of the server, without /api. `timeout`: seconds between two pieces of an answer."""

    def __init__(self, url: str, *, timeout: float = 600.0):
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=httpx.Timeout(timeout, connect=5.0))
        self._client = ollama.Client(self.url, timeout=httpx.Timeout(timeout, connect=5.0))

    def close(self) -> None:
        self._http.close()
        self._client.close()  # type: ignore[no-untyped-call]

    def version(self) -> str:
        with self._errors("version"):
            response = self._http.get("/api/version", timeout=5.0)
            response.raise_for_status()
            return str(response.json()["version"])

    def tags(self) -> dict[str, str]:
        """Name with tag → digest of its manifest."""
        with self._errors("tags"):
            return {str(model.model): str(model.digest) for model in self._client.list().models}

    def show(self, model: str) -> dict[str, Any] | None:
        """Template, system, parameters, license and GGUF metadata as served; None when there is no such model."""
        with self._errors("show"):
            response = self._http.post("/api/show", json={"model": model})
            if response.status_code == 404:
                return None
            response.raise_for_status()
            shown: dict[str, Any] = response.json()
            return shown

    def upload(self, path: Path, digest: str) -> bool:
        """Send a file unless Ollama has it; returns whether it was sent. `digest`: sha256:<64 hex>."""
        with self._errors("blob upload"):
            if self.has(digest):
                return False
            with path.open("rb") as file:
                response = self._http.post(f"/api/blobs/{digest}", content=iter(lambda: file.read(_CHUNK), b""))
            if response.status_code not in (200, 201):
                raise OllamaError(_reason(response), status=response.status_code)
            return True

    def upload_bytes(self, content: bytes) -> str:
        """As `upload`, of something small; returns its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        with self._errors("blob upload"):
            self._http.post(f"/api/blobs/{digest}", content=content).raise_for_status()
        return digest

    def has(self, digest: str) -> bool:
        """Is this file there, used by a model or not?"""
        with self._errors("blob look-up"):
            return self._http.head(f"/api/blobs/{digest}").status_code == 200

    def create(
        self,
        model: str,
        *,
        files: Mapping[str, str],
        template: str | None = None,
        system: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        license: str | None = None,
        quantize: str | None = None,
        draft_files: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Make a model from uploaded files and return the statuses read. There is no `from`, so nothing is pulled.

        Without a `template`, Ollama renders the GGUF's own, unless it takes it for one that it knows better.
        """
        told = {
            "model": model,
            "files": files,
            "template": template,
            "system": system,
            "parameters": parameters,
            "license": license,
            "quantize": quantize,
            "draft_files": draft_files,
        }
        seen: list[str] = []
        with self._errors("create"):
            body = {key: value for key, value in told.items() if value is not None}
            with self._http.stream("POST", "/api/create", json=body) as response:
                if response.status_code >= 400:
                    response.read()
                response.raise_for_status()
                for line in response.iter_lines():
                    part = json.loads(line)
                    if "error" in part:
                        raise OllamaError(f"Ollama refused create: {part['error']}")
                    seen.append(str(part["status"]))
        if not seen or seen[-1] != "success":
            last = seen[-1] if seen else "nothing"
            raise OllamaError(f"Ollama stopped creating {model} after {last!r}.", retryable=True)
        return seen

    def copy(self, source: str, destination: str) -> None:
        with self._errors("copy"):
            self._client.copy(source, destination)

    def delete(self, model: str) -> bool:
        """False when there was no such model."""
        try:
            with self._errors("delete"):
                self._client.delete(model)
        except OllamaError as error:
            if error.status == 404:
                return False
            raise
        return True

    def chat(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        tokens: int,
        schema: Schema | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> Answer:
        """The greedy answer to a conversation, as callers ask, held to a JSON Schema where one is named. With tools,
        Ollama refuses to tell likelihoods."""
        likely = {} if tools else _LIKELY
        with self._errors("chat"):
            said = self._client.chat(
                model=model, messages=messages, tools=tools or None, format=schema, options=_greedy(tokens), **likely
            )
            return _answer(said, (said.message.thinking or "") + (said.message.content or ""))

    def raw(self, model: str, prompt: str, *, tokens: int, schema: Schema | None = None) -> Answer:
        """The greedy answer to a prompt that goes to the model as it is."""
        with self._errors("generate"):
            said = self._client.generate(
                model=model, prompt=prompt, raw=True, format=schema, options=_greedy(tokens), **_LIKELY
            )
            return _answer(said, str(said.response or ""))

    def rendered(
        self, model: str, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> str | None:
        """The prompt of a conversation as Ollama renders it; None from an Ollama that does not tell."""
        body = {"model": model, "messages": messages, "tools": tools, "stream": False, "options": _greedy(1)}
        with self._errors("chat"):
            response = self._http.post("/api/chat", json={**body, "_debug_render_only": True})
            response.raise_for_status()
            told = response.json().get("_debug_info") or {}
            return told.get("rendered_template")

    def preload(self, model: str) -> None:
        with self._errors("preload"):
            self._client.chat(model=model, messages=[])

    def unload(self, model: str) -> None:
        with self._errors("unload"):
            self._client.generate(model=model, keep_alive=0)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except ollama.ResponseError as error:
            status = max(error.status_code, 0)
            text = f"Ollama refused {what}: {error.error}"
            raise OllamaError(text, status=status, retryable=status >= 500 or status == 429) from error
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            raise OllamaError(
                f"Ollama refused {what}: {_reason(error.response)}",
                status=status,
                retryable=status >= 500 or status == 429,
            ) from error
        except (httpx.HTTPError, ConnectionError) as error:
            raise OllamaError(f"Ollama at {self.url} does not answer: {error}", retryable=True) from error
        except (ValueError, KeyError, TypeError) as error:
            raise OllamaError(f"Ollama answered {what} with nonsense: {error}", retryable=True) from error


def _greedy(tokens: int) -> dict[str, Any]:
    return {"temperature": 0, "seed": 0, "num_predict": tokens}


def _answer(said: ollama.ChatResponse | ollama.GenerateResponse, text: str) -> Answer:
    count = int(said.prompt_eval_count or 0) if said.done else None
    return Answer(count, text, _steps(said.logprobs), said.done_reason == "stop")


def _steps(logprobs: Sequence[Any] | None) -> list[tuple[str, dict[str, float]]]:
    """Tokens of one text (halves of a character) are one: the likelier counts."""
    steps = []
    for step in logprobs or []:
        likely = {str(step.token): float(step.logprob)}
        for other in step.top_logprobs or []:
            likely[str(other.token)] = max(float(other.logprob), likely.get(str(other.token), float("-inf")))
        steps.append((str(step.token), likely))
    return steps


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
