"""Recipes and their runs: the operations that the API, the agents' tools and the command line share."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tunesmith.datasets.synthetic.options import SyntheticOptions
from tunesmith.errors import BadInput, Conflict, Forbidden, NotFound
from tunesmith.jobs import events, queue
from tunesmith.recipes import changes, claims, datasets, leftovers, models, replacing, stages, synthesis
from tunesmith.recipes.callers import LOCAL, Caller
from tunesmith.recipes.context import target_for
from tunesmith.recipes.schema import DatasetSource, Recipe, Source, TaskSpec
from tunesmith.serving import base_models
from tunesmith.store.artifacts import hint_for_id, new_id
from tunesmith.store.tables import File, Job, RecipeRow, Run, Schedule
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.base import TASKS
from tunesmith.training.backends.base import BACKENDS


def save_recipe(workspace: Workspace, recipe: Recipe, caller: Caller = LOCAL) -> RecipeRow:
    """Create a recipe or replace the one of the same name.

    Raises Forbidden to a caller who may not publish when runs of it would replace what is live, or when a schedule
    runs it that may do so.
    """
    claims.require_gate(recipe, caller)
    claims.require_right(workspace, recipe.model_name, may_replace=caller.may("publish"))
    with workspace.database.write() as session:
        row = session.get(RecipeRow, recipe.name, with_for_update=True) or RecipeRow(name=recipe.name, document={})
        if not caller.may("publish"):
            _require_no_stronger_schedule(session, recipe.name)
        row.document, row.updated_at = recipe.document(), time.time()
        session.add(row)
        return row


def _require_no_stronger_schedule(session: Session, recipe: str) -> None:
    runs_it = select(Schedule.name).where(Schedule.recipe == recipe, Schedule.may_replace).order_by(Schedule.name)
    if name := session.scalars(runs_it).first():
        raise Forbidden(
            f"The schedule {name} runs {recipe} with the right to publish, which this key lacks.",
            code="recipe_is_scheduled",
            hint="Save it under another name, or use a key with the scope publish or admin.",
        )


def get_recipe(workspace: Workspace, name: str) -> RecipeRow:
    with workspace.database.read() as session:
        row = session.get(RecipeRow, name)
        known = list(session.scalars(select(RecipeRow.name).order_by(RecipeRow.name)))
    if row is None:
        raise NotFound(f"There is no recipe {name!r}.", hint=f"Recipes: {', '.join(known) or 'none yet'}.")
    return row


def list_recipes(workspace: Workspace) -> list[RecipeRow]:
    with workspace.database.read() as session:
        return list(session.scalars(select(RecipeRow).order_by(RecipeRow.name)))


def create_run(
    workspace: Workspace,
    recipe: Recipe,
    *,
    request: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
    run_id: str | None = None,
    until: str = "publish",
    may_replace: bool = True,
) -> Run:
    """Check the recipe against what is here and enqueue its stages, the last of which is `until`.

    `request`: what a call sent that is no run of a saved recipe. The same `idempotency_key` gives the run that it made
    before: see `Caller.once`. `may_replace`: whoever asks may publish, so the run may replace a live version.
    """
    wanted = stages.up_to(until)
    if idempotency_key and (known := _made_before(workspace, idempotency_key, recipe, request, len(wanted))):
        return known
    check_recipe(workspace, recipe)
    if "publish" in wanted:
        claims.require(workspace, recipe, may_replace=may_replace)
        replacing.check(workspace, recipe)
    run = Run(
        id=run_id or new_id("run"),
        recipe_name=None if request else recipe.name,
        recipe=recipe.document(),
        request=request or {},
        model_name=recipe.model_name,
        idempotency_key=idempotency_key,
        may_replace=may_replace,
    )
    try:
        with workspace.database.write() as session:
            session.add(run)
            session.flush()
            queue.enqueue(session, run.id, [queue.Step(kind, _lane(workspace, kind)) for kind in wanted])
    except IntegrityError:  # the same request, sent twice at once
        known = _made_before(workspace, idempotency_key or "", recipe, request, len(wanted))
        if known is None:
            raise
        return known
    events.append(workspace.database, run.id, f"Run of {recipe.name} created.")
    return run


def _lane(workspace: Workspace, kind: str) -> str:
    return workspace.settings.train_lane if kind in stages.HEAVY else "default"


def synthesize_dataset(
    workspace: Workspace,
    name: str,
    synthetic: SyntheticOptions,
    *,
    task: TaskSpec | None = None,
    base_model: str | None = None,
    idempotency_key: str | None = None,
    unlimited: bool = True,
) -> Run:
    """Start a run that makes the next version of the dataset `name` and trains nothing: its rows, in the splits that
    they are in, and synthetic ones beside the training rows; synthetic ones alone when there is no such dataset yet.
    `unlimited`: see `synthesis.within_budget`.

    Raises BadInput, NotFound, Forbidden.
    """
    datasets.check_name(name)
    known = synthetic.like == "dataset" or datasets.folders(workspace, name)
    sources = [Source(dataset=DatasetSource(name=name, version=None))] if known else []
    given: dict[str, Any] = {"base_model": base_model} if base_model else {}
    try:
        recipe = Recipe(name=name, task=task or TaskSpec(), sources=[*sources, Source(synthetic=synthetic)], **given)
    except ValidationError as error:
        hint = "Use like: dataset, schema or tools; other sources are a recipe's."
        raise BadInput(error.errors()[0]["msg"], hint=hint, param="synthetic.like") from error
    recipe = synthesis.within_budget(workspace.settings, recipe, unlimited=unlimited)
    request = {"synthesize_dataset": recipe.document()}
    return create_run(workspace, recipe, request=request, idempotency_key=idempotency_key, until="build")


def check_recipe(workspace: Workspace, recipe: Recipe) -> None:
    """Everything that can be known to be wrong before any work is done."""
    if recipe.task.type:
        TASKS.get(recipe.task.type)
    if recipe.training.backend != "auto":
        BACKENDS.get(recipe.training.backend)
    if recipe.training.method != "lora":
        raise BadInput(
            f"The method {recipe.training.method} is not available yet.", hint="Use method lora.", param="method"
        )
    target_for(workspace.settings, recipe.publish.target)
    base_models.require(recipe.base_model, workspace.settings)
    synthesis.check(workspace.settings, recipe)
    for source in recipe.sources:
        if (source.paperless or source.corrections) and not workspace.settings.paperless_url:
            raise BadInput(
                "The recipe reads from Paperless, but no Paperless is configured.",
                hint="Set TUNESMITH_PAPERLESS_URL and TUNESMITH_PAPERLESS_TOKEN.",
            )
        if source.dataset:
            datasets.get_version(workspace, source.dataset.name, source.dataset.version)
        file_id = source.file or (source.documents.file if source.documents else None)
        if file_id:
            require_file(workspace, file_id)
    hard, mix = recipe.dataset.hard_negatives, recipe.dataset.mix
    if hard and hard.model not in ("live", "base"):
        models.find(workspace, hard.model)
    if mix and mix.dataset:
        datasets.get_version(workspace, mix.dataset, mix.version)
    elif mix and mix.file:
        require_file(workspace, mix.file, "dataset.mix.file")


def require_file(workspace: Workspace, file_id: str, param: str = "file") -> File:
    with workspace.database.read() as session:
        file = session.get(File, file_id)
    if file is None:
        hint = "Upload it to /v1/files first."
        raise NotFound(f"There is no file {file_id!r}.", hint=hint_for_id(file_id, "file", hint), param=param)
    return file


def source_path(workspace: Workspace, file_id: str) -> Path:
    """Where an uploaded file lies. Raises NotFound."""
    return workspace.artifacts.file(require_file(workspace, file_id).id)


def get_run(workspace: Workspace, run_id: str) -> Run:
    with workspace.database.read() as session:
        run = session.get(Run, run_id)
    if run is None:
        hint = hint_for_id(run_id, "run", "List the runs to see what is there.")
        raise NotFound(f"There is no run {run_id!r}.", hint=hint)
    return run


def list_runs(
    workspace: Workspace,
    *,
    limit: int = 20,
    after: str | None = None,
    recipe: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> list[Run]:
    """Newest first; `after` is the id of the last run of the page before, `metadata` what a job's must have."""
    query = select(Run).order_by(Run.created_at.desc(), Run.id.desc()).limit(limit)
    if recipe:
        query = query.where(Run.recipe_name == recipe)
    for key, value in (metadata or {}).items():
        query = query.where(Run.request[("metadata", key)].as_string() == value)
    with workspace.database.read() as session:
        if after:
            last = session.get(Run, after)
            if last is None:
                raise NotFound(f"There is no run {after!r}.", param="after")
            query = query.where(tuple_(Run.created_at, Run.id) < tuple_(last.created_at, last.id))
        return list(session.scalars(query))


def resume(workspace: Workspace, run_id: str, caller: Caller = LOCAL) -> Run:
    """Go on with a paused or failed run. What was finished is kept, except what is not true any more: a candidate that
    was taken away is exported again, and one that was measured against another version than the live one is measured
    again. Raises Conflict, and Forbidden to a caller who may not replace what it would replace."""
    run = get_run(workspace, run_id)
    if any(job.kind == "publish" for job in queue.jobs_of(workspace.database, run_id)):
        claims.require_right(workspace, run.model_name, may_replace=caller.may("publish"))
    with changes.alone(workspace, run.model_name):
        again = _to_do_again(workspace, run)
        for job in again:
            (workspace.artifacts.job(job.id) / "outcome.json").unlink(missing_ok=True)
        with workspace.database.write() as session:
            session.get_one(Run, run.id).tidied = False
        queue.resume(workspace.database, run.id, [job.id for job in again])
    return run


def _to_do_again(workspace: Workspace, run: Run) -> list[Job]:
    jobs = {job.kind: job for job in queue.jobs_of(workspace.database, run.id)}
    if queue.status_of(list(jobs.values())) != "failed":
        return []
    done = {kind: job for kind, job in jobs.items() if job.status == "succeeded" and job.outcome is not None}
    export, evaluate = done.get("export"), done.get("evaluate")
    if export is not None and leftovers.gone(workspace, export):
        return [export, evaluate] if evaluate is not None else [export]
    live = models.live_version(workspace, run.model_name)
    measured = evaluate is not None and (evaluate.outcome or {}).get("replaces") == (live.version if live else None)
    return [evaluate] if evaluate is not None and not measured else []


def status(workspace: Workspace, run_id: str) -> str:
    return queue.status_of(queue.jobs_of(workspace.database, run_id))


def run_ended(workspace: Workspace, run_id: str) -> bool:
    """True once nothing happens any more without somebody asking for it."""
    return status(workspace, run_id) in queue.ENDED | {"paused"}


def first_error(jobs: Sequence[Job]) -> dict[str, Any] | None:
    return next((job.error for job in jobs if job.error and job.status in ("failed", "paused")), None)


def find_by_key(workspace: Workspace, key: str) -> Run | None:
    """The run that was created with this Idempotency-Key."""
    with workspace.database.read() as session:
        return session.scalars(select(Run).where(Run.idempotency_key == key)).first()


def _made_before(
    workspace: Workspace, key: str, recipe: Recipe, request: dict[str, Any] | None, count: int
) -> Run | None:
    """As `find_by_key`. Raises Conflict when the key stood for another request, or one of another `count` of stages."""
    known = find_by_key(workspace, key)
    if known is None:
        return None
    other = known.request != request if request else known.recipe != recipe.document()
    if other or len(queue.jobs_of(workspace.database, known.id)) != count:
        raise Conflict("This Idempotency-Key was used for another request.", hint="Use a new key for a new request.")
    return known
