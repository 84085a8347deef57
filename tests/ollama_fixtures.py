"""Ollama as a target: against a stand-in with real tokens, or the real one (TUNESMITH_REAL_OLLAMA_URL).

At the real one, only models of the tests' own name are touched.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.ollama import FakeOllama
from fakes.ollama_models import Templates
from tunesmith.serving.targets.ollama import OllamaTarget
from tunesmith.settings import Settings
from tunesmith_connectors.ollama import Ollama

REAL = os.environ.get("TUNESMITH_REAL_OLLAMA_URL")
only_fake = pytest.mark.skipif(REAL is not None, reason="needs a stand-in that fails on demand")


def tags(ollama: Ollama) -> dict[str, str]:
    """Of the tests' own models."""
    return {
        name: digest for name, digest in ollama.tags().items() if name.startswith(("tiny-model:", "tunesmith-trial:"))
    }


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeOllama]:
    (tmp_path / "blobs").mkdir()
    with FakeOllama(tmp_path / "blobs") as fake:
        yield fake


@pytest.fixture
def old(fake: FakeOllama) -> FakeOllama:
    """One that renders nothing but templates in its own language."""
    fake.templates = Templates("old")
    return fake


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OllamaTarget]:
    url = REAL or request.getfixturevalue("fake").url
    yield OllamaTarget(Settings(home=tmp_path, ollama_url=url))
    if REAL:
        ollama = Ollama(REAL)
        for name in ollama.tags():
            if name.startswith("tiny-model:"):
                ollama.delete(name)
        ollama.close()


@pytest.fixture
def ollama(target: OllamaTarget) -> Iterator[Ollama]:
    client = Ollama(str(target.settings.ollama_url))
    yield client
    client.close()
