"""MCP over standard input and output in front of a service on another machine: passes everything on."""

from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    ReadResourceRequestParams,
    ReadResourceResult,
)

from tunesmith import __version__

PATIENCE_S = 90.0  # longer than any tool waits
Request = ServerRequestContext[Any, Any]


async def serve(url: str, key: str) -> None:
    """Serve the client at the other end of standard input with the tools of the service at `url`."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE_S) as http,
        Client(streamable_http_client(f"{url.rstrip('/')}/mcp", http_client=http)) as remote,
        stdio_server() as (incoming, outgoing),
    ):
        server = _server(remote)
        await server.run(incoming, outgoing, server.create_initialization_options())


def _server(remote: Client) -> Server[Any]:
    async def list_tools(_request: Request, _params: Any) -> ListToolsResult:
        return await remote.list_tools()

    async def call_tool(request: Request, params: CallToolRequestParams) -> CallToolResult:
        async def tell(progress: float, total: float | None, message: str | None) -> None:
            await request.session.report_progress(progress, total, message)

        return await remote.call_tool(params.name, params.arguments, progress_callback=tell)

    async def list_resources(_request: Request, _params: Any) -> ListResourcesResult:
        return await remote.list_resources()

    async def list_templates(_request: Request, _params: Any) -> ListResourceTemplatesResult:
        return await remote.list_resource_templates()

    async def read_resource(_request: Request, params: ReadResourceRequestParams) -> ReadResourceResult:
        return await remote.read_resource(params.uri)

    async def list_prompts(_request: Request, _params: Any) -> ListPromptsResult:
        return await remote.list_prompts()

    async def get_prompt(_request: Request, params: GetPromptRequestParams) -> GetPromptResult:
        return await remote.get_prompt(params.name, params.arguments)

    return Server(
        "tunesmith",
        version=__version__,
        title="Tunesmith",
        instructions=remote.instructions,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
    )
