"""Input that is larger than memory should be: a line of 2 GB costs time, and never memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory as Linux shows it")

SIZE = 2 << 30
MEMORY = 400  # MB of the whole process, numpy and the database included
CHAT = b'{"messages": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "a"}]}\n'
CODE = """
import json, sys
from pathlib import Path
from tunesmith.datasets import reading
from tunesmith.errors import TunesmithError
home, path = Path(sys.argv[1]), Path(sys.argv[2])
try:
    said = reading.read_import(str(path), path.name, None, [], str(home / "dataset"))
except TunesmithError as error:
    said = error.as_dict()
left = [str(p) for p in (home / "dataset").glob("*")]
# Not ru_maxrss: that of the process which started this one is inherited.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
memory = int(peak.split()[1]) / 1000
print(json.dumps({"said": said, "memory": memory, "left": left}))
"""


def sparse(path: Path, head: bytes, tail: bytes) -> Path:
    """A file that says it is 2 GB long and takes no room: its middle is NUL bytes."""
    with path.open("wb") as out:
        out.write(head)
        out.seek(SIZE)
        out.write(tail)
    return path


def imported(tmp_path: Path, path: Path) -> dict[str, Any]:
    argv = [sys.executable, "-c", CODE, str(tmp_path / "home"), str(path)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_line_of_2_gb_among_good_ones_is_refused_by_its_number(tmp_path: Path) -> None:
    path = sparse(tmp_path / "rows.jsonl", CHAT % b"q" + b'{"messages": "', b'"}\n' + CHAT % b"r")
    found = imported(tmp_path, path)
    assert [(item["line"], item["code"]) for item in found["said"]["rejected"]] == [(2, "too_long")]
    assert found["said"]["rows_kept"] == 2
    assert found["memory"] < MEMORY


@pytest.mark.parametrize(("name", "head"), [("rows.json", b'[{"messages": "'), ("rows.csv", b'prompt,completion\n"')])
def test_a_file_that_is_one_row_of_2_gb_is_an_error(tmp_path: Path, name: str, head: bytes) -> None:
    found = imported(tmp_path, sparse(tmp_path / name, head, b'"'))
    assert found["said"]["code"] == "nothing_readable", found["said"]
    assert "longer than 16 MB" in found["said"]["message"]
    assert found["memory"] < MEMORY
    assert not found["left"]
