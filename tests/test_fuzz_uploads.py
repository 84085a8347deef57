"""The readers of uploads on what nobody would write: thousands with `TUNESMITH_TEST_FUZZ=5000`, a few in `make test`.

Each property runs in a process with limits of memory and time, so that a bomb ends that process and not the tests.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz_uploads import PROPERTIES

EXAMPLES = int(os.environ.get("TUNESMITH_TEST_FUZZ", "40"))


@pytest.mark.parametrize("name", PROPERTIES)
def test_whatever_is_uploaded_is_read_or_refused(name: str) -> None:
    argv = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("fuzz_uploads.py")), name, str(EXAMPLES)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60 + 20 * EXAMPLES)
    assert done.returncode == 0, done.stderr[-4000:]
