"""The API process's servers: one llama.cpp child per model in use, the least recently used ended first."""

import threading
from collections import OrderedDict

from tunesmith.errors import Unavailable
from tunesmith.serving.targets.base import TARGETS, Deployment, Endpoint
from tunesmith.serving.targets.llamacpp import start
from tunesmith.serving.targets.llamacpp_process import LlamaServer
from tunesmith.settings import Settings

_PATIENCE = 120.0  # seconds that answers under way may take before an evicted server is ended


class ServerPool:
    """Thread-safe. `limit`: models held in memory at a time."""

    def __init__(self, settings: Settings, limit: int = 2):
        self.settings = settings
        self.limit = max(1, limit)
        self._servers: OrderedDict[str, LlamaServer] = OrderedDict()
        self._starting: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._retiring: list[threading.Thread] = []

    def endpoint(self, deployment: Deployment) -> Endpoint:
        """Where the deployment answers; starts its server when it has none or a dead one. Raises Unavailable."""
        if deployment.target != "llamacpp":
            with TARGETS.get(deployment.target)(self.settings).serve(deployment) as endpoint:
                return endpoint
        key = deployment.gguf
        with self._lock:
            alone = self._starting.setdefault(key, threading.Lock())
        with alone:
            found = self._running(key)
            return found.endpoint if found is not None else self._start(key, deployment).endpoint

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
        if self._closing.is_set():
            raise Unavailable("The service is shutting down.")
        server = start(deployment)
        with self._lock:
            closing = self._closing.is_set()
            if not closing:
                self._servers[key] = server
            evicted = [self._servers.popitem(last=False)[1] for _ in range(len(self._servers) - self.limit)]
        if closing:
            server.close()
            raise Unavailable("The service is shutting down.")
        for old in evicted:
            self._retire(old)
        return server

    def _retire(self, server: LlamaServer) -> None:
        """End a server after the answers that it is still giving."""

        def wait() -> None:
            for _ in range(int(_PATIENCE)):
                if self._closing.wait(1.0) or not server.busy():
                    break
            server.close()

        thread = threading.Thread(target=wait, name="retire-server", daemon=True)
        self._retiring = [t for t in self._retiring if t.is_alive()] + [thread]
        thread.start()

    def close(self) -> None:
        """End all servers; returns when they are gone."""
        self._closing.set()
        with self._lock:
            servers = list(self._servers.values())
            self._servers.clear()
        for server in servers:
            server.close()
        for thread in self._retiring:
            thread.join(20)
