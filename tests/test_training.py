"""Training with a tiny real model: it learns, resumes to the same weights, and refuses what cannot teach."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fakes import tiny_model
from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Message, Row, write_rows
from tunesmith.training import checkpoints
from tunesmith.training.trainer import Interrupted, Progress, TrainResult, TrainSpec, train

pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def conversation(number: int) -> list[Message]:
    return [
        {"role": "user", "content": f"Shop {number}\nTOTAL {number}.00\nCASH {number + 1}.00"},
        {"role": "assistant", "content": json.dumps({"total": f"{number}.00"})},
    ]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "train.jsonl"
    write_rows(path, (Row(conversation(number)) for number in range(10, 22)))
    return path


def spec(base: Path, rows_file: Path, out: Path, **more: object) -> TrainSpec:
    wanted = {"n_epochs": 6, "batch_size": 3, "learning_rate": 0.02, "adapted_layers": 2}
    return TrainSpec(base, rows_file, out, validation_file=rows_file, hyperparameters={**wanted, **more}, seed=3)


def weights(result: TrainResult) -> dict[str, list[float]]:
    from safetensors.torch import load_file

    return {k: v.flatten().tolist() for k, v in load_file(result.adapter_dir / "adapter_model.safetensors").items()}


@pytest.fixture(scope="module")
def whole(base: Path, rows_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainResult, list[Progress]]:
    """One training without interruption, for comparison."""
    seen: list[Progress] = []
    return train(spec(base, rows_file, tmp_path_factory.mktemp("whole")), seen.append, lambda: False), seen


def test_loss_falls_and_progress_is_reported_each_step(whole: tuple[TrainResult, list[Progress]]) -> None:
    result, seen = whole
    assert [p.step for p in seen] == list(range(1, 25))
    assert {p.total_steps for p in seen} == {24}
    assert seen[0].loss > 5
    assert result.train_loss < 0.75 * seen[0].loss
    assert result.validation_loss is not None
    assert result.validation_loss < 0.75 * seen[0].loss
    assert seen[-1].epoch == 6
    assert seen[-1].tokens_per_second > 0
    assert seen[-1].peak_memory_bytes > 50_000_000
    assert seen[-1].learning_rate < 0.1 * max(p.learning_rate for p in seen)


def test_adapter_is_safetensors_on_the_top_layers_only(whole: tuple[TrainResult, list[Progress]]) -> None:
    result, _ = whole
    files = {p.name for p in result.adapter_dir.iterdir()}
    assert files == {"adapter_model.safetensors", "adapter_config.json"}
    assert {name.split(".layers.")[1][0] for name in weights(result)} == {"2", "3"}
    assert not list(result.adapter_dir.parent.rglob("training_args.bin"))


def test_stop_saves_and_resuming_gives_the_same_weights(
    base: Path, rows_file: Path, tmp_path: Path, whole: tuple[TrainResult, list[Progress]]
) -> None:
    seen: list[Progress] = []
    with pytest.raises(Interrupted):
        train(spec(base, rows_file, tmp_path), seen.append, lambda: len(seen) >= 10)
    assert checkpoints.step_of(checkpoints.newest_valid(tmp_path / "checkpoints") or Path("x-0")) == 10
    again: list[Progress] = []
    result = train(spec(base, rows_file, tmp_path), again.append, lambda: False)
    assert again[0].step == 11
    assert weights(result) == weights(whole[0])


def test_truncated_checkpoint_is_passed_over(
    base: Path, rows_file: Path, tmp_path: Path, whole: tuple[TrainResult, list[Progress]]
) -> None:
    seen: list[Progress] = []
    with pytest.raises(Interrupted):
        train(spec(base, rows_file, tmp_path), seen.append, lambda: len(seen) >= 10)
    newest = checkpoints.all_checkpoints(tmp_path / "checkpoints")[-1]
    optimiser = newest / "optimizer.pt"
    optimiser.write_bytes(optimiser.read_bytes()[:100])
    again: list[Progress] = []
    result = train(spec(base, rows_file, tmp_path), again.append, lambda: False)
    assert again[0].step < 11
    assert weights(result) == weights(whole[0])


def test_kill_9_and_resume_gives_the_same_weights(
    base: Path, rows_file: Path, tmp_path: Path, whole: tuple[TrainResult, list[Progress]]
) -> None:
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom test_training import spec, train\n"
        "base, rows, out = map(Path, sys.argv[1:])\n"
        "train(spec(base, rows, out), lambda p: os.kill(os.getpid(), signal.SIGKILL) if p.step == 14 else None, "
        "lambda: False)\n"
    )
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", program, str(base), str(rows_file), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(here)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    again: list[Progress] = []
    result = train(spec(base, rows_file, tmp_path), again.append, lambda: False)
    assert 1 < again[0].step <= 14
    assert weights(result) == weights(whole[0])
    assert len(result.checkpoints) == 2


def test_finished_training_is_not_done_twice(
    base: Path, rows_file: Path, tmp_path: Path, whole: tuple[TrainResult, list[Progress]]
) -> None:
    first = train(spec(base, rows_file, tmp_path), lambda _: None, lambda: False)
    before = weights(first)
    seen: list[Progress] = []
    second = train(spec(base, rows_file, tmp_path), seen.append, lambda: False)
    assert not seen
    assert weights(second) == before
    assert second.trained_tokens == first.trained_tokens


def test_ten_rows_once_is_short_and_exact(base: Path, rows_file: Path, tmp_path: Path) -> None:
    asked = TrainSpec(base, rows_file, tmp_path, hyperparameters={"n_epochs": 1})
    result = train(asked, lambda _: None, lambda: False)
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["epochs"] == 1
    assert result.steps == math.ceil(12 / plan["batch_size"])


def test_unknown_method_and_bad_hyperparameter_are_named(base: Path, rows_file: Path, tmp_path: Path) -> None:
    dpo = TrainSpec(base, rows_file, tmp_path, method="dpo")
    with pytest.raises(BadInput, match="method dpo is not available yet; use supervised"):
        train(dpo, lambda _: None, lambda: False)
    with pytest.raises(BadInput, match="n_epochs"):
        train(spec(base, rows_file, tmp_path, n_epochs=0), lambda _: None, lambda: False)
    with pytest.raises(BadInput, match="n_epoch"):
        train(spec(base, rows_file, tmp_path, n_epoch=3), lambda _: None, lambda: False)
