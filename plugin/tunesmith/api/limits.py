"""Requests that are larger than anything sensible are refused before they fill the memory."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

JSON_BYTES = 4 * 2**20
FORM_EXTRA_BYTES = 2**20  # what a form needs around a file of the largest size


class BodyLimit:
    """4 MiB, and for form uploads what the settings allow. Answers 413 whether or not the length was announced."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        limit = JSON_BYTES
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            limit = request.app.state.workspace.settings.max_upload_mb * 2**20 + FORM_EXTRA_BYTES
        announced = request.headers.get("content-length", "")
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit or (announced.isdecimal() and int(announced) > limit):
                raise HTTPException(413, f"The request is larger than {limit // 2**20} MB.")
            return message

        await self.app(scope, bounded, send)
