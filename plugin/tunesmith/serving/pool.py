"""The API process's servers: one llama.cpp child per model in use, the least recently used ended first."""

import asyncio
import threading
from collections import OrderedDict, deque
from pathlib import Path

import anyio
import psutil

from tunesmith.errors import Unavailable
from tunesmith.serving.targets.base import TARGETS, Deployment, Endpoint
from tunesmith.serving.targets.llamacpp import start
from tunesmith.serving.targets.llamacpp_process import LlamaServer
from tunesmith.settings import Settings

_PATIENCE = 120.0  # seconds that answers under way may take before an evicted server is ended
_ROOM = 2**28  # bytes that a server takes beside its weights: prompts, buffers
_WAITING = 16  # threads that may wait for a server


class ServerPool:
    """Thread-safe. `limit`: models held in memory at a time, those that are starting or ending included.

    `threads`: for who waits for a server, so that all other work keeps its own threads. `retries`: what was under way
    when a server died is asked again one by one, so that a request that ends servers does so alone.
    """

    def __init__(self, settings: Settings, limit: int = 2):
        self.settings = settings
        self.limit = max(1, limit)
        self.threads = anyio.CapacityLimiter(_WAITING)
        self.retries = asyncio.Lock()
        self._servers: OrderedDict[str, LlamaServer] = OrderedDict()
        self._started: deque[Endpoint] = deque(maxlen=1000)
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._closing = threading.Event()

    def endpoint(self, deployment: Deployment) -> Endpoint:
        """Where the deployment answers; starts its server when it has none or a dead one. Raises Unavailable."""
        if deployment.target != "llamacpp":
            with TARGETS.get(deployment.target)(self.settings).serve(deployment) as endpoint:
                return endpoint
        key = deployment.gguf
        found = self._running(key)
        if found is None:
            with self._starting:  # one at a time: each must see the room that the others left
                found = self._running(key) or self._start(key, deployment)
        return found.endpoint

    def died(self, endpoint: Endpoint) -> bool:
        """Whether a server of ours that answered there is gone."""
        with self._lock:
            server = next((s for s in self._servers.values() if s.endpoint == endpoint), None)
        return server.gone() if server is not None else endpoint in self._started

    def _running(self, key: str) -> LlamaServer | None:
        with self._lock:
            server = self._servers.get(key)
            if server is None:
                return None
            if server.alive():
                self._servers.move_to_end(key)
                return server
            del self._servers[key]
        server.close()
        return None

    def _start(self, key: str, deployment: Deployment) -> LlamaServer:
        self._make_room(Path(deployment.gguf))
        self._refuse_when_closing()
        server = start(deployment)
        with self._lock:
            closing = self._closing.is_set()
            if not closing:
                self._servers[key] = server
                self._started.append(server.endpoint)
        if closing:
            server.close()
            self._refuse_when_closing()
        return server

    def _refuse_when_closing(self) -> None:
        if self._closing.is_set():
            raise Unavailable("The service is shutting down.")

    def _make_room(self, gguf: Path) -> None:
        """End servers until another one fits. Raises Unavailable when it does not fit even alone."""
        needed = (gguf.stat().st_size if gguf.is_file() else 0) + _ROOM
        while not self._closing.is_set():
            short = psutil.virtual_memory().available < needed
            with self._lock:
                full = len(self._servers) >= self.limit
                oldest = self._servers.popitem(last=False)[1] if self._servers and (full or short) else None
            if oldest is None:
                if short:
                    raise Unavailable(
                        f"There is no memory for the model: it takes about {needed / 2**30:.1f} GiB.",
                        code="memory_full",
                        hint="Close something else on that machine, or serve a smaller quantization.",
                    )
                return
            self._retire(oldest)

    def _retire(self, server: LlamaServer) -> None:
        """End a server after the answers that it is still giving."""
        for _ in range(int(_PATIENCE * 5)):
            if not server.busy() or self._closing.wait(0.2):
                break
        server.close()

    def close(self) -> None:
        """End all servers; returns when they are gone."""
        self._closing.set()
        with self._lock:
            servers = list(self._servers.values())
            self._servers.clear()
        for server in servers:
            server.close()
