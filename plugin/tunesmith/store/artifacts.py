"""Artefact folders: written whole or not at all, never changed afterwards, never outside the data folder."""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tunesmith.errors import DiskFull, NotFound
from tunesmith.settings import Settings
from tunesmith.store.files import private_folder, take

NOUNS = ("jobs", "files", "datasets", "cache")
_ID = re.compile(r"[a-z]+-[A-Za-z0-9][A-Za-z0-9_.-]{0,80}")


def new_id(prefix: str) -> str:
    """`prefix-` and 12 random hex digits. Ids are made by the server only."""
    return f"{prefix}-{secrets.token_hex(6)}"


_NOUNS = {"run": "a run", "ftjob": "a fine-tuning job", "job": "a stage of a run", "file": "a file", "key": "a key"}


def hint_for_id(given: str, wanted: str, otherwise: str) -> str:
    """What to do about an id that is not there: says so when it is the id of another noun than `wanted`."""
    noun = given.partition("-")[0]
    if noun == wanted or noun not in _NOUNS:
        return otherwise
    return f"That is the id of {_NOUNS[noun]}; {_NOUNS[wanted]} is wanted, whose id starts with {wanted}-."


class Artifacts:
    """Folders below `TUNESMITH_HOME`."""

    def __init__(self, settings: Settings):
        self.home = settings.home
        for folder in NOUNS:  # of an earlier version, or of somebody with another umask
            if (self.home / folder).is_dir():
                private_folder(self.home / folder)
        self.min_free_bytes = settings.min_free_disk_mb * 2**20

    def job(self, job_id: str) -> Path:
        return self._folder("jobs", job_id)

    def found(self, path: str) -> Path:
        """A path in a job's folder, as it was written down: the data folder may have moved since."""
        parts = Path(path).parts
        jobs = [at for at, part in enumerate(parts[:-1]) if part == "jobs" and parts[at + 1].startswith("job-")]
        return self.home.joinpath(*parts[jobs[-1] :]) if jobs else Path(path)

    def file(self, file_id: str) -> Path:
        return self._resolve("files", file_id)

    def dataset(self, version: str) -> Path:
        return self._resolve("datasets", f"ds-{version}")

    def cache(self, *parts: str) -> Path:
        private_folder(self.home / "cache")
        path = self.home.joinpath("cache", *parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for work that is not finished; it is gone afterwards, or swept once its process is dead."""
        root = self._scratch_root()
        with ExitStack() as stack:
            with _locked(root):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=root)))
                stack.enter_context(_locked(folder))
            yield folder

    def sweep_scratch(self) -> int:
        """Remove what killed processes left unfinished; returns how many folders."""
        root = self._scratch_root()
        with _locked(root):
            left = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and not _in_use(path)]
            for path in left:
                shutil.rmtree(path, ignore_errors=True)
        return len(left)

    def _scratch_root(self) -> Path:
        root = self.cache("scratch")
        root.mkdir(exist_ok=True)
        return root

    def _folder(self, noun: str, artifact_id: str) -> Path:
        path = self._resolve(noun, artifact_id)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _resolve(self, noun: str, artifact_id: str) -> Path:
        if not _ID.fullmatch(artifact_id):
            raise NotFound(f"{artifact_id!r} is not the id of anything here.", hint="Use an id that the service gave.")
        root = private_folder((self.home / noun).resolve())
        path = (root / artifact_id).resolve()
        if path.parent != root:
            raise NotFound(f"{artifact_id!r} is not the id of anything here.", hint="Use an id that the service gave.")
        return path

    def require_space(self, needed_bytes: int = 0) -> None:
        """Raise DiskFull when less than the reserve would be left."""
        free = shutil.disk_usage(self.home).free
        if free - needed_bytes < self.min_free_bytes:
            raise DiskFull(
                f"{free / 2**30:.1f} GiB are free at {self.home}; "
                f"{(needed_bytes + self.min_free_bytes) / 2**30:.1f} GiB are needed.",
                hint="Free some disk space, then resume the job; nothing is lost.",
            )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Locked for as long as the block lasts and the process lives. Some network disks cannot: then nothing is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _in_use(folder: Path) -> bool:
    handle = os.open(folder, os.O_RDONLY)
    try:
        return not take(handle)
    except OSError:  # nobody can tell
        return True
    finally:
        os.close(handle)


def sha256_of(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
