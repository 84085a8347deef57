"""Export: adapter → merged fp32 weights → GGUF → quantised, verified and sealed. Called by child processes only."""

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tunesmith.errors import BadInput, NotFound, ParityError
from tunesmith.serving import base_models, gguf_file, own_template
from tunesmith.serving.children import Work, run_module
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.merge import merge
from tunesmith.settings import Settings

DIRECT = ("f32", "f16", "bf16", "q8_0")  # what llama.cpp's converter writes itself
K_QUANTS = ("q4_k_m", "q4_k_s", "q5_k_m", "q6_k")

__all__ = ["Exported", "export", "merge", "to_gguf", "verify"]


@dataclass(frozen=True)
class Exported:
    """`seconds`: wall time of each step and `total`."""

    gguf: Path
    hf_dir: Path
    quantization: str
    seconds: dict[str, float]


def export(base: Path, adapter: Path, out: Path, *, quantization: str, settings: Settings) -> Exported:
    """Merge `adapter` into `base` and convert the result, into `out`/merged and `out`/model-<quantization>.gguf.

    Idempotent: finished steps are kept. The converter loads while the merge runs.
    Raises BadInput, NotFound, DiskFull, or ParityError when the GGUF does not say what the model folder says.
    """
    quantization = _known(quantization)
    start = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    hf_dir, gguf = out / "merged", out / f"model-{quantization}.gguf"
    seconds: dict[str, float] = {}
    if not _sealed(gguf):
        with _converter(base, hf_dir, gguf, quantization, settings) as converter:
            merge(base, adapter, hf_dir)
            seconds["merge"] = time.monotonic() - start
            _finish(converter, hf_dir, gguf, quantization, seconds)
    else:
        merge(base, adapter, hf_dir)
    seconds["total"] = time.monotonic() - start
    return Exported(gguf, hf_dir, quantization, {step: round(value, 2) for step, value in seconds.items()})


def to_gguf(hf_dir: Path, gguf: Path, quantization: str, *, settings: Settings) -> dict[str, float]:
    """Convert a model folder; returns the seconds of each step. Idempotent. Raises as `export` does."""
    quantization = _known(quantization)
    seconds: dict[str, float] = {}
    if not _sealed(gguf):
        if not (hf_dir / "config.json").is_file():
            raise NotFound(f"{hf_dir.name} is not a model folder.", hint="It needs config.json and safetensors.")
        gguf.parent.mkdir(parents=True, exist_ok=True)
        with _converter(hf_dir, hf_dir, gguf, quantization, settings) as converter:
            _finish(converter, hf_dir, gguf, quantization, seconds)
    return seconds


def _known(quantization: str) -> str:
    name = quantization.lower()
    if name not in DIRECT + K_QUANTS:
        raise BadInput(
            f"Unknown quantization {quantization!r}.",
            code="unknown_quantization",
            hint=f"Use one of: {', '.join(DIRECT + K_QUANTS)}.",
            param="quantization",
        )
    return name


def _sealed(gguf: Path) -> bool:
    try:
        gguf_file.read_seal(gguf, verify=False)
    except (NotFound, ParityError):
        return False
    return True


def _partial(gguf: Path) -> Path:
    return gguf.with_name(f".{gguf.name}.partial")


def _float_of(gguf: Path) -> Path:
    return gguf.with_name(f".{gguf.name}.f16")


def _converter(base: Path, hf_dir: Path, gguf: Path, quantization: str, settings: Settings) -> Work:
    """Start the converter; it waits until `hf_dir` is there."""
    root = base_models.converter_root(settings)
    direct = quantization in DIRECT
    target, outtype = (_partial(gguf), quantization) if direct else (_float_of(gguf), "f16")
    argv = [sys.executable, "-m", "tunesmith.serving.convert_child"]
    return Work("Conversion to GGUF", [*argv, str(root), str(base), str(hf_dir), str(target), outtype])


def _finish(converter: Work, hf_dir: Path, gguf: Path, quantization: str, seconds: dict[str, float]) -> None:
    """Wait for the conversion, quantise, verify, put the file in its place and seal it."""
    partial = _partial(gguf)
    begun = time.monotonic()
    converter.wait()
    seconds["convert"] = time.monotonic() - begun
    if quantization not in DIRECT:
        begun = time.monotonic()
        _quantize(_float_of(gguf), partial, quantization)
        _float_of(gguf).unlink()
        seconds["quantize"] = time.monotonic() - begun
    begun = time.monotonic()
    verify(partial, hf_dir)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(gguf)
    gguf_file.seal(gguf)
    seconds["verify"] = time.monotonic() - begun


def _quantize(source: Path, out: Path, quantization: str) -> None:
    tool = shutil.which("llama-quantize")
    if tool:
        with Work("Quantisation", [tool, str(source), str(out), quantization.upper()]) as work:
            work.wait()
    else:
        run_module("Quantisation", "tunesmith.serving.quantize_child", str(source), str(out), quantization)


def verify(gguf: Path, hf_dir: Path) -> None:
    """The GGUF says what the model folder says: architecture is known, eos, bos, rope and chat template are equal.

    Raises ParityError naming what differs.
    """
    differences = own_template.differences(HfFolder(hf_dir), gguf_file.read_metadata(gguf))
    if differences:
        raise ParityError(
            f"The exported GGUF differs from the model: {'; '.join(differences)}.",
            hint="Use a llama.cpp converter that knows this model (TUNESMITH_LLAMA_CPP), and export again.",
        )
