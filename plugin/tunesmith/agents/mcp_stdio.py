"""MCP over standard input and output, for desktop clients: nothing but the protocol is written there."""

import httpx
from mcp.server.stdio import stdio_server

from tunesmith.agents.mcp_server import build
from tunesmith.agents.operation import Context
from tunesmith.api.keys import Caller
from tunesmith.serving.pool import ServerPool
from tunesmith.store.workspace import Workspace

OWNER = Caller("local", frozenset({"admin"}))  # who may start us on this data folder may do everything with it


async def serve(workspace: Workspace) -> None:
    """Serve the client at the other end until it closes our standard input."""
    pool = ServerPool(workspace.settings)
    try:
        async with (
            httpx.AsyncClient(timeout=httpx.Timeout(600.0, connect=10.0)) as http,
            stdio_server() as (incoming, outgoing),
        ):
            server = build(Context(workspace, pool, http, OWNER))
            await server.run(incoming, outgoing, server.create_initialization_options())
    finally:
        pool.close()
