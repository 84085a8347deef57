"""A real axolotl trains on an exported folder unchanged, for a few steps on a three-layer cut of SmolLM2."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainers import answer, base_cut, environment, python_of, run, version
from tunesmith.datasets.export import export

pytestmark = pytest.mark.real

# Beside the data: axolotl takes a misspelt key without a word, so each of these is looked up in its answer below.
TRAINING: dict[str, Any] = {
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
    folder, base = tmp_path / "folder", base_cut(tmp_path)
    report = export(version(tmp_path), "axolotl", folder, name="letters")
    assert (report.rows, report.skipped) == (24, {})
    data = yaml.safe_load((folder / "axolotl.yaml").read_text())
    own = {"base_model": str(base), "output_dir": "out", "dataset_prepared_path": "prepared"}
    (folder / "run.yaml").write_text(yaml.safe_dump({**data, **own, **TRAINING}))
    command = [str(Path(python).with_name("axolotl")), "train", "run.yaml", "--launcher", "python"]
    said = run(command, folder, environment(tmp_path, python))
    losses = [float(found) for found in re.findall(r"'loss': '?([0-9.]+)", said)]
    assert len(losses) == TRAINING["max_steps"], said[-3000:]
    assert losses[-1] < 0.7 * losses[0], losses
    settings = json.loads((folder / "out" / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"]) == (8, 16)

    print_learnt = (
        "import glob, json, sys; from datasets import load_from_disk; from transformers import AutoTokenizer; "
        "t = AutoTokenizer.from_pretrained(sys.argv[1]); sets = map(load_from_disk, glob.glob('prepared/*/')); "
        "print(json.dumps([[t.decode([i for i in r['labels'] if i >= 0]) for r in rows] for rows in sets]))"
    )
    said = run([python, "-c", print_learnt, str(base)], folder, environment(tmp_path, python))
    trained, judged = sorted(json.loads(said.splitlines()[-1]), key=len, reverse=True)
    assert sorted(trained) == [f"{answer(n)}<|im_end|>" for n in range(20)], "the answers, and nothing else"
    assert sorted(judged) == [f"{answer(n)}<|im_end|>" for n in range(20, 24)]
