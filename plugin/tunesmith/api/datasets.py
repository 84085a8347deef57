"""`/v1/datasets`: the versions that runs have built, with their reports."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import select

from tunesmith.api.dependencies import CanRead, WorkspaceDep
from tunesmith.errors import NotFound
from tunesmith.store.tables import DatasetVersion

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


class DatasetObject(BaseModel):
    name: str
    version: str
    run_id: str | None
    created_at: int
    report: dict[str, Any]


class DatasetList(BaseModel):
    data: list[DatasetObject]


def _view(row: DatasetVersion) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": row.version,
        "run_id": row.run_id,
        "created_at": int(row.created_at),
        "report": row.report,
    }


@router.get("", operation_id="list_datasets", dependencies=[CanRead], response_model=DatasetList)
def list_datasets(workspace: WorkspaceDep) -> Any:
    """Newest first."""
    with workspace.database.read() as session:
        rows = session.scalars(select(DatasetVersion).order_by(DatasetVersion.id.desc()).limit(200))
        return {"data": [_view(row) for row in rows]}


@router.get("/{name}", operation_id="list_dataset_versions", dependencies=[CanRead], response_model=DatasetList)
def list_dataset_versions(workspace: WorkspaceDep, name: str) -> Any:
    """The versions of one dataset, newest first: counts, rejected rows with reasons, gates."""
    query = select(DatasetVersion).where(DatasetVersion.name == name).order_by(DatasetVersion.id.desc())
    with workspace.database.read() as session:
        rows = list(session.scalars(query))
    if not rows:
        raise NotFound(f"There is no dataset {name!r}.", hint="A dataset carries the name of the recipe that built it.")
    return {"data": [_view(row) for row in rows]}
