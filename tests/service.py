"""A real service in a process of its own, which tests can kill and start again."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil

from tunesmith.api import keys
from tunesmith.settings import Settings
from tunesmith.store.workspace import Workspace

KEY = "test-admin-key"
ENDED = {"succeeded", "failed", "cancelled", "paused"}


class Service:
    """`tunesmith serve` on a free port of the loopback, over `home`."""

    def __init__(self, home: Path, arguments: Sequence[str] = (), **environment: str):
        self.home = home
        self.arguments = arguments
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "TUNESMITH_HOME": str(home),
            "TUNESMITH_ADMIN_KEY": KEY,
            "TUNESMITH_MIN_FREE_DISK_MB": "0",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=120)
        self.openai = openai.OpenAI(base_url=f"{self.url}/v1", api_key=KEY, max_retries=0)

    def start(self) -> "Service":
        self.home.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "tunesmith.cli", "serve", "--port", str(self.port), *self.arguments]
        with (self.home / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait(self.ready, 60)
        return self

    def ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(30)
            self.process = None

    def close(self) -> None:
        self.stop()
        self.http.close()
        self.openai.close()

    def new_key(self, *scopes: str) -> str:
        """A key with these scopes only."""
        workspace = Workspace.open(Settings(home=self.home))
        try:
            return keys.create_key(workspace, "test", scopes)
        finally:
            workspace.close()

    def worker(self) -> psutil.Process | None:
        """The worker that the service keeps beside it; None while it is being started again."""
        assert self.process is not None
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if "worker" in child.cmdline():
                    return child
        return None

    def stage(self, kind: str, run_id: str) -> dict[str, Any]:
        """A stage of a run as the API shows it."""
        stages = self.http.get(f"/v1/runs/{run_id}").json()["stages"]
        return next(stage for stage in stages if stage["stage"] == kind)

    def stage_process(self, job_id: str) -> psutil.Process | None:
        for process in psutil.process_iter(["cmdline"]):
            if job_id in (process.info["cmdline"] or []):
                return process
        return None

    def finished(self, run_id: str, seconds: float = 600) -> dict[str, Any]:
        """The run once it has ended; its log when it takes too long."""
        wait(lambda: self.http.get(f"/v1/runs/{run_id}").json()["status"] in ENDED, seconds)
        run: dict[str, Any] = self.http.get(f"/v1/runs/{run_id}").json()
        return run


def wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


def extraction_rows(count: int) -> bytes:
    """Short receipts and their totals, as chat messages."""
    shops = ("Mill Bakery", "Corner Books", "Harbour Tools", "Green Grocer")
    lines = []
    for n in range(count):
        total, shop = f"{3 + n % 89}.{n * 7 % 100:02d}", shops[n % len(shops)]
        messages = [
            {"role": "system", "content": "Answer with JSON."},
            {"role": "user", "content": f"{shop}\nitem {n}\nTOTAL {total}"},
            {"role": "assistant", "content": json.dumps({"shop": shop, "total": total})},
        ]
        lines.append(json.dumps({"messages": messages}))
    return "\n".join(lines).encode()
