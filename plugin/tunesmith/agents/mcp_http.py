"""`/mcp`: MCP over streamable HTTP, stateless, for callers with one of our keys.

The `mcp` package (25 MB, 0.3 s) is imported when somebody first calls.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tunesmith.agents.operation import Context
from tunesmith.api.dependencies import CALLER
from tunesmith.settings import Settings

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

CONTEXT = "tunesmith.context"  # where the server finds who calls, in the scope of the request


class McpEndpoint:
    """An ASGI application. `running()` spans the life of the service."""

    def __init__(self) -> None:
        self._manager: StreamableHTTPSessionManager | None = None
        self._task: asyncio.Task[None] | None = None

    def routes(self) -> list[Route]:
        application: ASGIApp = self  # an instance, so that Starlette lets every method through
        return [Route(path, application, include_in_schema=False) for path in ("/mcp", "/mcp/")]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._starting, self._over = asyncio.Lock(), asyncio.Event()
        try:
            yield
        finally:
            self._over.set()
            if self._task is not None:
                await self._task
            self._task = self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        state = request.app.state
        manager = self._manager or await self._start(state.workspace.settings)
        caller = scope[CALLER]  # nobody comes here without a key: see `api.limits`
        context = Context(state.workspace, state.pool, state.http, caller)
        await manager.handle_request({**scope, CONTEXT: context}, receive, send)

    async def _start(self, settings: Settings) -> "StreamableHTTPSessionManager":
        async with self._starting:
            if self._manager is None:
                server = await run_in_threadpool(import_module, "tunesmith.agents.mcp_server")
                manager: StreamableHTTPSessionManager = server.session_manager(*allowed(settings))
                ready = asyncio.Event()

                async def run() -> None:
                    async with manager.run():
                        ready.set()
                        await self._over.wait()

                self._task = asyncio.create_task(run())
                await ready.wait()
                self._manager = manager
        return self._manager


def allowed(settings: Settings) -> tuple[list[str], list[str]]:
    """Values that Host and Origin may have: a page on another site must not reach us through a name of its own."""
    names = ["localhost", "127.0.0.1", "[::1]"]
    if settings.host not in ("0.0.0.0", "::"):  # noqa: S104  not an address that anybody calls
        names.append(f"[{settings.host}]" if ":" in settings.host else settings.host)
    if settings.public_url:
        names.append(urlsplit(settings.public_url).netloc)
    names += [name.strip() for name in settings.allowed_hosts.split(",") if name.strip()]
    hosts = list(dict.fromkeys(host for name in names for host in (name, f"{name}:*")))
    return hosts, [f"{scheme}://{host}" for host in hosts for scheme in ("http", "https")]
