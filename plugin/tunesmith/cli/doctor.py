"""`tunesmith doctor`: what is here, what is missing, and what to do about it."""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import psutil
from rich.console import Console

from tunesmith.api.keys import require_strong
from tunesmith.errors import TunesmithError
from tunesmith.serving import base_models, readiness, routes
from tunesmith.serving.targets.base import TARGETS
from tunesmith.settings import Settings, get_settings
from tunesmith_connectors.addresses import without_userinfo


@dataclass
class Finding:
    """`state`: ok, note (works, could be better) or bad (must be mended)."""

    subject: str
    state: str
    text: str
    hint: str = ""


def examine_everything() -> int:
    """Print every finding; exit status 1 when something must be mended."""
    console = Console()
    marks = {"ok": "[green]✓[/]", "note": "[yellow]•[/]", "bad": "[red]✗[/]"}
    bad = 0
    for finding in findings(get_settings()):
        text, hint = without_userinfo(finding.text), without_userinfo(finding.hint)
        bad += finding.state == "bad"
        console.print(f"{marks[finding.state]} [bold]{finding.subject}[/]: {text}", highlight=False)
        if hint and finding.state != "ok":
            console.print(f"    {hint}", style="dim", highlight=False)
    console.print("Everything needed is there." if not bad else f"{bad} to mend.")
    return 1 if bad else 0


def findings(settings: Settings) -> Iterator[Finding]:
    here = (_python, _machine, _disk, _admin_key, _training, _gpu, _base_model)
    yield from (finding for check in here if (finding := check(settings)))
    yield from _export(settings)
    checks: tuple[Callable[[Settings], Finding | None], ...] = (
        _target,
        _paperless,
        _litellm,
        _teacher,
    )
    for check in checks:
        finding = check(settings)
        if finding is not None:
            yield finding


def _python(_: Settings) -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} at {sys.executable}")


def _machine(_: Settings) -> Finding:
    memory = psutil.virtual_memory()
    text = f"{os.cpu_count()} cores, {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB memory free"
    if memory.available < 3 * 2**30:
        return Finding("Machine", "note", text, "Tuning the packaged model takes about 3 GiB: close something first.")
    return Finding("Machine", "ok", text)


def _disk(settings: Settings) -> Finding:
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = shutil.disk_usage(settings.home).free
    text = f"{free / 2**30:.1f} GiB free at {settings.home}"
    if free < settings.min_free_disk_mb * 2**20:
        return Finding("Disk", "bad", text, "Jobs pause below TUNESMITH_MIN_FREE_DISK_MB: free some space.")
    if free < 5 * 2**30:
        return Finding("Disk", "note", text, "A run of the packaged model keeps about 1 GiB.")
    return Finding("Disk", "ok", text)


def _admin_key(settings: Settings) -> Finding | None:
    try:
        require_strong(settings)
    except TunesmithError as error:
        return Finding("Admin key", "bad", error.message, error.hint or "")
    return None


def _training(_: Settings) -> Finding:
    missing = [name for name in ("torch", "transformers", "peft", "trl") if not importlib.util.find_spec(name)]
    if missing:
        return Finding("Training", "bad", f"{', '.join(missing)} missing", "pip install 'tunesmith[train,serve]'")
    return Finding("Training", "ok", "torch, transformers, peft and trl are installed")


def _gpu(_: Settings) -> Finding:
    """Looked up without torch, which takes seconds to load."""
    if shutil.which("nvidia-smi"):
        return Finding("GPU", "ok", "NVIDIA driver found")
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return Finding("GPU", "ok", "Apple Silicon")
    return Finding("GPU", "note", "none found: training runs on the CPU", "Fine for models of up to about 500 M.")


def _base_model(settings: Settings) -> Finding:
    names = base_models.list_base_models(settings)
    if not names:
        return Finding("Base models", "bad", "none is prepared", "Run `tunesmith setup`.")
    return Finding("Base models", "ok", ", ".join(names))


def _export(settings: Settings) -> Iterator[Finding]:
    """A part that only other quantisations than the default need is worth a note."""
    needed = set(readiness.missing(settings))
    for part in readiness.parts(settings):
        state = "ok" if part.ok else "bad" if part.sentence() in needed else "note"
        yield Finding(part.name, state, part.detail, part.hint or "")


def _target(settings: Settings) -> Finding:
    name = settings.target if settings.target != "auto" else ("ollama" if settings.ollama_url else "llamacpp")
    check = TARGETS.get(name)(settings).check()
    return Finding(f"Serving target {name}", "ok" if check.ok else "bad", check.detail, check.hint or "")


def _paperless(settings: Settings) -> Finding | None:
    if not settings.paperless_url:
        return Finding("Paperless", "note", "not configured", "Set TUNESMITH_PAPERLESS_URL and _TOKEN.")
    from tunesmith.datasets import sources

    try:
        return Finding("Paperless", "ok", sources.check_paperless(settings))
    except TunesmithError as error:
        return Finding("Paperless", "bad", error.message, error.hint or "")


def _teacher(settings: Settings) -> Finding | None:
    """Only when somebody set one: synthetic rows are a choice."""
    if not (settings.teacher_url or settings.teacher_model):
        return None
    if importlib.util.find_spec("distilabel") is None:
        return Finding("Teacher", "bad", "distilabel is not installed", "pip install 'tunesmith[synthetic]'")
    return Finding("Teacher", "ok", f"{settings.teacher_model or 'named by each recipe'} at {settings.teacher_url}")


def _litellm(settings: Settings) -> Finding | None:
    if not settings.litellm_url:
        return Finding("LiteLLM", "note", "not configured", "Set TUNESMITH_LITELLM_URL and TUNESMITH_LITELLM_KEY.")
    try:
        return Finding("LiteLLM", "ok", routes.check(settings))
    except (TunesmithError, httpx.HTTPError) as error:
        hint = getattr(error, "hint", None) or "Is the proxy running?"
        return Finding("LiteLLM", "bad", str(error), hint)
