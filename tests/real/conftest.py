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
