"""A llama.cpp server as a child process: started, asked, ended."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tunesmith.errors import Unavailable
from tunesmith.jobs.process import spawn
from tunesmith.serving.targets.base import Endpoint
from tunesmith.serving.tool_template import Form

_START_SECONDS = 300.0  # a large model on a slow disk


class LlamaServer:
    """Raises Unavailable when the server does not come up. `parallel`: conversations at a time."""

    def __init__(self, gguf: Path, model: str, *, num_ctx: int, parallel: int = 4, tool_form: Form | None = None):
        handle, log = tempfile.mkstemp(prefix="tunesmith-llamacpp-", suffix=".log")
        os.close(handle)
        self._log = Path(log)
        key = secrets.token_urlsafe(24)
        argv = [sys.executable, "-m", "tunesmith.serving.targets.llamacpp_server", str(gguf), "--model", model]
        self._child = spawn(
            [*argv, "--context", str(num_ctx), "--parallel", str(parallel)],
            log=self._log,
            env={"TUNESMITH_SERVER_KEY": key},
            capture=True,
        )
        try:
            self.address = self._greeting()
        except BaseException:
            self.close()
            raise
        self.endpoint = Endpoint(f"{self.address}/v1", model, {"Authorization": f"Bearer {key}"}, tool_form)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _greeting(self) -> str:
        """The address from the child's first line."""
        stdout = self._child.stdout
        assert stdout is not None
        lines: list[bytes] = []
        reader = threading.Thread(target=lambda: lines.append(stdout.readline()), daemon=True)
        reader.start()
        reader.join(_START_SECONDS)
        try:
            said = json.loads(lines[0]) if lines and lines[0].strip() else {}
        except ValueError:
            said = {}
        if "address" not in said:
            reason = said.get("error") or f"The embedded server did not start: {self._last_words()}"
            raise Unavailable(reason, code="server_not_started", hint=said.get("hint"), retryable=False)
        return str(said["address"])

    def _last_words(self) -> str:
        with suppress(OSError, subprocess.TimeoutExpired):
            self._child.wait(2)
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])[-500:] or "it said nothing"

    @property
    def pid(self) -> int:
        return self._child.pid

    def alive(self) -> bool:
        return self._child.poll() is None

    def gone(self, seconds: float = 2.0) -> bool:
        """Whether it has ended; one that drops its connections takes a moment to."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)
        return not self.alive()

    def busy(self) -> bool:
        """Whether a conversation is being answered; False for a server that does not tell."""
        try:
            slots = httpx.get(f"{self.address}/slots", headers=self.endpoint.headers, timeout=5.0).json()
            return any(slot.get("is_processing") for slot in slots)
        except (httpx.HTTPError, ValueError, AttributeError):
            return False

    def post(self, path: str, body: dict[str, Any], timeout: float = 300.0) -> dict[str, Any]:
        """One call of the server's own API. Raises Unavailable."""
        try:
            response = httpx.post(f"{self.address}{path}", json=body, headers=self.endpoint.headers, timeout=timeout)
            response.raise_for_status()
            answer: dict[str, Any] = response.json()
            return answer
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"The embedded server failed at {path}: {error}", hint=self._last_words()) from error

    def close(self) -> None:
        self._child.end()
        with suppress(OSError):
            self._log.unlink()
