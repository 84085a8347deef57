"""A real LLaMA-Factory loads an exported folder unchanged, every row with the answer (or the pair) that is learnt, and
trains on it for a few steps on a three-layer cut of SmolLM2."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainers import base_cut, environment, python_of, run, version
from tunesmith.datasets.export import export
from tunesmith.tasks.conversation import Message, Row, write_rows

pytestmark = pytest.mark.real
CHILD = str(Path(__file__).with_name("llamafactory_child.py"))


@pytest.fixture(scope="module")
def python() -> str:
    return python_of("real_llamafactory.sh")


def surroundings(python: str, scratch: Path) -> dict[str, str]:
    """An empty torchaudio stands in for the one that wants CUDA."""
    stub = scratch / "stub"
    stub.mkdir(exist_ok=True)
    (stub / "torchaudio.py").write_text("")
    return {**environment(scratch, python), "PYTHONPATH": str(stub)}


def load(python: str, folder: Path, name: str, base: Path, stage: str, scratch: Path) -> list[dict[str, str]]:
    """What LLaMA-Factory would train on."""
    argv = [python, CHILD, *map(str, (folder, name, base, stage, scratch / "out"))]
    said = run(argv, scratch, surroundings(python, scratch))
    seen: list[dict[str, str]] = json.loads(next(line for line in said.splitlines() if line.startswith("[{")))
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


def test_a_run_on_an_exported_folder(python: str, tmp_path: Path) -> None:
    report = export(version(tmp_path), "llamafactory", tmp_path / "folder", name="letters")
    assert (report.rows, report.skipped) == (24, {})
    settings = {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(base_cut(tmp_path)),
        "dataset_dir": str(tmp_path / "folder"),
        "dataset": "letters",
        "eval_dataset": "letters-validation",
        "eval_strategy": "epoch",
        "template": "chatml",
        "finetuning_type": "lora",
        "lora_rank": 8,
        "cutoff_len": 512,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "num_train_epochs": 2,
        "learning_rate": 0.005,
        "logging_steps": 1,
        "save_strategy": "no",
        "output_dir": str(tmp_path / "out"),
        "use_cpu": True,
        "report_to": "none",
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings))  # 0.9.5 cannot read a file of JSON
    command = [str(Path(python).with_name("llamafactory-cli")), "train", "run.yaml"]
    run(command, tmp_path, surroundings(python, tmp_path))
    log = [json.loads(line) for line in (tmp_path / "out" / "trainer_log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert len(losses) == 10, log  # 20 rows, two epochs in batches of four: no row was lost
    assert losses[-1] < 0.7 * losses[0], losses
    assert any("eval_loss" in entry for entry in log)
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["r"] == 8
