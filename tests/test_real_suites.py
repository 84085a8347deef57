"""A real suite whose counterpart is missing says so aloud, and fails where it is counted on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(("required", "status"), [("", 0), ("paperless", 1), ("another", 0)])
def test_a_missing_counterpart_is_told(required: str, status: int) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TUNESMITH_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "tests/real/test_paperless.py"],
        cwd=ROOT,
        env={**environment, "TUNESMITH_TEST_REQUIRED": required},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout
    line = "NOT RUN: the real suite paperless: set TUNESMITH_TEST_PAPERLESS_URL"
    assert line in done.stdout
