"""What routes ask for: the data folder, and a caller who may do this."""

from collections.abc import Callable
from typing import Annotated

import httpx
from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from tunesmith.api import keys
from tunesmith.errors import Forbidden, Unauthorized
from tunesmith.serving.pool import ServerPool
from tunesmith.store.workspace import Workspace

CALLER = "tunesmith.caller"  # where the scope of a request says whose key was checked already
_bearer = HTTPBearer(auto_error=False, description="An API key. The first one is shown at the first start.")


def get_workspace(request: Request) -> Workspace:
    workspace: Workspace = request.app.state.workspace
    return workspace


def get_pool(request: Request) -> ServerPool:
    pool: ServerPool = request.app.state.pool
    return pool


def get_client(request: Request) -> httpx.AsyncClient:
    client: httpx.AsyncClient = request.app.state.http
    return client


WorkspaceDep = Annotated[Workspace, Depends(get_workspace)]
PoolDep = Annotated[ServerPool, Depends(get_pool)]
ClientDep = Annotated[httpx.AsyncClient, Depends(get_client)]

IdempotencyKey = Annotated[
    str | None,
    Header(max_length=200, description="The same create sent again with the same key gives what it made before."),
]


def secret_of(request: Request) -> str | None:
    """The key in a request's headers, known or not."""
    scheme, secret = get_authorization_scheme_param(request.headers.get("authorization"))
    return secret if scheme.lower() == "bearer" else None


def identify(workspace: Workspace, secret: str | None) -> keys.Caller:
    """The caller whose key this is. Raises Unauthorized."""
    caller = keys.identify(workspace, secret) if secret else None
    if caller is None:
        raise Unauthorized(
            "The API key is missing or unknown.",
            hint="Send 'Authorization: Bearer <key>'. The first key was shown at the first start of the service.",
        )
    return caller


def get_caller(
    request: Request,
    workspace: WorkspaceDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> keys.Caller:
    known: keys.Caller | None = request.scope.get(CALLER)
    return known or identify(workspace, credentials.credentials if credentials else None)


CallerDep = Annotated[keys.Caller, Depends(get_caller)]


def needs(scope: str) -> Callable[..., keys.Caller]:
    """A dependency that lets only callers with `scope` (or admin) through."""

    def check(caller: CallerDep) -> keys.Caller:
        if not caller.may(scope):
            raise Forbidden(f"This key lacks the scope {scope!r}.", hint=f"Use a key with the scope {scope} or admin.")
        return caller

    return check


CanRead = Depends(needs("read"))
CanTrain = Depends(needs("train"))
CanPublish = Depends(needs("publish"))
CanAdmin = Depends(needs("admin"))
