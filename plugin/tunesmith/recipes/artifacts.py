"""What a version of a model leaves to take away. Callers name a kind of a closed list, never a path."""

import shutil
import zipfile
from pathlib import Path
from typing import Any, Literal, get_args

from tunesmith.errors import NotFound
from tunesmith.jobs import queue
from tunesmith.recipes import models
from tunesmith.store.files import write_json
from tunesmith.store.tables import ModelVersion
from tunesmith.store.workspace import Workspace

Artifact = Literal["adapter", "gguf", "card", "report"]
ARTIFACTS: tuple[str, ...] = get_args(Artifact)


def get(workspace: Workspace, name: str, artifact: str, scratch: Path) -> tuple[Path, str]:
    """Where the artefact of `name` (live) or `name:version` lies, and what a copy of it is called.

    adapter: PEFT's folder as a ZIP. gguf: the model as it is served. card: Markdown. report: JSON, all that was
    measured. What has to be written is written to `scratch`. Raises NotFound, DiskFull.
    """
    row = models.find(workspace, name)
    called = f"{row.name}-{row.version}"
    match artifact:
        case "gguf":
            path = _left(workspace, row, "export", "gguf")
            return path, f"{called}-{path.name.removeprefix('model-')}"
        case "adapter":
            path = scratch / f"{called}-adapter.zip"
            _zip(workspace, _left(workspace, row, "train", "adapter"), path)
        case "card":
            path = scratch / f"{called}.md"
            path.write_text(_card(models.card(workspace, f"{row.name}:{row.version}")), encoding="utf-8")
        case "report":
            path = scratch / f"{called}.json"
            write_json(path, models.card(workspace, f"{row.name}:{row.version}"))
        case _:
            raise NotFound(f"A model has no artefact {artifact!r}.", hint=f"Artefacts: {', '.join(ARTIFACTS)}.")
    return path, path.name


def save(workspace: Workspace, name: str, artifact: str, output: Path) -> Path:
    """Copy it into the folder `output`, or to that file name."""
    with workspace.artifacts.scratch() as scratch:
        path, called = get(workspace, name, artifact, scratch)
        return Path(shutil.copyfile(path, output / called if output.is_dir() else output))


def _left(workspace: Workspace, row: ModelVersion, stage: str, key: str) -> Path:
    """What a stage of the version's run named in its outcome; nothing outside that stage's folder."""
    for job in queue.jobs_of(workspace.database, row.run_id):
        if job.kind == stage and job.outcome:
            folder = workspace.artifacts.job(job.id).resolve()
            path = (folder / str(job.outcome[key])).resolve()
            if path.is_relative_to(folder) and path.exists():
                return path
    hint = "Its folder below jobs/ was removed, or is on another machine."
    raise NotFound(f"The {key} of {row.name}:{row.version} is not there any more.", code="artifact_gone", hint=hint)


def _zip(workspace: Workspace, folder: Path, path: Path) -> None:
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.is_symlink()]
    workspace.artifacts.require_space(sum(file.stat().st_size for file in files))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # weights do not get smaller
        for file in files:
            archive.write(file, file.name)


def _card(card: dict[str, Any]) -> str:
    about = ("base_model", "task", "dataset_version", "run_id", "target")
    evaluation = card["evaluation"]
    measured = [_figures(who.replace("_", " "), m) for who, m in evaluation["measured"].items()]
    measured += _by_route(evaluation.get("routes") or {})
    held_out = "rows it was trained on" if evaluation["in_sample"] else "held-out rows"
    rules = [
        f"- {check['name'].replace('_', ' ')}{_by(check)}: {check['value']:.1%}, required {check['required']:.1%}"
        for check in evaluation["gate"]["checks"]
    ]
    lines = [
        f"# {card['name']}, version {card['version']}",
        "",
        *(f"- {key.replace('_', ' ')}: {card[key]}" for key in about),
        f"- {'live' if card['live'] else 'not live'}",
        "",
        f"## Measured on {evaluation['rows']} {held_out}, as served",
        "",
        "| model | in format | all fields | exact |",
        "|---|---|---|---|",
        *measured,
        "",
        "## Gate",
        "",
        *(rules or ["No rule applied."]),
        *_usage(card["usage"]),
    ]
    return "\n".join(lines) + "\n"


def _figures(who: str, m: dict[str, Any]) -> str:
    return f"| {who} | {m['format_adherence']:.1%} | {m['field_accuracy']:.1%} | {m['exact']:.1%} |"


def _by(check: dict[str, Any]) -> str:
    return f" by {check['route']}" if check.get("route") else ""


def _by_route(routes: dict[str, Any]) -> list[str]:
    """What is measured of the routes beside Tunesmith's own, whose figures are the first ones."""
    further = [route for name, route in routes.items() if name != "tunesmith" and not route["same_as"]]
    return [
        _figures(f"{who}, by {route['label']}", route[who])
        for route in further
        for who in ("live", "tuned")
        if route[who]
    ]


def _usage(usage: dict[str, Any]) -> list[str]:
    lines = [
        f"- {how['label']}: `{how['url']}`, model `{how['model']}`"
        f"{''.join(f', {key} {value}' for key, value in how['send'].items())}. {how['note']}"
        for how in usage.values()
    ]
    return ["", "## How to ask it", "", *lines] if lines else []
