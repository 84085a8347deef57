"""A thread of the service that does something again and again, in exactly one process per data folder."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from tunesmith.jobs.locks import try_lock
from tunesmith.store.files import private_file

log = logging.getLogger(__name__)


class Loop:
    """Calls `step()` every `every_s` seconds while it holds the lock file; a step that fails is logged and tried again.

    A second process waits for the lock, and takes over when the first one is gone.
    """

    def __init__(self, name: str, step: Callable[[], None], lock: Path, every_s: float = 0.5):
        self._step = step
        self._lock = lock
        self._every_s = every_s
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, patience: float = 15.0) -> None:
        self._ending.set()
        self._thread.join(patience)

    def _run(self) -> None:
        with private_file(self._lock).open("a", encoding="utf-8") as lock:
            while not self._ending.is_set() and not try_lock(lock):
                self._ending.wait(self._every_s)
            while not self._ending.is_set():
                try:
                    self._step()
                except Exception:
                    log.exception("%s failed; it is tried again.", self._thread.name)
                    self._ending.wait(5.0)
                self._ending.wait(self._every_s)
