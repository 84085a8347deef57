"""What a run needs at its end, found out before it begins: converter, quantiser, serving target, disk."""

import hashlib
import importlib.util
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tunesmith.errors import TunesmithError, Unavailable
from tunesmith.serving import base_models
from tunesmith.serving.children import Work, run_module
from tunesmith.serving.export import DIRECT
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.settings import Settings

_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 1.1}  # per parameter, of a GGUF
_CHECKPOINT_BYTES = 0.5  # adapters and the optimizer's state, a few times
_TELLING = ("config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json")


@dataclass(frozen=True)
class Part:
    """Something that an export needs. `hint` says what to do when it is missing."""

    name: str
    ok: bool
    detail: str
    hint: str | None = None

    def sentence(self) -> str:
        return f"{self.name}: {self.detail}" + (f" {self.hint}" if self.hint and not self.ok else "")


def parts(settings: Settings) -> list[Part]:
    """Whether a trained model could be exported here. Nothing heavy is loaded into this process."""
    return [_converter(settings), _quantizer()]


def missing(settings: Settings) -> list[str]:
    """A sentence for each part that the default quantisation needs and that is not there."""
    return [part.sentence() for part in _needed(settings, settings.quantization) if not part.ok]


def try_export(base: Path, quantization: str, settings: Settings) -> None:
    """Convert what the base model is, without its weights, and load the quantiser where one will be needed.

    Some seconds, and once for a base model. Raises BadInput, NotFound or Unavailable, as the export would at its end.
    """
    for part in _needed(settings, quantization):
        if not part.ok:
            raise Unavailable(
                f"The trained model could not be exported: {part.detail}",
                code="export_not_ready",
                hint=part.hint or "See `tunesmith doctor`.",
                retryable=False,
            )
    root = base_models.converter_root(settings)
    known = settings.parts / "tried" / _key(root, base)
    if known.exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "vocabulary.gguf"
        argv = [sys.executable, "-m", "tunesmith.serving.convert_child", str(root), str(base), str(base), str(out)]
        with Work("Trying the conversion to GGUF", [*argv, "f16", "--vocab-only"]) as work:
            work.wait()
    with suppress(OSError):  # a read-only folder: it is tried again for the next run
        known.parent.mkdir(parents=True, exist_ok=True)
        known.touch()


def space_needed(base: Path, quantization: str) -> int:
    """Bytes that a run of this base takes at most: checkpoints, the merged model in fp32, and its GGUF."""
    gguf = _BYTES.get(quantization, 3.0)  # a k-quant is made of an f16 file beside it
    return space_of_training(base) + int(_parameters(base) * (4 + gguf))


def space_of_training(base: Path) -> int:
    """Bytes of the checkpoints alone."""
    return int(_parameters(base) * _CHECKPOINT_BYTES)


def _parameters(base: Path) -> int:
    stored = sum(file.stat().st_size for file in base.glob("*.safetensors"))
    precise = HfFolder(base).config.get("dtype", HfFolder(base).config.get("torch_dtype")) == "float32"
    return stored // (4 if precise else 2)


def _needed(settings: Settings, quantization: str) -> list[Part]:
    return [_converter(settings), *([] if quantization in DIRECT else [_quantizer()])]


def _converter(settings: Settings) -> Part:
    absent = [name for name in ("torch", "transformers", "safetensors") if not importlib.util.find_spec(name)]
    if absent:
        text = f"{', '.join(absent)} missing, which llama.cpp's converter needs."
        return Part("Converter", False, text, "pip install 'tunesmith[train,serve]'")
    try:
        root = base_models.converter_root(settings)
    except TunesmithError as error:
        return Part("Converter", False, error.message, error.hint)
    own = "your own llama.cpp checkout" if settings.llama_cpp else "packaged llama.cpp"
    return Part("Converter", (root / "convert_hf_to_gguf.py").is_file(), f"{own} is there.")


def _quantizer() -> Part:
    if shutil.which("llama-quantize"):
        return Part("Quantiser", True, "llama-quantize is on PATH.")
    try:
        _load_quantizer()
    except TunesmithError as error:
        hint = "pip install 'tunesmith[train,serve]', put llama-quantize on PATH, or use the quantisation q8_0."
        return Part("Quantiser", False, error.message, hint)
    return Part("Quantiser", True, "ggml's own, in xllamacpp, loads.")


@lru_cache(1)
def _load_quantizer() -> None:
    """In a child, and once where it succeeds: a wheel that is installed may still not fit this system's C library."""
    run_module("Loading the quantiser", "tunesmith.serving.quantize_child", "--check")


def _key(root: Path, base: Path) -> str:
    """Tells a base model and a converter apart from others, by what the conversion looks at."""
    digest = hashlib.sha256(str((root / "convert_hf_to_gguf.py").stat().st_mtime_ns).encode())
    for name in _TELLING:
        file = base / name
        digest.update(file.read_bytes() if file.is_file() else b"-")
    return digest.hexdigest()[:24]
