"""Real counterparts, each in an environment of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


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
