"""A serving target that is a folder: a file for each tag, which says what its model is. Found by an entry point, by
child processes, too.

`TUNESMITH_TEST_TARGET` names the folder. What lies there rules it: `foreign` (names that are somebody else's), `away`
(it does not answer), `pause` (a named pipe: whoever promotes waits there until somebody writes, the tag in place).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from tunesmith.errors import Conflict, Unavailable
from tunesmith.serving.parity import ParityReport
from tunesmith.serving.targets.base import Candidate, Check, Deployment, Endpoint
from tunesmith.settings import Settings


class FolderTarget:
    name: ClassVar[str] = "folder"

    def __init__(self, settings: Settings):
        self.folder = Path(os.environ["TUNESMITH_TEST_TARGET"])

    def tags(self) -> dict[str, str]:
        """Tag → what it is, as a test looks at it."""
        return {path.name: path.read_text() for path in self.folder.iterdir() if ":" in path.name}

    def check(self) -> Check:
        return Check(True, "a folder")

    def ready_for(self, hf_dir: Path) -> None:
        self._answers()

    def foreign(self, name: str) -> str | None:
        self._answers()
        place = self.folder / "foreign"
        names = place.read_text().split() if place.exists() else []
        return f"The folder has a model {name} that Tunesmith did not make." if name in names else None

    def deploy(self, candidate: Candidate) -> Deployment:
        raise NotImplementedError

    @contextmanager
    def serve(self, deployment: Deployment) -> Iterator[Endpoint]:
        raise NotImplementedError
        yield

    def parity(self, deployment: Deployment) -> ParityReport:
        raise NotImplementedError

    def promote(self, deployment: Deployment) -> None:
        self._answers()
        if self.tags().get(deployment.model) != deployment.digest:
            raise Conflict(f"{deployment.model} is not the version that was measured.")
        (self.folder / f"{deployment.name}:latest").write_text(deployment.digest)
        if (self.folder / "pause").exists():
            (self.folder / "pause").read_bytes()

    def remove(self, deployment: Deployment) -> None:
        self._answers()
        if self.tags().get(f"{deployment.name}:latest") == deployment.digest:
            (self.folder / f"{deployment.name}:latest").unlink()
        (self.folder / deployment.model).unlink(missing_ok=True)

    def body(self, request: dict[str, Any], constraint: object) -> dict[str, Any]:
        return request

    def _answers(self) -> None:
        if (self.folder / "away").exists():
            raise Unavailable("The folder does not answer.")
