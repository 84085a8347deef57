"""`/v1/datasets`: the versions that runs have built, with their reports."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from tunesmith.api.dependencies import CanRead, WorkspaceDep
from tunesmith.recipes import datasets

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


class DatasetObject(BaseModel):
    name: str
    version: str
    run_id: str | None
    created_at: int
    report: dict[str, Any]


class DatasetList(BaseModel):
    data: list[DatasetObject]


@router.get("", operation_id="list_datasets", dependencies=[CanRead], response_model=DatasetList)
def list_datasets(workspace: WorkspaceDep) -> Any:
    """Newest first."""
    return {"data": [datasets.view(row) for row in datasets.list_datasets(workspace)]}


@router.get("/{name}", operation_id="list_dataset_versions", dependencies=[CanRead], response_model=DatasetList)
def list_dataset_versions(workspace: WorkspaceDep, name: str) -> Any:
    """The versions of one dataset, newest first: counts, rejected rows with reasons, gates."""
    return {"data": [datasets.view(row) for row in datasets.list_versions(workspace, name)]}
