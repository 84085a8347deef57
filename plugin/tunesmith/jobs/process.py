"""Child processes that cannot outlive their parent, in groups that can be ended whole.

A child gets the read end of a pipe as its standard input (the lifeline). When the parent dies, however it dies, the
pipe reads end-of-file and the child ends its own process group. This works on Linux and macOS and from any thread,
which PR_SET_PDEATHSIG does not.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tunesmith.store.files import private_file


@dataclass(frozen=True)
class ProcessId:
    """A process that can be told from a later one with the same number. `created`: seconds since the epoch."""

    pid: int
    created: float

    def group_members(self) -> list[psutil.Process]:
        """Live processes of the group that this process leads, zombies left out."""
        members = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getpgid(process.pid) == self.pid and process.status() != psutil.STATUS_ZOMBIE:
                    members.append(process)
        return members

    def is_mine(self) -> bool:
        """False once the number was given to a process that started later."""
        try:
            return abs(psutil.Process(self.pid).create_time() - self.created) < 1.0
        except psutil.NoSuchProcess:
            return bool(self.group_members())  # the leader is gone, its children may not be

    def kill_group(self, patience: float = 10.0) -> None:
        """SIGKILL the group and return when it is gone. Harmless when it already is."""
        deadline = time.monotonic() + patience
        while self.is_mine() and self.group_members():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise TimeoutError(f"process group {self.pid} does not end")
            time.sleep(0.02)


class Child:
    """A started child process, leader of its own session and group."""

    def __init__(self, popen: "subprocess.Popen[bytes]"):
        self._popen = popen
        try:
            created = psutil.Process(popen.pid).create_time()
        except psutil.NoSuchProcess:
            created = time.time()
        self.id = ProcessId(popen.pid, created)
        self.stdout = popen.stdout

    @property
    def pid(self) -> int:
        return self._popen.pid

    def poll(self) -> int | None:
        return self._popen.poll()

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; negative for a signal. Raises subprocess.TimeoutExpired."""
        return self._popen.wait(timeout)

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM); it may finish what it must keep."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(signal.SIGTERM)

    def end(self, grace: float = 0.0) -> int:
        """Stop it: SIGTERM, `grace` seconds, then the whole group is killed. Returns when all of it is gone."""
        if grace > 0 and self.poll() is None:
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(grace)
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        status = self.wait()
        self.id.kill_group()
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None:
                stream.close()
        return status


def spawn(
    argv: Sequence[str],
    *,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    capture: bool = False,
) -> Child:
    """Start `argv` with a lifeline. Standard error (and output, unless `capture`) is appended to `log`."""
    sink = private_file(log).open("ab") if log is not None else subprocess.DEVNULL
    try:
        popen = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if capture else sink,
            stderr=sink,
            env={**os.environ, **env} if env else None,
            cwd=cwd,
            start_new_session=True,
        )
    finally:
        if not isinstance(sink, int):
            sink.close()
    return Child(popen)


def exit_when_parent_dies() -> None:
    """Call first thing in a child that `spawn` started: ends the own group at the end of the lifeline."""
    lifeline = os.dup(0)
    devnull = os.open(os.devnull, os.O_RDONLY)
    os.dup2(devnull, 0)  # so that grandchildren do not inherit the lifeline
    os.close(devnull)
    os.set_inheritable(lifeline, False)

    def watch() -> None:
        while True:
            with contextlib.suppress(InterruptedError):
                if not os.read(lifeline, 1):
                    break
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
