"""Checkpoints that can be trusted: a manifest is written last, and only a folder that agrees is resumed from."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from tunesmith.store.files import flush, write_json

MANIFEST = "complete.json"
KEEP = 2


def step_of(folder: Path) -> int:
    return int(folder.name.rsplit("-", 1)[1])


def all_checkpoints(root: Path) -> list[Path]:
    """Every checkpoint folder, whole or not, oldest first."""
    found = [p for p in root.glob("checkpoint-*") if p.is_dir() and p.name.rsplit("-", 1)[1].isdigit()]
    return sorted(found, key=step_of)


def seal(folder: Path, extra: dict[str, Any] | None = None) -> None:
    """Write the manifest: sizes and hashes of all files, flushed to disk first, so that a crash cannot fake it."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        data = path.read_bytes()
        flush(path)
        files[str(path.relative_to(folder))] = [len(data), hashlib.sha256(data).hexdigest()]
    write_json(folder / MANIFEST, {"files": files, **(extra or {})}, indent=None)


def manifest(folder: Path) -> dict[str, Any]:
    """What `seal` was given as `extra`."""
    data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    data.pop("files")
    return dict(data)


def is_whole(folder: Path) -> bool:
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, (size, digest) in files.items():
            data = (folder / name).read_bytes()
            if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
                return False
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(files)


def valid_checkpoints(root: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return [folder for folder in all_checkpoints(root) if is_whole(folder)]


def newest_valid(root: Path) -> Path | None:
    """The one to resume from. Truncated, half-written or altered ones are passed over."""
    return next((folder for folder in reversed(all_checkpoints(root)) if is_whole(folder)), None)


def rotate(root: Path, keep: int = KEEP) -> None:
    """Drop all but the newest `keep` whole checkpoints, and broken ones older than these."""
    whole = valid_checkpoints(root)
    for folder in all_checkpoints(root):
        if whole[-keep:] and step_of(folder) < step_of(whole[-keep:][0]):
            shutil.rmtree(folder, ignore_errors=True)
