"""Real counterparts, each in an environment of its own.

A suite whose counterpart is not there says so in a line of its own at the end. It fails where it is named in
TUNESMITH_TEST_REQUIRED, as `.ci/run` does for those that it counts on.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from n8n_server import Json, N8n, quietly
from service import KEY, Service, extraction_rows
from tiny import build_tiny_model

ROOT = Path(__file__).parents[2]
REQUIRED = os.environ.get("TUNESMITH_TEST_REQUIRED", "").split()
_ABSENT: dict[str, str] = {}  # suite → why it did not run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        suite, reason = item.path.stem.removeprefix("test_"), report.longrepr[2].removeprefix("Skipped: ")
        _ABSENT[suite] = reason
        if suite in REQUIRED:
            report.outcome = "failed"
            report.longrepr = f"the suite {suite} is required here (TUNESMITH_TEST_REQUIRED), but {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for suite, reason in _ABSENT.items():
        terminalreporter.write_line(f"NOT RUN: the real suite {suite}: {reason}", yellow=True)


@pytest.fixture(scope="session")
def command() -> str:
    """The command of a real LiteLLM proxy; the first time, its environment is made (about 3 minutes)."""
    script = ROOT / "scripts" / "real_litellm.sh"
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([script], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return done.stdout.strip()


@pytest.fixture(scope="session")
def node_tools() -> Path:
    """A folder with `node/bin/node` and `node_modules/.bin/`; the first time, it is made (about 2 minutes)."""
    script = ROOT / "scripts" / "real_node_tools.sh"
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([script], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return Path(done.stdout.strip())


def node(tools: Path, command: str, *arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run one of the tools."""
    path = f"{tools / 'node' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    argv = [str(tools / "node" / "bin" / "node"), str(tools / "node_modules" / ".bin" / command), *arguments]
    environment = {**os.environ, "PATH": path, "REDOCLY_TELEMETRY": "off", "NO_COLOR": "1"}
    return subprocess.run(argv, capture_output=True, text=True, timeout=180, cwd=cwd, env=environment)


def installed(*options: str) -> Path:
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        [ROOT / "scripts" / "real_n8n.sh", *options], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def tools() -> Path:
    return installed("--tools")


@pytest.fixture(scope="session")
def package(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, built."""
    folder = tmp_path_factory.mktemp("package") / "n8n-nodes-tunesmith"
    shutil.copytree(ROOT / "n8n-nodes", folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (folder / "node_modules").symlink_to(tools / "tools" / "node_modules")
    quietly(["n8n-node", "build"], folder, tools)
    return folder


@pytest.fixture(scope="session")
def tiny_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    models = tmp_path_factory.mktemp("models")
    build_tiny_model(models / "tiny")
    service = Service(
        tmp_path_factory.mktemp("home"), TUNESMITH_MODELS=str(models), TUNESMITH_WEBHOOK_HOSTS="127.0.0.1"
    ).start()
    yield service
    service.close()


@pytest.fixture(scope="session")
def n8n(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[N8n]:
    place = installed()
    quietly(["npm", "pack", "--silent"], package, place)
    n8n = N8n(place, next(package.glob("*.tgz")), tmp_path_factory.mktemp("n8n"))
    yield n8n.start()
    n8n.close()


@pytest.fixture(scope="session")
def key(n8n: N8n, tiny_service: Service) -> Json:
    return n8n.credential("tunesmithApi", {"baseUrl": tiny_service.url, "apiKey": KEY})


@pytest.fixture(scope="session")
def household(tiny_service: Service) -> str:
    """A saved recipe with one published version. Its model's name."""
    file = tiny_service.openai.files.create(file=("rows.jsonl", extraction_rows(40)), purpose="fine-tune")
    recipe = {
        "name": "household-documents",
        "sources": [{"file": file.id}],
        "base_model": "tiny",
        "training": {"hyperparameters": {"n_epochs": 1, "batch_size": 4}},
        "publish": {"name": "household-extractor"},
    }
    tiny_service.http.post("/v1/recipes", json=recipe).raise_for_status()
    run = tiny_service.http.post("/v1/recipes/household-documents/runs").raise_for_status().json()
    assert tiny_service.finished(run["id"])["status"] == "succeeded"
    return "household-extractor"
