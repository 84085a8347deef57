"""A bare fine-tuning call is a run of an implicit recipe, and every run can be looked at as a fine-tuning job.

An implicit recipe never replaces a live model: it publishes under a new name `ft-<suffix>-<id>`.
"""

import re
from typing import Any

from tunesmith.errors import BadInput, NotFound
from tunesmith.jobs import events, queue
from tunesmith.recipes import runs
from tunesmith.recipes.schema import Evaluation, Gate, Publish, Recipe, Source, TaskSpec, Training
from tunesmith.serving import base_models
from tunesmith.store.artifacts import hint_for_id, new_id
from tunesmith.store.tables import Event, Job, Run
from tunesmith.store.workspace import Workspace

_HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")


def run_id_of(job_id: str) -> str:
    """`ftjob-x` is `run-x`. Raises NotFound for ids of anything else."""
    if not job_id.startswith("ftjob-"):
        hint = hint_for_id(job_id, "ftjob", "Ids of fine-tuning jobs start with ftjob-.")
        raise NotFound(f"{job_id!r} is not the id of a fine-tuning job.", hint=hint)
    return f"run-{job_id.removeprefix('ftjob-')}"


def find(workspace: Workspace, job_id: str) -> Run:
    """The run behind a fine-tuning job. Raises NotFound."""
    try:
        return runs.get_run(workspace, run_id_of(job_id))
    except NotFound as error:
        if error.message.startswith("There is no run"):
            hint = "List the jobs to see what is there."
            raise NotFound(f"There is no fine-tuning job {job_id!r}.", hint=hint, param="job_id") from error
        raise


def job_id_of(run: Run) -> str:
    return f"ftjob-{run.id.removeprefix('run-')}"


def create(
    workspace: Workspace, request: dict[str, Any], idempotency_key: str | None = None, *, may_replace: bool = True
) -> Run:
    """Start a job as OpenAI's `fine_tuning.jobs.create` describes it. Its model has a new name, so `may_replace` only
    matters when somebody takes that name meanwhile. Raises BadInput, NotFound."""
    method = (request.get("method") or {}).get("type", "supervised")
    if method != "supervised":
        raise BadInput(f"The method {method!r} is not available yet.", hint="Use method supervised.", param="method")
    for name in ("training_file", "validation_file"):
        if request.get(name):
            _require_training_file(workspace, request[name], name)
    try:
        base_models.require(request["model"], workspace.settings)
    except NotFound as error:
        error.param = "model"  # its name here
        raise
    run_id = new_id("run")
    recipe = implicit_recipe(workspace, request, run_id)
    return runs.create_run(
        workspace,
        recipe,
        request=request,
        idempotency_key=idempotency_key,
        run_id=run_id,
        may_replace=may_replace,
    )


def implicit_recipe(workspace: Workspace, request: dict[str, Any], run_id: str) -> Recipe:
    suffix = re.sub(r"[^a-z0-9]+", "-", (request.get("suffix") or "").lower()).strip("-")[:18].strip("-")
    name = "-".join(part for part in ("ft", suffix, run_id.removeprefix("run-")) if part)
    sources = [Source(file=request["training_file"])]
    if request.get("validation_file"):
        sources.append(Source(file=request["validation_file"], validation=True))
    return Recipe(
        name=name,
        task=TaskSpec(),
        sources=sources,
        base_model=request["model"],
        training=Training(hyperparameters=hyperparameters(request)),
        gate=Gate(not_worse_than="none"),
        evaluation=Evaluation(rows=24),
        publish=Publish(name=name),
        seed=request.get("seed") or 0,
    )


def hyperparameters(request: dict[str, Any]) -> dict[str, Any]:
    """Those of the method win over the older top-level ones; what is not named is "auto"."""
    method = request.get("method") or {}
    given = dict(request.get("hyperparameters") or {})
    given.update((method.get(method.get("type", "supervised")) or {}).get("hyperparameters") or {})
    return {name: value for name, value in given.items() if value is not None}


def _require_training_file(workspace: Workspace, file_id: str, param: str) -> None:
    file = runs.require_file(workspace, file_id, param)
    if file.purpose != "fine-tune":
        raise BadInput(
            f"{file_id} was uploaded with the purpose {file.purpose!r}.",
            hint="Upload it again with the purpose fine-tune.",
            param=param,
        )


def view(workspace: Workspace, run: Run) -> dict[str, Any]:
    """The run as OpenAI's `fine_tuning.job` object."""
    jobs = queue.jobs_of(workspace.database, run.id)
    done = {job.kind: job.outcome for job in jobs if job.outcome is not None}
    status = _status(jobs)
    chosen = {**dict.fromkeys(_HYPERPARAMETERS, "auto"), **_of_interest(run), **_of_interest_in_plan(done)}
    error = runs.first_error(jobs) if status in ("failed", "paused") else None
    files = [source["file"] for source in run.recipe["sources"] if "file" in source]
    return {
        "object": "fine_tuning.job",
        "id": job_id_of(run),
        "model": run.recipe.get("base_model", Recipe.model_fields["base_model"].default),
        "created_at": int(run.created_at),
        "finished_at": _finished_at(jobs) if status in queue.ENDED else None,
        "fine_tuned_model": run.model_name if status == "succeeded" and "train" in done else None,
        "organization_id": "org-tunesmith",
        "result_files": [],
        "status": status,
        "validation_file": run.request.get("validation_file"),
        "training_file": run.request.get("training_file") or (files[0] if files else run.id),
        "hyperparameters": chosen,
        "trained_tokens": done["train"].get("trained_tokens") if "train" in done else None,
        "error": {key: error.get(key) for key in ("code", "message", "param")} if error else None,
        "user_provided_suffix": run.request.get("suffix"),
        "seed": run.recipe.get("seed", 0),
        "estimated_finish": None if status in queue.ENDED else estimated_finish(workspace, run),
        "integrations": [],
        "method": {"type": "supervised", "supervised": {"hyperparameters": chosen}},
        "metadata": run.request.get("metadata"),
        "run_id": run.id,
    }


def event_view(event: Event) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent-{event.id}",
        "created_at": int(event.created_at),
        "level": event.level,
        "message": event.message,
        "type": "metrics" if event.type == "metrics" else "message",
        "data": event.data,
    }


def checkpoints(workspace: Workspace, run: Run) -> list[dict[str, Any]]:
    """Checkpoints that are still on disk, newest first."""
    jobs = [job for job in queue.jobs_of(workspace.database, run.id) if job.kind == "train"]
    found = []
    for path in (place for job in jobs for place in workspace.artifacts.job(job.id).glob("checkpoints/checkpoint-*")):
        step = int(path.name.removeprefix("checkpoint-"))
        found.append(
            {
                "object": "fine_tuning.job.checkpoint",
                "id": f"ftckpt-{run.id.removeprefix('run-')}-{step}",
                "created_at": int(path.stat().st_mtime),
                "fine_tuned_model_checkpoint": f"{run.model_name}:ckpt-step-{step}",
                "fine_tuning_job_id": job_id_of(run),
                "step_number": step,
                "metrics": {"step": step, **_metrics_at(workspace, run, step)},
            }
        )
    return sorted(found, key=lambda item: -item["step_number"])


def estimated_finish(workspace: Workspace, run: Run) -> int | None:
    """From the trainer's last word on the time left, while it trains."""
    for event in events.read(workspace.database, run.id, newest_first=True, limit=5):
        if event.type == "metrics" and event.data.get("seconds_left") is not None:
            return int(event.created_at + event.data["seconds_left"])
    return None


def _metrics_at(workspace: Workspace, run: Run, step: int) -> dict[str, Any]:
    for event in events.read(workspace.database, run.id, limit=100_000):
        if event.type == "metrics" and event.data.get("step") == step:
            return {"train_loss": event.data.get("train_loss")}
    return {}


def _status(jobs: list[Job]) -> str:
    status = queue.status_of(jobs)
    if status == "running" and jobs[0].status == "running":
        return "validating_files"
    return status


def _finished_at(jobs: list[Job]) -> int | None:
    ends = [job.finished_at for job in jobs if job.finished_at]
    return int(max(ends)) if ends else None


def _of_interest(run: Run) -> dict[str, Any]:
    given = run.recipe.get("training", {}).get("hyperparameters", {})
    return {name: given[name] for name in _HYPERPARAMETERS if name in given} if isinstance(given, dict) else {}


def _of_interest_in_plan(done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Once trained, "auto" is replaced by what was chosen."""
    chosen: dict[str, Any] = done.get("train", {}).get("hyperparameters", {})
    return {name: chosen[name] for name in _HYPERPARAMETERS if name in chosen}
