"""`tunesmith run`: a recipe from a file, followed to its end, with the table of what was measured."""

import json
import time
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from sqlalchemy import select

from tunesmith.cli.serve import worker_command
from tunesmith.cli.tables import evaluation_table, usage_lines
from tunesmith.errors import BadInput
from tunesmith.jobs import events, queue
from tunesmith.jobs.process import spawn
from tunesmith.recipes import files, runs, views
from tunesmith.recipes.schema import Recipe
from tunesmith.store.artifacts import sha256_of
from tunesmith.store.tables import Event, File, Run
from tunesmith.store.workspace import Workspace

QUIET_STEP_S = 10.0  # without a terminal, training progress is printed this often


def run_file(path: Path, *, json_output: bool = False, until: str = "publish") -> int:
    """Exit status: 0 when all has succeeded (the model is live), 1 otherwise."""
    workspace = Workspace.open()
    recipe = load(workspace, path)
    runs.save_recipe(workspace, recipe)
    return follow_run(workspace, runs.create_run(workspace, recipe, until=until), json_output=json_output)


def follow_run(workspace: Workspace, run: Run, *, json_output: bool = False) -> int:
    """Work until the run has ended, and say what it says. Exit status: 0 when it succeeded."""
    console = _console(json_output)
    console.print(f"[bold]{run.recipe['name']}[/]: {run.id}")
    worker = spawn(worker_command(), log=workspace.settings.home / "worker.log")  # waits while another one works
    try:
        _follow(console, workspace, run.id)
    except KeyboardInterrupt:
        queue.pause(workspace.database, run.id)
        console.print(f"Pausing. Go on with: tunesmith jobs resume {run.id}")
        while runs.status(workspace, run.id) == "paused" and _still_running(workspace, run.id):
            time.sleep(0.2)
    finally:
        worker.end(grace=15)
    view = views.run(workspace, run)
    if json_output:
        print(json.dumps(view, indent=2, ensure_ascii=False))
    if view["report"]:
        console.print(evaluation_table(view["report"]))
    published = [stage["outcome"] or {} for stage in view["stages"] if stage["stage"] == "publish"]
    for line in (line for outcome in published for line in usage_lines(outcome.get("usage") or {})):
        console.print(line, highlight=False, soft_wrap=True)
    if view["error"]:
        console.print(f"[red]{view['error']['message']}[/] {view['error'].get('hint') or ''}")
    return 0 if view["status"] == "succeeded" else 1


def _console(json_output: bool) -> Console:
    console = Console(stderr=json_output)
    if not console.is_terminal:
        console.width = 120  # a log file takes the whole table
    return console


def load(workspace: Workspace, path: Path) -> Recipe:
    """Read a recipe; files that it names by a path (relative to the recipe) are uploaded, once."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        known = document if isinstance(document, dict) else {}
        options = known.get("dataset")
        for source in (*known.get("sources", []), options.get("mix") if isinstance(options, dict) else None):
            _upload(workspace, path.parent, source)
            read_tools(path.parent, source)
        _read_prompt(path.parent, document)
        return Recipe.model_validate(document)
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is not YAML: {error}", hint="Check the indentation near that line.") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadInput(f"{path} is not a recipe: {problems}", hint="See the README for every key.") from error


def read_tools(folder: Path, source: Any) -> None:
    """`tools_file` of a synthetic source, relative to the recipe, becomes its `tools`."""
    options = source.get("synthetic") if isinstance(source, dict) else None
    if not isinstance(options, dict) or "tools_file" not in options:
        return
    name = options.pop("tools_file")
    try:
        options["tools"] = yaml.safe_load((folder / str(name)).read_text(encoding="utf-8"))  # JSON is YAML, too
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"The file of tools {name} cannot be read: {error}.", param="tools_file") from error


def _read_prompt(folder: Path, document: Any) -> None:
    """`prompt_file` of the task, relative to the recipe, becomes its `prompt`."""
    task = document.get("task") if isinstance(document, dict) else None
    if not isinstance(task, dict) or "prompt_file" not in task:
        return
    name = task.pop("prompt_file")
    try:
        task["prompt"] = (folder / str(name)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"The prompt file {name} cannot be read: {error}.", param="task.prompt_file") from error


def _upload(workspace: Workspace, folder: Path, source: Any) -> None:
    if not isinstance(source, dict):
        return
    if isinstance(source.get("documents"), str):
        source["documents"] = {"file": source["documents"]}
    holder, purpose = (source["documents"], "documents") if "documents" in source else (source, "fine-tune")
    name = holder.get("file")
    if isinstance(name, str) and (path := folder / name).is_file():
        holder["file"] = _stored(workspace, path, purpose).id


def _stored(workspace: Workspace, path: Path, purpose: str) -> File:
    with path.open("rb") as content:
        digest = sha256_of(iter(lambda: content.read(2**20), b""))
    with workspace.database.read() as session:
        known = session.scalars(select(File).where(File.sha256 == digest, File.purpose == purpose)).first()
    if known:
        return known
    with path.open("rb") as content:
        return files.add_file(workspace, path.name, purpose, iter(lambda: content.read(2**20), b""))


def _still_running(workspace: Workspace, run_id: str) -> bool:
    return any(job.status == "running" for job in queue.jobs_of(workspace.database, run_id))


def _follow(console: Console, workspace: Workspace, run_id: str) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        display = _Display(console, bar)
        for event in events.follow(workspace.database, run_id, lambda: runs.run_ended(workspace, run_id)):
            if event is not None:
                display.show(event)


class _Display:
    """A moving bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, bar: Progress):
        self._console, self._bar = console, bar
        self._task: TaskID | None = None
        self._start, self._last = time.monotonic(), 0.0

    def show(self, event: Event) -> None:
        if event.type == "metrics":
            self._progress(event)
            return
        colour = {"warn": "yellow", "error": "red"}.get(event.level, "white")
        self._console.print(f"[dim]{self._clock()}[/] [{colour}]{event.message}[/]", highlight=False)

    def _progress(self, event: Event) -> None:
        step, total = event.data["step"], event.data["total_steps"]
        if self._console.is_terminal:
            if self._task is None:
                self._task = self._bar.add_task("train", total=total, note="")
            self._bar.update(self._task, completed=step, total=total, note=event.message)
        elif time.monotonic() - self._last > QUIET_STEP_S or step == total:
            self._last = time.monotonic()
            self._console.print(f"{self._clock()} {event.message}", highlight=False)

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._start)
        return f"{seconds // 60:02d}:{seconds % 60:02d}"
