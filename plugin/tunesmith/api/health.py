"""`/healthz`: the process is up. `/readyz`: it can do its work."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from tunesmith import __version__
from tunesmith.api import keys
from tunesmith.api.dependencies import WorkspaceDep, secret_of
from tunesmith.api.routing import SafeRoute
from tunesmith.errors import DiskFull
from tunesmith.serving import readiness
from tunesmith.store.workspace import Workspace
from tunesmith_connectors.addresses import without_userinfo

router = APIRouter(tags=["health"], route_class=SafeRoute)
_OPEN: dict[str, Any] = {"security": []}  # no key is needed


class Health(BaseModel):
    status: str
    version: str = __version__
    reason: str | None = None
    missing: list[str] = Field([], description="What a run would lack at its end, on this machine.")


@router.get("/healthz", operation_id="get_health", response_model=Health, openapi_extra=_OPEN)
async def get_health() -> Health:
    """The process is up and answers."""
    return Health(status="ok")


@router.get("/readyz", operation_id="get_readiness", response_model=Health, openapi_extra=_OPEN)
def get_readiness(workspace: WorkspaceDep, request: Request, response: Response) -> Health:
    """The database opens and the disk has room: 200. Otherwise 503 with the reason.

    `missing` names the parts of an export that are not here; another machine's worker may have them. Details are for
    callers with a key.
    """
    reason = _unready(workspace)
    if reason is None:
        return Health(status="ready", missing=readiness.missing(workspace.settings) if _has_key(request) else [])
    response.status_code = 503
    return Health(status="not ready", reason=reason[1] if _has_key(request) else reason[0])


def _unready(workspace: Workspace) -> tuple[str, str] | None:
    """In a few words for everybody, and in all detail (folders, addresses) for callers with a key."""
    try:
        with workspace.database.read() as session:
            session.execute(text("SELECT 1 FROM jobs LIMIT 1"))
        workspace.artifacts.require_space()
    except SQLAlchemyError as error:
        return "The database does not answer.", without_userinfo(str(error).splitlines()[0])
    except DiskFull as error:
        return "The disk is almost full.", error.message
    return None


def _has_key(request: Request) -> bool:
    secret = secret_of(request)
    try:
        return secret is not None and keys.identify(request.app.state.workspace, secret) is not None
    except SQLAlchemyError:
        return False  # nobody can tell who asks
