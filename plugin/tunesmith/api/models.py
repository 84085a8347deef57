"""`/v1/models`: OpenAI's list, and versions, publishing and rolling back."""

from contextlib import ExitStack
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi import Path as PathParam
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask

from tunesmith.api import downloads
from tunesmith.api.dependencies import CanPublish, CanRead, WorkspaceDep
from tunesmith.api.problems import OPENAI
from tunesmith.api.routing import SafeRoute
from tunesmith.api.schemas import Deleted, Open
from tunesmith.recipes import artifacts, models
from tunesmith.recipes.changes import Change
from tunesmith.serving import base_models
from tunesmith.typed import Typed

openai_router = APIRouter(prefix="/v1/models", tags=[OPENAI], route_class=SafeRoute)

router = APIRouter(prefix="/v1/models", tags=["models"], route_class=SafeRoute)
base_router = APIRouter(prefix="/v1/base_models", tags=["models"], route_class=SafeRoute)


class ModelObject(Open):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "tunesmith"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelObject]


class BaseModelObject(BaseModel):
    id: str


class BaseModelList(BaseModel):
    data: list[BaseModelObject]


class ModelCard(ModelObject):
    """OpenAI's model object, and what was measured of the version that answers."""

    name: str
    version: str
    live: bool
    run_id: str
    base_model: str
    dataset_version: str
    task: str
    evaluation: dict[str, Any]
    versions: list[str]
    usage: dict[str, Any] = Field(
        {}, description="By route: url, model, temperature, max_tokens and format as measured, and what of it to send."
    )


class Version(Open):
    """A version of a published model, with what was measured of it as served."""

    name: str
    version: str
    live: bool
    run_id: str
    base_model: str
    created_at: int
    evaluation: dict[str, Any]


class VersionList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Version]


class PublishVersion(BaseModel):
    version: str = Field(description="One of the model's versions.", examples=["run-0123456789ab"])


class RollBack(Typed):
    from_version: str | None = Field(
        None,
        description="The version to go back from, live until now. Default: whatever is live.",
        examples=["run-0123456789ab"],
    )


class Changed(Version):
    """The version that is live now. `warnings`: what failed after that, such as its route in the LiteLLM proxy."""

    route: dict[str, Any] | None = None
    warnings: list[str] = Field([], examples=[[]])


def _model(version: Any) -> dict[str, Any]:
    created = int(version.created_at)
    return {
        "id": version.name,
        "object": "model",
        "created": created,
        "owned_by": "tunesmith",
        "root": version.base_model,
    }


@openai_router.get("", operation_id="list_models", dependencies=[CanRead], response_model=ModelList)
def list_models(workspace: WorkspaceDep) -> Any:
    """The live models: each `id` is what `/v1/chat/completions` takes."""
    return {"object": "list", "data": [_model(version) for _, version in models.list_models(workspace)]}


@base_router.get("", operation_id="list_base_models", dependencies=[CanRead], response_model=BaseModelList)
def list_base_models(workspace: WorkspaceDep) -> Any:
    """Models that can be tuned without a network. A hub id such as `org/name` is also taken where there is one."""
    return {"data": [{"id": name} for name in base_models.list_base_models(workspace.settings)]}


@openai_router.get("/{name}", operation_id="get_model", dependencies=[CanRead], response_model=ModelCard)
def get_model(workspace: WorkspaceDep, name: str) -> Any:
    """A model by its name (the live version) or `name:version`: what it learnt from and how well it does."""
    return {**_model(models.find(workspace, name)), **models.card(workspace, name)}


@openai_router.delete("/{name}", operation_id="delete_model", dependencies=[CanPublish], response_model=Deleted)
def delete_model(workspace: WorkspaceDep, name: str) -> Any:
    """Take a model away with all its versions; with `name:version` one version that is not live."""
    models.remove(workspace, name)
    return {"id": name, "object": "model", "deleted": True}


@router.get("/{name}/versions", operation_id="list_model_versions", dependencies=[CanRead], response_model=VersionList)
def list_versions(workspace: WorkspaceDep, name: str) -> Any:
    """All versions of a model, newest first, each with what was measured of it."""
    live = models.find(workspace, name).version
    rows = models.list_versions(workspace, name)
    return {"object": "list", "data": [models.view(row, live=row.version == live) for row in rows]}


@router.get(
    "/{name}/versions/{version}/artifacts/{artifact}",
    operation_id="download_model_artifact",
    dependencies=[CanRead],
    response_class=FileResponse,
    responses={200: {"description": "The file. Ranges are answered, so that a download can go on."}},
)
def download_model_artifact(
    workspace: WorkspaceDep,
    name: str,
    version: Annotated[str, PathParam(description="One of the model's versions; `latest` is the live one.")],
    artifact: Annotated[
        artifacts.Artifact,
        PathParam(
            description="adapter: PEFT's folder as a ZIP. gguf: the model as it is served. card: Markdown. "
            "report: all that was measured, as JSON.",
        ),
    ],
) -> FileResponse:
    """A file of a version, to keep or to use elsewhere."""
    with ExitStack() as stack:
        written = artifact == "adapter"  # the others are small, or lie there
        scratch = stack.enter_context(downloads.room(workspace) if written else workspace.artifacts.scratch())
        path, called = artifacts.get(workspace, f"{name}:{version}", artifact, scratch)
        later = stack.pop_all()
    return FileResponse(path, filename=called, background=BackgroundTask(later.close))


@router.post("/{name}/publish", operation_id="publish_model", dependencies=[CanPublish], response_model=Changed)
def publish(workspace: WorkspaceDep, name: str, body: PublishVersion) -> Any:
    """Put a version that has passed its gate live. For the live one, its LiteLLM route is made again."""
    return _changed(models.make_live(workspace, name, body.version))


@router.post("/{name}/rollback", operation_id="roll_back_model", dependencies=[CanPublish], response_model=Changed)
def roll_back(workspace: WorkspaceDep, name: str, body: RollBack | None = None) -> Any:
    """Put the version before the live one live again. Name the bad one as `from_version`, and the call can be sent
    again without going back twice."""
    return _changed(models.roll_back(workspace, name, body.from_version if body else None))


def _changed(change: Change) -> dict[str, Any]:
    assert change.row is not None
    return {**models.view(change.row, live=True), "route": change.route, "warnings": change.warnings}
