"""Before anything of a request is read: who asks. Then no more of it is read, or unpacked, than its route can use.

FastAPI reads a body before it asks for a key, and 4 MB of JSON can take 125 MB in memory.
"""

from fastapi import params
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunesmith.api.dependencies import CALLER, identify, needs, secret_of
from tunesmith.api.problems import answer
from tunesmith.errors import BadInput, TooLarge, TunesmithError

JSON_BYTES = 4 * 2**20
FORM_EXTRA_BYTES = 2**20  # what a form needs around a file of the largest size
MAX_VALUES = 100_000  # values of a JSON document: some 20 MB in memory
MAX_DEPTH = 100  # lists and objects within each other
OPEN = ("/v1/tools/openapi.json",)  # says what the service can do, and needs no key


class Limits:
    """401 without a key under /v1 and /mcp. Then 4 MiB and a bounded number of values; more only for a form, where
    the route takes one and the caller may upload. 413 whether or not the length was announced."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        free = path in OPEN and scope.get("method") in ("GET", "HEAD")
        if scope["type"] != "http" or not path.startswith(("/v1/", "/mcp")) or free:
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            receive = await self._let_in(request, scope, receive)
        except TunesmithError as error:
            told = {**scope, "route": _route(request)}  # its errors may be of OpenAI's shape
            refusal = answer(Request(told), error.status, error.error_code, error.message, error.hint, error.param)
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _let_in(self, request: Request, scope: Scope, receive: Receive) -> Receive:
        """Where the application gets its body from. Raises Unauthorized, Forbidden, TooLarge, BadInput."""
        workspace = request.app.state.workspace
        known = await run_in_threadpool(identify, workspace, secret_of(request))
        scope[CALLER] = known
        if request.headers.get("content-type", "").startswith("multipart/") and _takes_form(_route(request)):
            needs("train")(known)
            return _bounded(request, receive, workspace.settings.max_upload_mb * 2**20 + FORM_EXTRA_BYTES)
        if _announced(request) > JSON_BYTES:
            raise _too_large(JSON_BYTES)
        return _again(await _read(receive), receive)


def _route(request: Request) -> BaseRoute | None:
    """The route that will answer."""
    for context in iter_route_contexts(request.app.router.routes):
        if context.matches(request.scope)[0] is Match.FULL:
            return context.original_route
    return None


def _takes_form(route: BaseRoute | None) -> bool:
    fields = route.dependant.body_params if isinstance(route, APIRoute) else []
    return any(isinstance(field.field_info, params.Form) for field in fields)


def _announced(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 20 else 0


def _too_large(limit: int) -> TooLarge:
    hint = "Send less at once; a large file is uploaded to /v1/files as a form."
    return TooLarge(f"The request is larger than {limit // 2**20} MB.", hint=hint)


def _bounded(request: Request, receive: Receive, limit: int) -> Receive:
    """The body as it comes; it is written to disk, and is over when it is too large."""
    announced, size = _announced(request), 0

    async def next_part() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if max(size, announced) > limit:
            raise HTTPException(413, _too_large(limit).message)  # the only error that FastAPI lets through here
        return message

    return next_part


async def _read(receive: Receive) -> list[Message]:
    """The whole body, once it is known to be no bomb; or the news that the caller has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return [message]
        body += message.get("body", b"")
        if len(body) > JSON_BYTES:
            raise _too_large(JSON_BYTES)
        if not message.get("more_body"):
            weigh(bytes(body))
            return [{"type": "http.request", "body": bytes(body), "more_body": False}]


def _again(messages: list[Message], receive: Receive) -> Receive:
    async def next_message() -> Message:
        return messages.pop(0) if messages else await receive()

    return next_message


def weigh(body: bytes) -> None:
    """Raises TooLarge or BadInput for JSON with too many values or too much nesting, without parsing it."""
    if _marks(body) <= MAX_DEPTH:
        return
    bare = body
    if b"\x00" not in body:  # else UTF-16, where strings cannot be told so
        bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
        if bare.count(b'"') > 4 * MAX_VALUES:
            raise _too_many()
        bare = b"".join(bare.split(b'"')[::2])  # what is not in a string
    if _marks(bare) > MAX_VALUES:
        raise _too_many()
    depth = 0
    for c in bare.translate(None, delete=_NO_BRACKETS):
        depth += 1 if c in b"[{" else -1
        if depth > MAX_DEPTH:
            raise BadInput(
                f"The JSON is nested deeper than {MAX_DEPTH} levels.", code="too_deep", hint="Send it less nested."
            )


_NO_BRACKETS = bytes(c for c in range(256) if c not in b"[]{}")


def _marks(text: bytes) -> int:
    """No fewer than the values of a JSON document, but for the first."""
    return sum(text.count(mark) for mark in (b",", b":", b"[", b"{"))


def _too_many() -> TooLarge:
    hint = "Send less at once; a large file is uploaded to /v1/files as a form."
    return TooLarge(f"The JSON holds more than {MAX_VALUES} values.", code="too_many_values", hint=hint)
