"""Ollama: what is needed to put an exported model up, prove it and make it live. Never pulls anything.

Errors inside a 200 stream are raised, and a stream that ends without "success" is an error too.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import ollama

_CHUNK = 1024 * 1024


class OllamaError(Exception):
    """`status`: HTTP status, 0 when there was no answer. `retryable`: the same call may go through later."""

    def __init__(self, message: str, *, status: int = 0, retryable: bool = False):
        super().__init__(message)
        self.status = status
        self.retryable = retryable


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
            if self._http.head(f"/api/blobs/{digest}").status_code == 200:
                return False
            with path.open("rb") as file:
                response = self._http.post(f"/api/blobs/{digest}", content=iter(lambda: file.read(_CHUNK), b""))
            if response.status_code not in (200, 201):
                raise OllamaError(_reason(response), status=response.status_code)
            return True

    def create(
        self,
        model: str,
        *,
        files: Mapping[str, str],
        template: str,
        system: str | None,
        parameters: Mapping[str, Any],
        license: str,
        quantize: str | None = None,
    ) -> list[str]:
        """Make a model from uploaded files and return the statuses read. There is no `from`, so nothing is pulled."""
        seen: list[str] = []
        with self._errors("create"):
            for part in self._client.create(
                model=model,
                files=dict(files),
                template=template,
                system=system,
                parameters=parameters,
                license=license,
                quantize=quantize,
                stream=True,
            ):
                seen.append(str(part.status))
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
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> tuple[int, str]:
        """(prompt tokens, greedy answer)."""
        with self._errors("chat"):
            answer = self._client.chat(model=model, messages=messages, tools=tools, options=_greedy(tokens))
            return int(answer.prompt_eval_count or 0), str(answer.message.content or "")

    def raw(self, model: str, prompt: str, *, tokens: int) -> tuple[int, str]:
        """(prompt tokens, greedy answer) to a prompt that goes to the model as it is."""
        with self._errors("generate"):
            answer = self._client.generate(model=model, prompt=prompt, raw=True, options=_greedy(tokens))
            return int(answer.prompt_eval_count or 0), str(answer.response or "")

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


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
