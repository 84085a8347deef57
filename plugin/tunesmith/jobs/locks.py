"""Lock files: held by a process, and free again when it is gone, however it went."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

from tunesmith.store.files import private_file, take


def try_lock(lock: IO[str]) -> bool:
    """Whether this process now holds the lock file. It is free again when the process is gone."""
    if not take(lock):
        return False
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return True


class LaneLocks:
    """One lock file for each lane, so that no two workers of a machine share a lane, whatever else each works on.

    `per_machine`: the folder is shared with other machines, whose workers have locks of their own.
    """

    def __init__(self, home: Path, lanes: Sequence[str], *, per_machine: bool):
        suffix = f"@{socket.gethostname()}" if per_machine else ""
        self._files = {lane: home / f"worker-{quote(lane + suffix, safe='@')}.lock" for lane in lanes}
        self._open: dict[str, IO[str]] = {}
        self.held: list[str] = []

    def take(self) -> list[str]:
        """Lock the lanes that have become free. Returns these."""
        new = []
        for lane, path in self._files.items():
            if lane in self.held:
                continue
            if lane not in self._open:
                self._open[lane] = private_file(path).open("a", encoding="utf-8")
            if try_lock(self._open[lane]):
                new.append(lane)
        self.held += new
        return new

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        for lock in self._open.values():
            lock.close()
        self._open, self.held = {}, []
