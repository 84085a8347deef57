"""Recipes, runs and events as callers see them."""

from typing import Any

from tunesmith.errors import NotFound
from tunesmith.jobs import queue
from tunesmith.recipes import runs, stages
from tunesmith.store.tables import Event, Job, RecipeRow, Run
from tunesmith.store.workspace import Workspace

LOG_TAIL_BYTES = 64 * 1024


def recipe(row: RecipeRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "document": row.document,
        "created_at": int(row.created_at),
        "updated_at": int(row.updated_at),
    }


def run(workspace: Workspace, row: Run) -> dict[str, Any]:
    jobs = queue.jobs_of(workspace.database, row.id)
    status = queue.status_of(jobs)
    return {
        "id": row.id,
        "recipe": row.recipe["name"],
        "model": row.model_name,
        "status": status,
        "created_at": int(row.created_at),
        "stages": [stage(job) for job in jobs],
        "error": runs.first_error(jobs) if status in ("failed", "paused") else None,
        "report": next((job.outcome for job in jobs if job.kind == "evaluate" and job.outcome), None),
    }


def stage(job: Job) -> dict[str, Any]:
    return {
        "stage": job.kind,
        "job_id": job.id,
        "status": job.status,
        "attempts": job.attempts,
        "started_at": int(job.started_at) if job.started_at else None,
        "finished_at": int(job.finished_at) if job.finished_at else None,
        "error": job.error,
        "outcome": job.outcome,
    }


def event(row: Event) -> dict[str, Any]:
    return {
        "id": row.id,
        "created_at": row.created_at,
        "type": row.type,
        "level": row.level,
        "message": row.message,
        "data": row.data,
    }


def stage_log(workspace: Workspace, row: Run, stage_name: str) -> str:
    """The last 64 KiB that the stage's processes printed. Raises NotFound."""
    job = next((job for job in queue.jobs_of(workspace.database, row.id) if job.kind == stage_name), None)
    if job is None:
        raise NotFound(f"A run has no stage {stage_name!r}.", hint=f"Stages: {', '.join(stages.ORDER)}.")
    path = workspace.artifacts.job(job.id) / "log.txt"
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
        return log.read().decode(errors="replace")
