"""Child processes of this room: run one to its end, and turn how it ended into an error that a person can act on."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tunesmith.errors import BadInput, DiskFull, TunesmithError, Unavailable
from tunesmith.jobs.process import Child, spawn

# No child of ours asks a hub for anything unless it is told to; progress bars only fill logs.
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONUTF8": "1"}


class Work:
    """A child that is started now and waited for later. Leaving the `with` block ends it."""

    def __init__(self, what: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None):
        handle, name = tempfile.mkstemp(prefix="tunesmith-", suffix=".log")
        os.close(handle)
        self.what = what
        self.log = Path(name)
        self.child: Child = spawn(argv, log=self.log, env={**QUIET, **(env or {})})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.child.end()
        with suppress(OSError):
            self.log.unlink()

    def wait(self, timeout: float = 3600.0) -> None:
        """Raises DiskFull, BadInput (a model that cannot be handled) or TunesmithError with the end of the log."""
        try:
            status = self.child.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{self.what} did not end within {timeout:.0f} s.") from error
        if status != 0:
            raise self._failure(status)

    def _failure(self, status: int) -> TunesmithError:
        text = self.log.read_text(encoding="utf-8", errors="replace")
        tail = " | ".join(line.strip() for line in text.strip().splitlines()[-4:])[-600:]
        if "No space left on device" in text:
            return DiskFull(f"{self.what}: the disk is full.", hint="Free some space and run it again.")
        if "is not supported" in text or "NotImplementedError" in text:
            return BadInput(
                f"{self.what}: llama.cpp's converter does not know this model: {tail}",
                code="unsupported_architecture",
                hint="Choose another base model, or set TUNESMITH_LLAMA_CPP to a newer llama.cpp checkout.",
            )
        return TunesmithError(f"{self.what} failed (exit status {status}): {tail}", code="export_failed")


def run_module(what: str, module: str, *arguments: str, env: Mapping[str, str] | None = None) -> None:
    """Run `python -m module arguments` to its end. Raises as `Work.wait` does."""
    with Work(what, [sys.executable, "-m", module, *arguments], env=env) as work:
        work.wait()
