"""`/v1/tools`: the operations as OpenAI function tools, and as a flat OpenAPI document."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request
from pydantic import BaseModel

from tunesmith import __version__
from tunesmith.agents.operation import Context, Operation
from tunesmith.agents.operations import OPERATIONS
from tunesmith.agents.schemas import flat_answer, strict
from tunesmith.api.dependencies import CallerDep, CanRead, ClientDep, PoolDep, WorkspaceDep
from tunesmith.api.problems import RESPONSES, Problem
from tunesmith.api.routing import SafeRoute
from tunesmith.errors import NotFound

router = APIRouter(prefix="/v1/tools", tags=["tools"], route_class=SafeRoute)


class Function(BaseModel):
    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool = True


class Tool(BaseModel):
    """As `tools=[…]` of OpenAI's chat completions takes it."""

    type: Literal["function"] = "function"
    function: Function


class ToolList(BaseModel):
    data: list[Tool]


def find(name: str) -> Operation:
    """Raises NotFound with the names that there are."""
    if name not in OPERATIONS:
        raise NotFound(
            f"There is no tool {name!r}.", code="unknown_tool", hint=f"Tools: {', '.join(OPERATIONS)}.", param="name"
        )
    return OPERATIONS[name]


@router.get("", operation_id="list_tools", dependencies=[CanRead], response_model=ToolList)
def list_tools() -> Any:
    """The operations for agents as OpenAI function tools: hand `data` to a model as `tools`."""
    return {"data": [_function(item) for item in OPERATIONS.values()]}


@router.get("/openapi.json", include_in_schema=False)
def get_tools_openapi(request: Request, workspace: WorkspaceDep) -> dict[str, Any]:
    """The tools as a flat OpenAPI document without `$ref`, for callers that cannot follow one."""
    settings = workspace.settings
    return flat_openapi((settings.public_url or str(request.base_url)).rstrip("/"))


@router.post("/{name}", operation_id="call_tool")
async def call_tool(
    workspace: WorkspaceDep,
    pool: PoolDep,
    client: ClientDep,
    caller: CallerDep,
    name: str,
    arguments: Annotated[dict[str, Any], Body(examples=[{"run_id": "run-0123456789ab"}])],
) -> dict[str, Any]:
    """Call a tool with the object of arguments that a model made; `null` stands for the default."""
    return await find(name)(Context(workspace, pool, client, caller), arguments)


def flat_openapi(url: str) -> dict[str, Any]:
    """One POST per tool, with everything inlined. `url`: where the service is reached."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tunesmith tools",
            "version": __version__,
            "description": "Fine-tuning as a tool: from rows of examples to a live, measured model.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": url}],
        "security": [{"bearer": []}],
        "paths": {f"/v1/tools/{item.name}": {"post": _path(item)} for item in OPERATIONS.values()},
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
    }


def _path(item: Operation) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": flat_answer(Problem)}}
    return {
        "operationId": item.name,
        "summary": item.description,  # LiteLLM shows its models this and not the description
        "description": item.description,
        "requestBody": {"required": True, "content": {"application/json": {"schema": item.input_schema}}},
        "responses": {
            "200": {"description": "Done.", "content": {"application/json": {"schema": item.output_schema}}},
            **{
                str(status): {"description": known["description"], "content": problem}
                for status, known in RESPONSES.items()
            },
        },
    }


def _function(item: Operation) -> dict[str, Any]:
    parameters = strict(item.input_schema)
    return {"function": {"name": item.name, "description": item.description, "parameters": parameters}}
