"""Requests that are larger than anything sensible are refused before they fill the memory."""

from fastapi.security.utils import get_authorization_scheme_param
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunesmith.api import keys

JSON_BYTES = 4 * 2**20
FORM_EXTRA_BYTES = 2**20  # what a form needs around a file of the largest size


class BodyLimit:
    """4 MiB, and for uploads by a caller who may train what the settings allow: a body is read before its route asks
    for a key. Answers 413 (401 without such a key) whether or not the length was announced."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        form = request.headers.get("content-type", "").startswith("multipart/form-data")
        known = form and await run_in_threadpool(_may_upload, request)
        limit = request.app.state.workspace.settings.max_upload_mb * 2**20 + FORM_EXTRA_BYTES if known else JSON_BYTES
        announced = request.headers.get("content-length", "")
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit or (announced.isdecimal() and int(announced) > limit):
                if form and not known:
                    raise HTTPException(401, "A large upload needs an API key with the scope train.")
                raise HTTPException(413, f"The request is larger than {limit // 2**20} MB.")
            return message

        await self.app(scope, bounded, send)


def _may_upload(request: Request) -> bool:
    scheme, secret = get_authorization_scheme_param(request.headers.get("authorization"))
    caller = keys.identify(request.app.state.workspace, secret) if scheme.lower() == "bearer" else None
    return caller is not None and caller.may("train")
