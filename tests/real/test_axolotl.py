"""A real axolotl trains on an exported folder unchanged, for a few steps on a three-layer cut of SmolLM2."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainer_runs import base_cut, environment, python_of, run, version
from tunesmith.datasets.export import export

pytestmark = pytest.mark.real

# Beside the data: axolotl takes a misspelt key without a word, so each of these is looked up in its answer below.
TRAINING = {
    "adapter": "lora",
    "lora_r": 8,
    "lora_alpha": 16,
    "lora_target_modules": ["q_proj", "v_proj"],
    "lora_mlp_kernel": False,  # Triton, which a CPU has not
    "lora_qkv_kernel": False,
    "lora_o_kernel": False,
    "sequence_len": 512,
    "micro_batch_size": 4,
    "gradient_accumulation_steps": 1,
    "max_steps": 6,
    "num_epochs": 4,
    "learning_rate": 0.005,
    "optimizer": "adamw_torch",
    "bf16": False,
    "fp16": False,
    "tf32": False,
    "flash_attention": False,
    "logging_steps": 1,
    "save_strategy": "no",
    "val_set_size": 0,
}


@pytest.fixture(scope="module")
def python() -> str:
    return python_of("real_axolotl.sh")


def test_a_run_on_an_exported_folder(python: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    report = export(version(tmp_path), "axolotl", folder, name="letters")
    assert report.rows == 24
    config = yaml.safe_load((folder / "axolotl.yaml").read_text())
    given = {"base_model": str(base_cut(tmp_path)), "output_dir": "out", "dataset_prepared_path": "prepared"}
    (folder / "run.yaml").write_text(yaml.safe_dump({**config, **given, **TRAINING}))
    command = [python, "-m", "axolotl.cli.main", "train", "run.yaml", "--launcher", "python"]
    said = run(command, folder, environment(tmp_path, python))
    losses = [float(found) for found in re.findall(r"'loss': '?([0-9.]+)", said)]
    assert len(losses) == 6, said[-3000:]
    assert losses[-1] < losses[0] * 0.9, losses
    assert (folder / "out" / "adapter_model.safetensors").stat().st_size > 10_000
    assert learnt(python, folder, tmp_path) == {f"right {n}" for n in range(20)}


def learnt(python: str, folder: Path, scratch: Path) -> set[Any]:
    """The answers that axolotl has prepared to be learnt, and nothing else of the rows."""
    code = (
        "import sys, glob, json; from datasets import load_from_disk; from transformers import AutoTokenizer; "
        "t = AutoTokenizer.from_pretrained(sys.argv[1]); "
        "rows = load_from_disk(glob.glob('prepared/*')[0]); "
        "print(json.dumps([t.decode([i for i in r['labels'] if i >= 0], skip_special_tokens=True) for r in rows]))"
    )
    import json

    said = run([python, "-c", code, str(base_cut(scratch))], folder, environment(scratch, python))
    return {text.strip() for text in json.loads(said.splitlines()[-1])}
