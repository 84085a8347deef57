"""The MCP server: the operations as tools, with resources and prompts. Imported only when it is used."""

import json
import logging
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    GetPromptRequestParams,
    GetPromptResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    Prompt,
    PromptArgument,
    PromptMessage,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextContent,
    TextResourceContents,
    Tool,
    ToolAnnotations,
)
from starlette.concurrency import run_in_threadpool

from tunesmith import __version__
from tunesmith.agents import prompts, resources, tools
from tunesmith.agents.mcp_http import CONTEXT
from tunesmith.agents.operation import Context, Operation
from tunesmith.agents.operations import OPERATIONS
from tunesmith.api.problems import SURPRISE
from tunesmith.errors import TunesmithError

log = logging.getLogger(__name__)
INSTRUCTIONS = (
    "Tunesmith tunes small open models on a person's own examples and puts one live only when it was measured to be "
    "good enough. Order: list_base_models, upload_training_rows, save_recipe, run_recipe, wait_for_run until it has "
    "ended, get_model, try_model. roll_back_model undoes the last release."
)
Request = ServerRequestContext[Any, Any]


def build(local: Context | None = None) -> Server[Any]:
    """`local`: who calls when there is no HTTP request, as over standard input."""

    def context(request: Request) -> Context:
        found: Context | None = request.request.scope.get(CONTEXT) if request.request is not None else local
        assert found is not None
        return found

    async def list_tools(_request: Request, _params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_tool(item) for item in OPERATIONS.values()])

    async def call_tool(request: Request, params: CallToolRequestParams) -> CallToolResult:
        return await _call(request, context(request), params)

    async def list_resources(request: Request, _params: PaginatedRequestParams | None) -> ListResourcesResult:
        found = await run_in_threadpool(_checked, resources.listed, context(request))
        return ListResourcesResult(resources=[Resource(**item) for item in found])

    async def list_templates(_request: Request, _params: PaginatedRequestParams | None) -> ListResourceTemplatesResult:
        return ListResourceTemplatesResult(
            resource_templates=[ResourceTemplate(**item) for item in resources.TEMPLATES]
        )

    async def read_resource(request: Request, params: ReadResourceRequestParams) -> ReadResourceResult:
        text = await run_in_threadpool(_checked, resources.read, context(request), params.uri)
        content = TextResourceContents(uri=params.uri, mime_type=resources.MIME_TYPE, text=text)
        return ReadResourceResult(contents=[content])

    async def list_prompts(_request: Request, _params: PaginatedRequestParams | None) -> ListPromptsResult:
        arguments = [PromptArgument(**item) for item in prompts.ARGUMENTS]
        return ListPromptsResult(
            prompts=[
                Prompt(name=prompts.NAME, title=prompts.TITLE, description=prompts.DESCRIPTION, arguments=arguments)
            ]
        )

    async def get_prompt(_request: Request, params: GetPromptRequestParams) -> GetPromptResult:
        text = _checked(prompts.written, params.name, params.arguments or {})
        message = PromptMessage(role="user", content=TextContent(text=text))
        return GetPromptResult(description=prompts.DESCRIPTION, messages=[message])

    return Server(
        "tunesmith",
        version=__version__,
        title="Tunesmith",
        instructions=INSTRUCTIONS,
        get_tool_input_schema=lambda name: OPERATIONS[name].input_schema if name in OPERATIONS else None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
    )


def session_manager(hosts: list[str], origins: list[str]) -> StreamableHTTPSessionManager:
    """Serves /mcp to requests whose Host and Origin are among these."""
    security = TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins)
    return StreamableHTTPSessionManager(build(), stateless=True, security_settings=security)


async def _call(request: Request, context: Context, params: CallToolRequestParams) -> CallToolResult:
    operation = _checked(tools.find, params.name)

    async def progress(done: float, total: float, message: str) -> None:
        await request.session.report_progress(done, total, message)

    told = Context(context.workspace, context.pool, context.http, context.caller, progress)
    try:
        found = await operation(told, params.arguments or {})
    except TunesmithError as error:
        return _failed(error.error_code, error.message, error.hint)
    except Exception:
        log.exception("unexpected error in %s", params.name)  # the package would show its text to the caller
        return _failed(*SURPRISE)
    return CallToolResult(content=[TextContent(text=json.dumps(found, ensure_ascii=False))], structured_content=found)


def _failed(code: str, message: str, hint: str | None) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=f"Error {code}: {message} {hint or ''}".rstrip())], is_error=True)


def _checked(function: Any, *arguments: Any) -> Any:
    """Call it; an error that the caller can mend becomes one of the protocol."""
    try:
        return function(*arguments)
    except TunesmithError as error:
        raise MCPError(INVALID_PARAMS, f"{error.message} {error.hint or ''}".rstrip(), error.as_dict()) from error
    except Exception as error:
        log.exception("unexpected error in %s", getattr(function, "__name__", function))
        raise MCPError(INTERNAL_ERROR, " ".join(SURPRISE[1:])) from error


def _tool(item: Operation) -> Tool:
    return Tool(
        name=item.name,
        title=item.title,
        description=item.description,
        input_schema=item.input_schema,
        output_schema=item.output_schema,
        annotations=ToolAnnotations(
            read_only_hint=item.reads_only,
            destructive_hint=item.destroys,
            idempotent_hint=item.reads_only or item.repeatable,
            open_world_hint=False,
        ),
    )
