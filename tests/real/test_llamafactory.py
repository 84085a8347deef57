"""A real LLaMA-Factory loads an exported folder unchanged: every row, with the answer (or the pair) that is learnt."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tunesmith.datasets.export import export
from tunesmith.tasks.conversation import Message, Row, write_rows

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python() -> str:
    environment = {**os.environ, "PYTHON": sys.executable}
    script = ROOT / "scripts" / "real_llamafactory.sh"
    done = subprocess.run([script], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return done.stdout.strip()


def load(python: str, folder: Path, name: str, base: Path, stage: str, scratch: Path) -> list[dict[str, str]]:
    """What LLaMA-Factory would train on. An empty torchaudio stands in for the one that wants CUDA."""
    stub = scratch / "stub"
    stub.mkdir(exist_ok=True)
    (stub / "torchaudio.py").write_text("")
    argv = [python, str(Path(__file__).with_name("llamafactory_child.py")), folder, name, base, stage, scratch / "out"]
    environment = {**os.environ, "PYTHONPATH": str(stub), "HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch / "hf")}
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    seen: list[dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return seen


def said(*turns: tuple[Any, str]) -> list[Message]:
    return [{"role": role, "content": content} for role, content in turns]


def test_every_row_is_loaded_and_pairs_too(python: str, tiny_base: tuple[Path, Path], tmp_path: Path) -> None:
    rows = [
        Row(said(("user", f"Question {'x' * n}?"), ("assistant", f"right {n}")), rejected=f"wrong {n}")
        for n in range(9)
    ]
    rows.append(Row(said(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))))
    rows.append(Row(said(("user", "e"), ("assistant", "look"), ("tool", "7"), ("assistant", "seven"))))
    rows.append(Row(said(("user", "f"), ("user", "g"), ("assistant", "h"))))
    (tmp_path / "version").mkdir()
    write_rows(tmp_path / "version" / "train.jsonl", rows)
    report = export(tmp_path / "version", "llamafactory", tmp_path / "folder", name="letters")
    assert (report.rows, list(report.skipped.values())) == (11, [1])

    seen = load(python, tmp_path / "folder", "letters", tiny_base[0], "sft", tmp_path)
    assert len(seen) == 11
    learnt = [row["labels"] for row in seen]
    for n in range(9):
        assert any(f"right {n}" in text for text in learnt)
    assert not any("wrong" in row["input_ids"] for row in seen)
    assert any("seven" in row["labels"] and "7" in row["input_ids"] for row in seen)

    pairs = load(python, tmp_path / "folder", "letters-preference", tiny_base[0], "rm", tmp_path)
    assert len(pairs) == 9
    assert all("right" in pair["chosen_labels"] and "wrong" in pair["rejected_labels"] for pair in pairs)
