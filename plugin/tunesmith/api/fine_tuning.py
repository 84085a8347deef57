"""`/v1/fine_tuning/jobs`, as OpenAI's SDKs call it."""

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from tunesmith.api.dependencies import CallerDep, CanRead, CanTrain, IdempotencyKey, WorkspaceDep
from tunesmith.api.problems import OPENAI
from tunesmith.api.routing import SafeRoute
from tunesmith.api.schemas import Open, Page, page
from tunesmith.api.streams import STREAMS, event_number, stream_events, wants_stream
from tunesmith.errors import NotFound
from tunesmith.jobs import events, queue
from tunesmith.recipes import fine_tuning, runs
from tunesmith.typed import Typed

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=[OPENAI], route_class=SafeRoute)

Auto = Literal["auto"]


class Hyperparameters(Typed):
    """Whatever is "auto" is chosen from the data and the machine; the job then shows what was chosen."""

    model_config = ConfigDict(extra="forbid")

    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] | None = None
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] | None = None
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=100)] | None = None
    beta: Auto | float | None = Field(None, description="For the method dpo.")


class MethodSettings(BaseModel):
    hyperparameters: Hyperparameters | None = None


class Method(BaseModel):
    type: Literal["supervised", "dpo", "reinforcement"] = "supervised"
    supervised: MethodSettings | None = None
    dpo: MethodSettings | None = None
    reinforcement: dict[str, Any] | None = None


class CreateJob(Typed):
    """Fields that OpenAI has and a local service cannot honour (integrations) are accepted and ignored."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [{"model": "smollm2-135m-instruct", "training_file": "file-0123456789ab", "suffix": "receipts"}]
        },
    )

    model: str = Field(description="A base model: its packaged id, a folder of TUNESMITH_MODELS, or a hub id.")
    training_file: str = Field(description="Id of an uploaded file.")
    validation_file: str | None = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    suffix: Annotated[str, Field(max_length=64)] | None = Field(None, description="Part of the new model's name.")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: dict[str, str] | None = None


class JobObject(Open):
    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    model: str
    status: str
    created_at: int
    finished_at: int | None = None
    fine_tuned_model: str | None = None
    training_file: str
    validation_file: str | None = None
    trained_tokens: int | None = None
    estimated_finish: int | None = None


class EventObject(Open):
    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: str
    message: str
    type: str
    data: dict[str, Any] | None = None


class CheckpointObject(Open):
    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuning_job_id: str
    step_number: int


_METADATA = re.compile(r"metadata\[.+\]")
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.post("", operation_id="create_fine_tuning_job", dependencies=[CanTrain], response_model=JobObject)
def create_job(
    workspace: WorkspaceDep,
    caller: CallerDep,
    body: CreateJob,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Fine-tune a model on an uploaded file. Returns at once; follow the events."""
    request = body.model_dump(mode="json", exclude_none=True)
    key = caller.once("create_fine_tuning_job", idempotency_key)
    run = fine_tuning.create(workspace, request, key, may_replace=caller.may("publish"))
    return fine_tuning.view(workspace, run)


@router.get("", operation_id="list_fine_tuning_jobs", dependencies=[CanRead], response_model=Page[JobObject])
def list_jobs(workspace: WorkspaceDep, request: Request, limit: Limit = 20, after: str | None = None) -> Any:
    """Runs as OpenAI's fine-tuning jobs, newest first; with `metadata[key]=value` only those that carry it."""
    last = fine_tuning.find(workspace, after).id if after else None
    wanted = {key[9:-1]: value for key, value in request.query_params.items() if _METADATA.fullmatch(key)}
    found = runs.list_runs(workspace, limit=limit + 1, after=last, metadata=wanted)
    return page([fine_tuning.view(workspace, run) for run in found], limit)


@router.get("/{job_id}", operation_id="get_fine_tuning_job", dependencies=[CanRead], response_model=JobObject)
def get_job(workspace: WorkspaceDep, job_id: str) -> Any:
    """A job as OpenAI's SDKs read it; `run_id` leads to its stages and report."""
    return fine_tuning.view(workspace, fine_tuning.find(workspace, job_id))


@router.post(
    "/{job_id}/cancel", operation_id="cancel_fine_tuning_job", dependencies=[CanTrain], response_model=JobObject
)
def cancel_job(workspace: WorkspaceDep, job_id: str) -> Any:
    """Stop a job for good. What is live stays live."""
    run = fine_tuning.find(workspace, job_id)
    queue.cancel(workspace.database, run.id)
    return fine_tuning.view(workspace, run)


@router.post("/{job_id}/pause", operation_id="pause_fine_tuning_job", dependencies=[CanTrain], response_model=JobObject)
def pause_job(workspace: WorkspaceDep, job_id: str) -> Any:
    """Save a checkpoint and stop. Nothing is lost; the machine is free."""
    run = fine_tuning.find(workspace, job_id)
    queue.pause(workspace.database, run.id)
    return fine_tuning.view(workspace, run)


@router.post(
    "/{job_id}/resume", operation_id="resume_fine_tuning_job", dependencies=[CanTrain], response_model=JobObject
)
def resume_job(workspace: WorkspaceDep, caller: CallerDep, job_id: str) -> Any:
    """Go on with a paused or failed job, from its last checkpoint."""
    return fine_tuning.view(workspace, runs.resume(workspace, fine_tuning.find(workspace, job_id).id, caller))


@router.get(
    "/{job_id}/events",
    operation_id="list_fine_tuning_events",
    dependencies=[CanRead],
    response_model=Page[EventObject],
    responses=STREAMS,
)
def list_events(
    workspace: WorkspaceDep,
    request: Request,
    job_id: str,
    limit: Limit = 20,
    after: str | None = None,
    stream: bool = False,
) -> Any:
    """Newest first; with `stream=true` (or Accept: text/event-stream) as server-sent events, oldest first."""
    run = fine_tuning.find(workspace, job_id)
    if wants_stream(request, stream):
        response: StreamingResponse = stream_events(workspace, request, run.id, fine_tuning.event_view)
        return response
    before = event_number((after or "0").removeprefix("ftevent-"))
    if before is None:
        raise NotFound(f"There is no event {after!r}.", hint="Send the last_id of the page before.", param="after")
    found = events.read(workspace.database, run.id, after=before, limit=limit + 1, newest_first=True)
    return page([fine_tuning.event_view(event) for event in found], limit)


@router.get(
    "/{job_id}/checkpoints",
    operation_id="list_fine_tuning_checkpoints",
    dependencies=[CanRead],
    response_model=Page[CheckpointObject],
)
def list_checkpoints(workspace: WorkspaceDep, job_id: str, limit: Limit = 10, after: str | None = None) -> Any:
    """Checkpoints that are still on disk, newest first."""
    run = fine_tuning.find(workspace, job_id)
    found = fine_tuning.checkpoints(workspace, run)
    if after:
        ids = [item["id"] for item in found]
        found = found[ids.index(after) + 1 :] if after in ids else []
    return page(found[: limit + 1], limit)
