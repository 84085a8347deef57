"""`tunesmith jobs`, `tunesmith models` and `tunesmith keys`: look at the data folder and act on it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tunesmith.errors import BadInput

jobs = typer.Typer(help="Runs and their stages.", no_args_is_help=True)
models = typer.Typer(help="Published models and their versions.", no_args_is_help=True)
keys = typer.Typer(help="API keys.", no_args_is_help=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def open_workspace() -> Any:
    from tunesmith.store.workspace import Workspace

    return Workspace.open()


def print_rows(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False, default=str))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    Console().print(table)


def _run_id(given: str) -> str:
    return f"run-{given.removeprefix('ftjob-')}" if given.startswith("ftjob-") else given


@jobs.command("list")
def list_jobs(limit: int = 20, as_json: JsonFlag = False) -> None:
    """Runs, newest first."""
    from tunesmith.recipes import runs, views

    workspace = open_workspace()
    rows = [views.run(workspace, run) for run in runs.list_runs(workspace, limit=limit)]
    for row in rows:
        row["stage"] = next((s["stage"] for s in row["stages"] if s["status"] != "succeeded"), "done")
    print_rows(rows, ("id", "recipe", "status", "stage", "model"), as_json)


@jobs.command("show")
def show_job(run_id: str) -> None:
    """One run, whole, as JSON."""
    from tunesmith.recipes import runs, views

    workspace = open_workspace()
    print(json.dumps(views.run(workspace, runs.get_run(workspace, _run_id(run_id))), indent=2, ensure_ascii=False))


@jobs.command("log")
def show_log(run_id: str, stage: str) -> None:
    """What the process of a stage printed."""
    from tunesmith.recipes import runs, views

    workspace = open_workspace()
    print(views.stage_log(workspace, runs.get_run(workspace, _run_id(run_id)), stage))


def _act(verb: str, run_id: str) -> None:
    from tunesmith.jobs import queue
    from tunesmith.recipes import runs

    workspace = open_workspace()
    run = runs.get_run(workspace, _run_id(run_id))
    act = {"cancel": queue.cancel, "pause": queue.pause}.get(verb)
    if act is None:
        runs.resume(workspace, run.id)
    else:
        act(workspace.database, run.id)
    print(f"{run.id}: {runs.status(workspace, run.id)}")


@jobs.command()
def cancel(run_id: str) -> None:
    """Cancel a run for good."""
    _act("cancel", run_id)


@jobs.command()
def pause(run_id: str) -> None:
    """Save a checkpoint and stop."""
    _act("pause", run_id)


@jobs.command()
def resume(run_id: str) -> None:
    """Go on with a paused or failed run. A running service (or `tunesmith worker`) does the work."""
    _act("resume", run_id)


@models.command("list")
def list_models(as_json: JsonFlag = False) -> None:
    """Live models."""
    from tunesmith.recipes import models as service

    rows = [service.view(version, live=True) for _, version in service.list_models(open_workspace())]
    print_rows(rows, ("name", "version", "target", "base_model", "task"), as_json)


@models.command()
def versions(name: str, as_json: JsonFlag = False) -> None:
    """All versions of a model, newest first."""
    from tunesmith.recipes import models as service

    workspace = open_workspace()
    live = service.find(workspace, name).version
    rows = [service.view(row, live=row.version == live) for row in service.list_versions(workspace, name)]
    print_rows(rows, ("name", "version", "live", "target", "run_id"), as_json)


def _say(name: str, change: Any) -> None:
    print(f"{name}:{change.version} is live.")
    for warning in change.warnings:
        Console(stderr=True).print(warning, style="yellow", markup=False)


@models.command()
def rollback(name: str) -> None:
    """Put the version before the live one live again."""
    from tunesmith.recipes import models as service

    _say(name, service.roll_back(open_workspace(), name))


@models.command()
def publish(name: str, version: str) -> None:
    """Put a version of a model live."""
    from tunesmith.recipes import models as service

    _say(name, service.make_live(open_workspace(), name, version))


@models.command()
def remove(name: str) -> None:
    """Take a model away with all its versions, or one that is not live (name:version)."""
    from tunesmith.recipes import models as service

    service.remove(open_workspace(), name)
    print(f"{name} is removed.")


@models.command()
def download(
    name: Annotated[str, typer.Argument(help="A model, or model:version.")],
    artifact: Annotated[str, typer.Argument(help="adapter, gguf, card or report.")],
    output: Annotated[Path, typer.Option(help="A folder or a file name.")] = Path(),
) -> None:
    """Copy a file of a version: the adapter as a ZIP, the GGUF, the card or the report."""
    from tunesmith.recipes import artifacts as service

    print(service.save(open_workspace(), name, artifact, output))


@models.command()
def bases() -> None:
    """Base models that can be tuned here."""
    from tunesmith.serving import base_models

    for name in base_models.list_base_models(open_workspace().settings):
        print(name)


@keys.command()
def create(name: str, scope: Annotated[list[str], typer.Option(help="read, train, publish or admin.")]) -> None:
    """Make a key and show it, once."""
    from tunesmith.api import keys as service

    unknown = set(scope) - set(service.SCOPES)
    if unknown:
        raise BadInput(f"Unknown scope {', '.join(unknown)}.", hint=f"Scopes: {', '.join(service.SCOPES)}.")
    print(service.create_key(open_workspace(), name, scope))


@keys.command("list")
def list_keys(as_json: JsonFlag = False) -> None:
    """Keys and what they may do; the keys themselves are not kept."""
    from tunesmith.api import keys as service

    rows = [{"id": key.id, "name": key.name, "scopes": key.scopes} for key in service.list_keys(open_workspace())]
    print_rows(rows, ("id", "name", "scopes"), as_json)


@keys.command("remove")
def remove_key(key_id: str) -> None:
    """Take a key away, at once."""
    from tunesmith.api import keys as service

    service.remove_key(open_workspace(), key_id)
    print(f"{key_id} is removed.")
