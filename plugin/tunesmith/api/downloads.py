"""Files that are written for one caller: few at a time, never beyond the disk, and gone afterwards."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunesmith.errors import Unavailable
from tunesmith.store.workspace import Workspace

AT_ONCE = 4
_slots = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def room(workspace: Workspace, needed_bytes: int = 0) -> Iterator[Path]:
    """A folder for a download of so many bytes, until it is sent. Raises DiskFull, or Unavailable when enough are
    under way."""
    if not _slots.acquire(blocking=False):
        raise Unavailable(
            f"{AT_ONCE} downloads are being made already.", code="busy", hint="Try again when one of them has ended."
        )
    try:
        workspace.artifacts.require_space(needed_bytes)
        with workspace.artifacts.scratch() as folder:
            yield folder
    finally:
        _slots.release()
