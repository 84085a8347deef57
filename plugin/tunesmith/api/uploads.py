"""What the routes that take files share: a form no larger than it must be, and a turn to be read."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from fastapi import UploadFile

P = ParamSpec("P")
T = TypeVar("T")

FORM: Any = {"max_files": 1, "max_fields": 20, "max_part_size": 2**16}  # what is no file is held in memory
AT_ONCE = 2  # uploads being read: each in a process of its own
_turns: RunVar[CapacityLimiter] = RunVar("turns of uploads")


def chunks_of(upload: UploadFile, size: int = 2**20) -> Iterator[bytes]:
    while chunk := upload.file.read(size):
        yield chunk


async def in_turn(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run it in a thread once fewer than `AT_ONCE` others do; who waits holds no thread."""
    try:
        limiter = _turns.get()
    except LookupError:
        limiter = CapacityLimiter(AT_ONCE)
        _turns.set(limiter)
    return await to_thread.run_sync(partial(function, *args, **kwargs), limiter=limiter)
