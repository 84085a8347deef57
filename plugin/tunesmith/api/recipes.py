"""`/v1/recipes` and `/v1/runs`."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from tunesmith.api.dependencies import CallerDep, CanRead, CanTrain, IdempotencyKey, WorkspaceDep
from tunesmith.api.routing import SafeRoute
from tunesmith.api.schemas import Open, Page, page
from tunesmith.api.streams import STREAMS, stream_events, wait_for_end, wants_stream
from tunesmith.jobs import events, queue
from tunesmith.json_safely import MAX_INTEGER
from tunesmith.recipes import runs, stages, synthesis, views
from tunesmith.recipes.schema import Recipe
from tunesmith.store.workspace import Workspace

router = APIRouter(prefix="/v1", route_class=SafeRoute)


class RecipeObject(BaseModel):
    name: str
    document: dict[str, Any]
    created_at: int
    updated_at: int


class RecipeList(BaseModel):
    data: list[RecipeObject]


class RunObject(Open):
    """A run: its status, its stages with what each left, and the error of the stage that failed."""

    id: str
    recipe: str
    model: str
    status: str
    created_at: int
    stages: list[dict[str, Any]]
    error: dict[str, Any] | None = None
    report: dict[str, Any] | None = None


class RunEventObject(BaseModel):
    id: int
    created_at: float
    type: str
    level: str
    message: str
    data: dict[str, Any]


class RunEventList(BaseModel):
    data: list[RunEventObject]


@router.post(
    "/recipes", operation_id="save_recipe", dependencies=[CanTrain], response_model=RecipeObject, tags=["recipes"]
)
def save_recipe(workspace: WorkspaceDep, caller: CallerDep, recipe: Recipe) -> Any:
    """Create a recipe, or replace the one of the same name. One that may replace a live model needs a key with the
    scope publish."""
    recipe = synthesis.within_budget(workspace.settings, recipe, unlimited=caller.may("admin"))
    return views.recipe(runs.save_recipe(workspace, recipe, caller))


@router.get(
    "/recipes", operation_id="list_recipes", dependencies=[CanRead], response_model=RecipeList, tags=["recipes"]
)
def list_recipes(workspace: WorkspaceDep) -> Any:
    """Saved recipes, by name."""
    return {"data": [views.recipe(row) for row in runs.list_recipes(workspace)]}


@router.get(
    "/recipes/{name}", operation_id="get_recipe", dependencies=[CanRead], response_model=RecipeObject, tags=["recipes"]
)
def get_recipe(workspace: WorkspaceDep, name: str) -> Any:
    """A saved recipe: what differs from the defaults."""
    return views.recipe(runs.get_recipe(workspace, name))


@router.post(
    "/recipes/{name}/runs", operation_id="run_recipe", dependencies=[CanTrain], response_model=RunObject, tags=["runs"]
)
def run_recipe(
    workspace: WorkspaceDep,
    caller: CallerDep,
    name: str,
    idempotency_key: IdempotencyKey = None,
    until: Annotated[
        stages.Stage,
        Query(description="The last stage: `build` makes the dataset only, `evaluate` measures and publishes nothing."),
    ] = "publish",
) -> Any:
    """Run a saved recipe. Returns at once; follow the run's events or wait for it. Replacing a live model needs a key
    with the scope publish."""
    recipe = Recipe.model_validate(runs.get_recipe(workspace, name).document)
    recipe = synthesis.within_budget(workspace.settings, recipe, unlimited=caller.may("admin"))
    run = runs.create_run(
        workspace,
        recipe,
        idempotency_key=caller.once("run_recipe", idempotency_key),
        until=until,
        may_replace=caller.may("publish"),
    )
    return views.run(workspace, run)


@router.get("/runs", operation_id="list_runs", dependencies=[CanRead], response_model=Page[RunObject], tags=["runs"])
def list_runs(
    workspace: WorkspaceDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    after: str | None = None,
    recipe: str | None = None,
) -> Any:
    """Runs, newest first; those of one recipe with `recipe`."""
    found = runs.list_runs(workspace, limit=limit + 1, after=after, recipe=recipe)
    return page([views.run(workspace, run) for run in found], limit)


@router.get("/runs/{run_id}", operation_id="get_run", dependencies=[CanRead], response_model=RunObject, tags=["runs"])
def get_run(workspace: WorkspaceDep, run_id: str) -> Any:
    """A run: its status, its stages, its error, and the report of what was measured."""
    return views.run(workspace, runs.get_run(workspace, run_id))


@router.get(
    "/runs/{run_id}/wait", operation_id="wait_for_run", dependencies=[CanRead], response_model=RunObject, tags=["runs"]
)
async def wait_for_run(workspace: WorkspaceDep, run_id: str, seconds: Annotated[float, Query(ge=0, le=60)] = 30) -> Any:
    """Answers when the run has ended, or after `seconds` with where it is."""
    run = await run_in_threadpool(runs.get_run, workspace, run_id)
    await wait_for_end(workspace, run_id, seconds)
    return await run_in_threadpool(views.run, workspace, run)


@router.get(
    "/runs/{run_id}/events",
    operation_id="list_run_events",
    dependencies=[CanRead],
    response_model=RunEventList,
    responses=STREAMS,
    tags=["runs"],
)
def list_run_events(
    workspace: WorkspaceDep,
    request: Request,
    run_id: str,
    after: Annotated[int, Query(ge=0, le=MAX_INTEGER)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    stream: bool = False,
) -> Any:
    """Oldest first; with `stream=true` (or Accept: text/event-stream) as server-sent events."""
    if wants_stream(request, stream):
        return stream_events(workspace, request, runs.get_run(workspace, run_id).id, views.event)
    return event_page(workspace, run_id, after, limit)


def event_page(workspace: Workspace, run_id: str, after: int, limit: int) -> dict[str, Any]:
    run = runs.get_run(workspace, run_id)
    return {"data": [views.event(event) for event in events.read(workspace.database, run.id, after=after, limit=limit)]}


@router.get(
    "/runs/{run_id}/stages/{stage}/log",
    operation_id="get_stage_log",
    dependencies=[CanRead],
    response_class=PlainTextResponse,
    tags=["runs"],
)
def get_stage_log(workspace: WorkspaceDep, run_id: str, stage: str) -> str:
    """The end of what the stage's process printed."""
    return views.stage_log(workspace, runs.get_run(workspace, run_id), stage)


@router.post(
    "/runs/{run_id}/cancel", operation_id="cancel_run", dependencies=[CanTrain], response_model=RunObject, tags=["runs"]
)
def cancel_run(workspace: WorkspaceDep, run_id: str) -> Any:
    """Stop a run for good. What is live stays live."""
    run = runs.get_run(workspace, run_id)
    queue.cancel(workspace.database, run.id)
    return views.run(workspace, run)


@router.post(
    "/runs/{run_id}/pause", operation_id="pause_run", dependencies=[CanTrain], response_model=RunObject, tags=["runs"]
)
def pause_run(workspace: WorkspaceDep, run_id: str) -> Any:
    """Save a checkpoint and stop. Nothing is lost; the machine is free."""
    run = runs.get_run(workspace, run_id)
    queue.pause(workspace.database, run.id)
    return views.run(workspace, run)


@router.post(
    "/runs/{run_id}/resume", operation_id="resume_run", dependencies=[CanTrain], response_model=RunObject, tags=["runs"]
)
def resume_run(workspace: WorkspaceDep, caller: CallerDep, run_id: str) -> Any:
    """Go on with a paused or failed run: finished stages are kept, the stuck one is done again."""
    return views.run(workspace, runs.resume(workspace, run_id, caller))
