"""Work on what somebody sent, in a child process that may take only so much time and memory.

A small file can be a bomb, so all of them go this way. The child needs a third of a second to start.
"""

import importlib
import json
import logging
import resource
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from tunesmith import errors
from tunesmith.errors import BadInput, TooLarge, TunesmithError, as_disk_full
from tunesmith.jobs.process import Child, exit_when_parent_dies, spawn

log = logging.getLogger(__name__)

_LOOK = 0.05  # seconds between two looks at the child
_WAIT = 20  # times its own seconds: a child may wait for the disk, or for others on a busy machine
# One thread each: many reserve memory that nobody uses, and the limit counts it.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}


@dataclass(frozen=True)
class Limits:
    """`seconds` of the processor, and bytes of `memory`."""

    seconds: float
    memory: int


def run(function: str, arguments: dict[str, Any], *, folder: Path, limits: Limits) -> Any:
    """What `function` ("module:name" of our own) gives for these arguments: JSON in, JSON out, by way of `folder`.

    Raises the TunesmithError that it raised, TooLarge at a limit, and BadInput when the child crashed over the file.
    """
    request = {"function": function, "arguments": arguments, "limits": asdict(limits)}
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    said = folder / "child.log"
    child = spawn([sys.executable, "-m", __name__, str(folder)], log=said, env=_ENVIRONMENT)
    try:
        status = _watch(child, limits)
    finally:
        child.end()
    if status < 0:
        raise BadInput("The file made its reader crash.", code="unreadable_file", hint=_HINT, param="file")
    outcome = folder / "outcome.json"
    if status != 0 or not outcome.exists():
        raise RuntimeError(f"{function} failed: {said.read_text(encoding='utf-8', errors='replace')[-2000:]}")
    found = json.loads(outcome.read_text(encoding="utf-8"))
    if "error" in found:
        raise _as_error(found["error"])
    return found["result"]


_HINT = "Is it what it seems to be? Split it, or write it anew as JSONL."


def _watch(child: Child, limits: Limits) -> int:
    """The exit status. Raises TooLarge as soon as a limit is passed; the caller ends the child."""
    deadline = time.monotonic() + _WAIT * limits.seconds
    while True:
        with suppress(subprocess.TimeoutExpired):
            return child.wait(_LOOK)
        with suppress(psutil.Error):
            process = psutil.Process(child.pid)
            used = process.cpu_times()
            if used.user + used.system > limits.seconds or time.monotonic() > deadline:
                raise TooLarge(
                    f"Reading the file took more than {limits.seconds:.0f} s.",
                    code="takes_too_long",
                    hint=_HINT,
                    param="file",
                )
            if process.memory_info().rss > limits.memory:
                raise _too_much_memory(limits.memory)


def _too_much_memory(memory: int) -> TooLarge:
    return TooLarge(
        f"Reading the file took more than {memory / 2**20:.0f} MB of memory.",
        code="takes_too_much_memory",
        hint=f"{_HINT} Or raise TUNESMITH_MAX_READ_MEMORY_MB.",
        param="file",
    )


def _as_error(data: dict[str, Any]) -> TunesmithError:
    kind = getattr(errors, data.pop("kind"))
    error: TunesmithError = kind(data["message"], code=data["code"], hint=data["hint"])
    error.param = data["param"]
    return error


# -- in the child ---------------------------------------------------------------------------------------------------


def main(folder: Path) -> None:
    exit_when_parent_dies()
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    limits = Limits(**request["limits"])
    _set(resource.RLIMIT_DATA, limits.memory)  # macOS does not heed it; there, the parent's look is all
    _set(resource.RLIMIT_CPU, int(limits.seconds) + 5)
    _set(resource.RLIMIT_CORE, 0)
    module, name = request["function"].split(":")
    try:
        result = {"result": getattr(importlib.import_module(module), name)(**request["arguments"])}
    except MemoryError:
        result = {"error": _told(_too_much_memory(limits.memory))}
    except Exception as error:
        told = error if isinstance(error, TunesmithError) else as_disk_full(error)
        if told is None:
            raise
        result = {"error": _told(told)}
    (folder / "outcome.json").write_text(json.dumps(result), encoding="utf-8")


def _set(what: int, most: int) -> None:
    with suppress(ValueError, OSError):
        resource.setrlimit(what, (most, most))


def _told(error: TunesmithError) -> dict[str, Any]:
    kinds = [kind.__name__ for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind]
    return {"kind": kinds[0], **error.as_dict()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
