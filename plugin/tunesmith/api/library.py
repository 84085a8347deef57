"""`/v1/library`: the mirror of Paperless, and what models suggest for its documents."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path
from pydantic import ConfigDict, Field

from tunesmith.api.dependencies import CanPublish, CanRead, CanTrain, PoolDep, WorkspaceDep
from tunesmith.api.routing import SafeRoute
from tunesmith.api.schemas import Open
from tunesmith.datasets.library import Library
from tunesmith.recipes import suggest
from tunesmith.store.tables import MAX_ID
from tunesmith.typed import Typed

router = APIRouter(prefix="/v1/library", tags=["library"], route_class=SafeRoute)


class SyncRequest(Typed):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"full": False}]})

    full: bool = Field(False, description="Fetch everything anew and compare all ids.")


class SyncObject(Open):
    documents: int
    new: int
    changed: int
    deleted: int


class LibraryObject(Open):
    url: str | None
    documents: int
    interrupted: bool
    last_sync: dict[str, Any]


class SuggestRequest(Typed):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"model": "household-extractor", "write": ["amount", "date"]}]}
    )

    model: str
    write: list[str] = Field([], description="Fields to write into Paperless where nothing stands.")
    create: bool = Field(False, description="Make a correspondent, type or path that is not there.")
    dry_run: bool = Field(False, description="Say what would be written; write nothing.")


class SuggestionRequest(Typed):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"document": 12, "model": "household-extractor", "answer": {"amount": "12.30"}}]
        },
    )

    document: int = Field(ge=1, le=MAX_ID)
    model: str
    answer: dict[str, Any] = Field(min_length=1)


class SuggestionObject(Open):
    """`kept`: field → why it was not written; `asked`: whether the model was asked, or had said this before."""

    id: str
    document: int
    model: str
    version: str
    answer: dict[str, Any]
    written: dict[str, Any]
    kept: dict[str, str]
    asked: bool
    verdicts: dict[str, str]


@router.get("", operation_id="get_library", dependencies=[CanRead], response_model=LibraryObject)
def get_library(workspace: WorkspaceDep) -> Any:
    """How many documents are here, and how far the last sync came."""
    return Library(workspace.database, workspace.settings).status()


@router.post("/sync", operation_id="sync_library", dependencies=[CanTrain], response_model=SyncObject)
def sync_library(workspace: WorkspaceDep, body: Annotated[SyncRequest, Body(default_factory=SyncRequest)]) -> Any:
    """Fetch what changed in Paperless. An interrupted sync goes on where it stopped."""
    return Library(workspace.database, workspace.settings).sync(full=body.full).as_dict()


@router.post(
    "/documents/{document}/suggest",
    operation_id="suggest_values",
    dependencies=[CanPublish],
    response_model=SuggestionObject,
)
def suggest_values(
    workspace: WorkspaceDep,
    document: Annotated[int, Path(ge=1, le=MAX_ID)],
    body: Annotated[SuggestRequest, Body()],
    pool: PoolDep,
) -> Any:
    """Ask a live model about a document; write named fields back where nothing stands."""
    return suggest.suggest(
        workspace, pool, document, body.model, write=body.write, create=body.create, dry_run=body.dry_run
    )


@router.post(
    "/suggestions", operation_id="record_suggestion", dependencies=[CanPublish], response_model=SuggestionObject
)
def record_suggestion(workspace: WorkspaceDep, body: Annotated[SuggestionRequest, Body()]) -> Any:
    """Keep what one of our models answered elsewhere, so that corrections in Paperless can be learnt from."""
    return suggest.record(workspace, body.document, body.model, body.answer)
