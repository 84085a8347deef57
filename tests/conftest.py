"""What is slow to make is made once: a tiny real model, exported by the real converter."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ollama_fixtures import fake, old, ollama, target  # noqa: F401  fixtures of the tests that name them
from postgres import fresh_database
from tunesmith.serving.targets.base import Candidate
from tunesmith.settings import Settings
from tunesmith.store.workspace import Workspace

TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Tiny:
    """A tiny base, a LoRA adapter for it, and both merged as f16 GGUF."""

    base: Path
    adapter: Path
    hf_dir: Path
    f16: Path

    def candidate(self, version: str = "run-1", *, quantization: str = "f16", gguf: Path | None = None) -> Candidate:
        return Candidate.of_export(
            name="tiny-model",
            version=version,
            gguf=gguf or self.f16,
            hf_dir=self.hf_dir,
            quantization=quantization,
        )


@pytest.fixture(autouse=True)
def _database(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SQLite, or an empty database of the Postgres in TUNESMITH_TEST_DATABASE_URL, for child processes too."""
    server = os.environ.get("TUNESMITH_TEST_DATABASE_URL")
    if not server:
        yield
        return
    with fresh_database(server) as url:
        monkeypatch.setenv("TUNESMITH_DATABASE_URL", url)
        yield


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", ollama_url=None, litellm_url=None, litellm_key=None)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace.open(Settings(home=tmp_path / "home", min_free_disk_mb=0))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny model and an adapter, made in a process of their own: torch warns at its import."""
    pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("tiny")
    code = (
        "import sys; from pathlib import Path; from tiny import build_adapter, build_tiny_model; "
        "folder = Path(sys.argv[1]); build_adapter(build_tiny_model(folder / 'base'), folder / 'adapter')"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=TESTS, check=True, capture_output=True)
    return folder / "base", folder / "adapter"


@pytest.fixture(scope="session")
def tiny(tiny_base: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Merged and converted once, by the real code. Needs llama.cpp's converter: `tunesmith setup`."""
    from tunesmith.serving.export import export

    out = tmp_path_factory.mktemp("export")
    base, adapter = tiny_base
    exported = export(base, adapter, out, quantization="f16", settings=Settings(home=out))
    return Tiny(base, adapter, exported.hf_dir, exported.gguf)
