"""What a run needs at its end is known before its training begins."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import extraction_rows
from tunesmith.cli import doctor
from tunesmith.errors import BadInput, DiskFull, Unavailable
from tunesmith.jobs import queue
from tunesmith.recipes import files, runs
from tunesmith.recipes.context import Context
from tunesmith.recipes.schema import Recipe
from tunesmith.recipes.stages import train
from tunesmith.serving import readiness
from tunesmith.serving.readiness import Part
from tunesmith.serving.targets.llamacpp import LlamaCppTarget
from tunesmith.settings import Settings
from tunesmith.store.workspace import Workspace

pytest.importorskip("torch")
LOST = Part("Quantiser", False, "it needs another C library.", "Use q8_0.")


@pytest.fixture
def no_quantiser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_quantizer", lambda: LOST)


@pytest.fixture
def train_context(tiny_base: tuple[Path, Path], tmp_path: Path) -> Iterator[Context]:
    """The train stage of a run whose dataset was never built: nothing may be read of it."""
    settings = Settings(home=tmp_path, models=tiny_base[0].parent, min_free_disk_mb=0)
    workspace = Workspace.open(settings)
    file = files.add_file(workspace, "rows.jsonl", "fine-tune", [extraction_rows(8)])
    recipe = {"name": "helper", "sources": [{"file": file.id}], "base_model": tiny_base[0].name}
    run = runs.create_run(workspace, Recipe.model_validate(recipe))
    job = next(job for job in queue.jobs_of(workspace.database, run.id) if job.kind == "train")
    built = queue.claim(workspace.database, ["default"])
    assert built is not None
    outcome = {"version": "0" * 16, "task": {"name": "chat", "spec": {}}}
    queue.finish(workspace.database, built.id, queue.Result("succeeded", outcome=outcome))
    yield Context(workspace, run, job)
    workspace.close()


def test_the_quantiser_loads_here(tmp_path: Path) -> None:
    assert [part.ok for part in readiness.parts(Settings(home=tmp_path))] == [True, True]


def test_a_quantiser_that_does_not_load_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed is not loadable: a wheel may want a newer C library than the system has."""
    (tmp_path / "xllamacpp").mkdir()
    (tmp_path / "xllamacpp" / "__init__.py").touch()
    (tmp_path / "xllamacpp" / "xllamacpp.abi3.so").write_bytes(b"\x7fELF of another system")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    readiness._load_quantizer.cache_clear()
    part = readiness._quantizer()
    assert not part.ok
    assert "Loading the quantiser failed" in part.detail
    assert "q8_0" in str(part.hint)
    monkeypatch.undo()
    assert readiness._quantizer().ok, "a failure is not remembered: it may have been installed since"


def test_a_part_that_is_missing_ends_a_run_before_its_training(
    tiny_base: tuple[Path, Path], tmp_path: Path, no_quantiser: None
) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(Unavailable, match="another C library") as caught:
        readiness.try_export(tiny_base[0], "q4_k_m", settings)
    assert caught.value.hint == "Use q8_0."
    assert not caught.value.retryable
    readiness.try_export(tiny_base[0], "q8_0", settings)  # needs no quantiser


def test_only_what_the_default_needs_is_called_missing(tmp_path: Path, no_quantiser: None) -> None:
    assert readiness.missing(Settings(home=tmp_path)) == []
    assert readiness.missing(Settings(home=tmp_path, quantization="q4_k_m")) == [LOST.sentence()]


def test_doctor_names_the_parts(tmp_path: Path, no_quantiser: None) -> None:
    settings = Settings(home=tmp_path, quantization="q4_k_m")
    found = {finding.subject: finding for finding in doctor.findings(settings)}
    assert found["Converter"].state == "ok"
    assert (found["Quantiser"].state, found["Quantiser"].hint) == ("bad", "Use q8_0.")
    found = {finding.subject: finding for finding in doctor.findings(Settings(home=tmp_path))}
    assert found["Quantiser"].state == "note"


def test_a_base_that_the_converter_does_not_know(tiny_base: tuple[Path, Path], tmp_path: Path) -> None:
    base = shutil.copytree(tiny_base[0], tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "architectures": ["TeapotForCausalLM"]}))
    with pytest.raises(BadInput) as caught:
        readiness.try_export(base, "q8_0", Settings(home=tmp_path))
    assert caught.value.error_code == "unsupported_architecture"


def test_a_base_is_tried_once(tiny_base: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readiness.try_export(tiny_base[0], "q8_0", Settings(home=tmp_path))
    monkeypatch.setattr(readiness, "Work", None)
    readiness.try_export(tiny_base[0], "q8_0", Settings(home=tmp_path))


def test_space_is_that_of_the_merged_model(tiny_base: tuple[Path, Path]) -> None:
    stored = sum(file.stat().st_size for file in tiny_base[0].glob("*.safetensors"))
    assert stored < readiness.space_needed(tiny_base[0], "q8_0") < readiness.space_needed(tiny_base[0], "q4_k_m")


def test_a_full_disk_is_noticed_before_the_training(
    tiny_base: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, train_context: Context
) -> None:
    monkeypatch.setattr(readiness, "space_needed", lambda *_: 2**60)
    with pytest.raises(DiskFull):
        train.run(train_context)
    assert not (train_context.folder / "plan.json").exists()


def test_a_target_that_is_away_is_noticed_before_the_training(train_context: Context) -> None:
    train_context.settings.ollama_url = "http://127.0.0.1:9"
    with pytest.raises(Unavailable, match="target ollama is not there") as caught:
        train.run(train_context)
    assert caught.value.retryable
    assert not (train_context.folder / "plan.json").exists()


def test_a_template_that_the_target_cannot_serve_is_refused_before_the_training(
    train_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_target: LlamaCppTarget, hf_dir: Path) -> None:
        raise BadInput(f"{hf_dir.name} cannot be served here.", code="template_not_expressible")

    monkeypatch.setattr(LlamaCppTarget, "ready_for", refuse)
    with pytest.raises(BadInput, match="cannot be served here"):
        train.run(train_context)
    assert not (train_context.folder / "plan.json").exists()


def test_a_run_that_ends_with_its_training_needs_no_exporter(
    train_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training machine may have neither converter nor target."""
    monkeypatch.setattr(Context, "has_stage", lambda _context, kind: kind in ("build", "train"))
    monkeypatch.setattr(readiness, "try_export", None)
    train_context.settings.ollama_url = "http://127.0.0.1:9"
    with pytest.raises(FileNotFoundError, match=r"train\.jsonl"):  # the dataset comes next: this run has none
        train.run(train_context)
