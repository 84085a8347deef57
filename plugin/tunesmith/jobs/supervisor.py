"""Keeps one worker process alive beside the API: it is started, restarted when it dies, and ended with the service."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from tunesmith.jobs.process import Child, spawn

log = logging.getLogger(__name__)

STOP_GRACE_S = 15.0


class Supervisor:
    """Runs `argv` until `stop()`. A worker that dies at once is started again ever more slowly (up to 30 s)."""

    def __init__(self, argv: Sequence[str], log_path: Path):
        self._argv = argv
        self._log_path = log_path
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="worker-supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ending.set()
        self._thread.join()

    def _keep(self) -> None:
        delay = 0.5
        while not self._ending.is_set():
            child = spawn(self._argv, log=self._log_path)
            lived = self._watch(child)
            child.end(grace=STOP_GRACE_S if self._ending.is_set() else 0)
            delay = 0.5 if lived > 60 else min(delay * 2, 30.0)
            if not self._ending.wait(0 if self._ending.is_set() else delay):
                log.warning("The worker ended (status %s) and is started again.", child.poll())

    def _watch(self, child: Child) -> float:
        """Seconds until the child ended or the service does."""
        seconds = 0.0
        while child.poll() is None and not self._ending.wait(0.2):
            seconds += 0.2
        return seconds
