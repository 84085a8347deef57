"""`/v1/datasets`: versions that runs have built or that were imported; reports, differences, cards and exports."""

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, UploadFile
from fastapi.responses import FileResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask

from tunesmith.api.dependencies import CallerDep, CanRead, CanTrain, IdempotencyKey, WorkspaceDep
from tunesmith.api.files import chunks_of
from tunesmith.api.recipes import RunObject
from tunesmith.api.schemas import Open
from tunesmith.datasets import export
from tunesmith.datasets.formats.columns import parse_mapping
from tunesmith.datasets.report import GateResult, Rejected
from tunesmith.datasets.synthetic.options import SyntheticOptions
from tunesmith.recipes import datasets, runs, views
from tunesmith.recipes.schema import DEFAULT_BASE, TaskSpec

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


class DatasetObject(BaseModel):
    name: str
    version: str
    run_id: str | None
    created_at: int
    report: dict[str, Any]


class DatasetList(BaseModel):
    data: list[DatasetObject]


class ImportReport(Open):
    """The report of the version that an import made."""

    name: str
    version: str
    task: str
    rows_in: int
    rows_kept: int
    rejected: list[Rejected]
    rejected_by_code: dict[str, int]
    duplicates_removed: int
    splits: dict[str, int]
    gates: list[GateResult]
    passed: bool


class SynthesizeDataset(BaseModel):
    """What is written, and for which task. The teacher's endpoint is a setting of the service."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "task": {"type": "extraction", "schema": {"date": "date", "amount": "money"}},
                    "synthetic": {"like": "schema", "rows": 100, "teacher": "gpt-oss", "budget": {"tokens": 200000}},
                }
            ]
        },
    )

    synthetic: SyntheticOptions
    task: TaskSpec = TaskSpec()
    base_model: str = Field(DEFAULT_BASE, description="The one that is corrected, for the kind correct.")


class DatasetDiff(BaseModel):
    """Counts by split, and up to five examples of each kind."""

    old: str
    new: str
    same: bool
    added: dict[str, int]
    removed: dict[str, int]
    changed: dict[str, int]
    moved: dict[str, int]
    unchanged: int
    examples: dict[str, list[dict[str, Any]]]


VersionParam = Annotated[
    str | None, Query(description="Start of a version's id. Default: the newest.", examples=["30bead0acc7985d7"])
]


@router.get("", operation_id="list_datasets", dependencies=[CanRead], response_model=DatasetList)
def list_datasets(workspace: WorkspaceDep) -> Any:
    """Newest first."""
    return {"data": [datasets.view(row) for row in datasets.list_datasets(workspace)]}


@router.get("/{name}", operation_id="list_dataset_versions", dependencies=[CanRead], response_model=DatasetList)
def list_dataset_versions(workspace: WorkspaceDep, name: str) -> Any:
    """The versions of one dataset, newest first: counts, rejected rows with reasons, gates."""
    return {"data": [datasets.view(row) for row in datasets.list_versions(workspace, name)]}


@router.post("/{name}/import", operation_id="import_dataset", dependencies=[CanTrain], response_model=ImportReport)
def import_dataset(
    workspace: WorkspaceDep,
    name: str,
    file: UploadFile,
    mapping: Annotated[
        str,
        Form(
            description="JSON object: key → column of a table. Default: told from the columns' names.",
            examples=['{"prompt": "question", "completion": "answer"}'],
        ),
    ] = "",
    dry_run: Annotated[bool, Form(description="Only say what the version would be; nothing is stored.")] = False,
) -> Any:
    """Make a version from JSONL, JSON, CSV or Parquet. Good rows are kept; bad ones are listed by line and reason."""
    return datasets.import_upload(
        workspace, name, file.filename or "upload.jsonl", chunks_of(file), parse_mapping(mapping), dry_run
    )


@router.post("/{name}/synthesize", operation_id="synthesize_dataset", dependencies=[CanTrain], response_model=RunObject)
def synthesize_dataset(
    workspace: WorkspaceDep,
    caller: CallerDep,
    name: str,
    body: SynthesizeDataset,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Make the next version with synthetic rows beside its training rows (like: dataset), or from a schema or tools
    alone. Returns a run at once; its dataset's report says what was made, checked, dropped and paid."""
    run = runs.synthesize_dataset(
        workspace,
        name,
        body.synthetic,
        task=body.task,
        base_model=body.base_model,
        idempotency_key=caller.once("synthesize_dataset", idempotency_key),
    )
    return views.run(workspace, run)


@router.get(
    "/{name}/export",
    operation_id="export_dataset",
    dependencies=[CanRead],
    response_class=FileResponse,
    responses={200: {"description": "The file; a ZIP of the folder for llamafactory and axolotl."}},
)
def export_dataset(
    workspace: WorkspaceDep,
    name: str,
    form: Annotated[export.Form, Query(alias="format", examples=["llamafactory"])] = "sharegpt",
    version: VersionParam = None,
    split: Annotated[
        Literal["train", "validation", "test"] | None, Query(description="Default: all.", examples=["train"])
    ] = None,
) -> FileResponse:
    """A version as other programs read it."""
    with ExitStack() as stack:
        folder = stack.enter_context(workspace.artifacts.scratch())
        place = folder / datasets.export_name(name, form)
        datasets.export_dataset(workspace, name, form, place, version=version, split=split)
        if place.is_dir():
            place = Path(shutil.make_archive(str(place), "zip", folder, place.name))
        later = stack.pop_all()
    return FileResponse(place, filename=place.name, background=BackgroundTask(later.close))


@router.get("/{name}/diff", operation_id="diff_datasets", dependencies=[CanRead], response_model=DatasetDiff)
def diff_datasets(
    workspace: WorkspaceDep,
    name: str,
    old: Annotated[
        str | None, Query(description="A version. Default: the one before `new`.", examples=["30bead0a"])
    ] = None,
    new: Annotated[str | None, Query(description="A version. Default: the newest.", examples=["f00dbabe"])] = None,
) -> Any:
    """Rows added, removed, moved to another split, and answered otherwise."""
    return datasets.diff_datasets(workspace, name, old, new)


@router.get("/{name}/card", operation_id="get_dataset_card", dependencies=[CanRead], response_class=PlainTextResponse)
def get_dataset_card(
    workspace: WorkspaceDep,
    name: str,
    version: VersionParam = None,
    licence: Annotated[
        str | None, Query(max_length=200, description="What the card says of the licence.", examples=["CC-BY-4.0"])
    ] = None,
) -> PlainTextResponse:
    """The data card in Markdown."""
    return PlainTextResponse(datasets.dataset_card(workspace, name, version, licence), media_type="text/markdown")
