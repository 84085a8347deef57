"""One atomic write: a reader, or the next start after a power cut, sees the whole file or the one before it.

What is written is readable by its owner only, whatever the folder around it allows. Beside it, the one lock of a file.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write `path`'s new content to. It takes `path`'s place at the end, unless an exception ends it."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".partial")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
        put_in_place(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with replacing(path) as out:
        out.write(text.encode("utf-8"))


def write_json(path: Path, data: Any, *, indent: int | None = 2) -> None:
    write_text(path, json.dumps(data, ensure_ascii=False, indent=indent, default=str))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def put_in_place(partial: Path, path: Path) -> None:
    """Flush what somebody wrote to `partial`, a file or a folder, and let it take the place of `path`."""
    if partial.is_dir():
        for inside in sorted(partial.rglob("*"), reverse=True):
            if not inside.is_symlink():
                flush(inside)
    flush(partial)
    partial.replace(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Return when the disk has this file's content, or this folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner can look into, or make an existing one so."""
    path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    _tighten(path, PRIVATE_FOLDER)
    return path


def private_file(path: Path) -> Path:
    """Make a file that only its owner can read, or make an existing one so. Its content stays."""
    path.touch(mode=PRIVATE_FILE)
    _tighten(path, PRIVATE_FILE)
    return path


def _tighten(path: Path, mode: int) -> None:
    """Take from the group and from others what they may. A folder of another owner stays as that owner made it."""
    found = path.stat().st_mode & 0o777
    if found & ~mode:
        with suppress(PermissionError):
            path.chmod(found & mode)


def take(lock: IO[Any] | int) -> bool:
    """Whether this process now holds an open file or folder alone. It is free again when that is closed, or the process
    gone. Raises OSError where the disk knows no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
