"""`/v1/chat/completions`: passes through to the serving target, holding the answer to the task's format."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Body
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from tunesmith.api import tool_calls
from tunesmith.api.dependencies import CanRead, ClientDep, PoolDep, WorkspaceDep
from tunesmith.api.problems import OPENAI
from tunesmith.api.schemas import Open
from tunesmith.errors import Unavailable
from tunesmith.evaluation.answers import REFUSED, refusal
from tunesmith.recipes import answering, models
from tunesmith.serving.pool import ServerPool
from tunesmith.serving.targets.base import Endpoint
from tunesmith.store.tables import ModelVersion
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.tool_use import ToolUse

Turn = Callable[[dict[str, Any]], dict[str, Any]]

router = APIRouter(prefix="/v1/chat", tags=[OPENAI])


class ChatRequest(BaseModel):
    """Everything that OpenAI's chat completions take is passed on to the model's server."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [{"model": "household-extractor", "messages": [{"role": "user", "content": "RECEIPT …"}]}]
        },
    )

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool | None = False
    tools: list[dict[str, Any]] | None = None


class Completion(Open):
    id: str
    object: str
    model: str
    choices: list[dict[str, Any]]


@router.post("/completions", operation_id="create_chat_completion", dependencies=[CanRead], response_model=Completion)
async def create_chat_completion(
    workspace: WorkspaceDep,
    body: Annotated[ChatRequest, Body()],
    pool: PoolDep,
    client: ClientDep,
) -> Response:
    """Chat with a published model, by its name or `name:version`."""
    response, turned = await ask(workspace, pool, client, body.model_dump(mode="json", exclude_unset=True))
    if body.stream and response.status_code == 200 and turned is None:
        return StreamingResponse(_relay(response), media_type="text/event-stream")
    content = await whole(response, body.model)
    if turned is None:
        return JSONResponse(content)
    if body.stream:
        return StreamingResponse(tool_calls.as_stream(turned(content)), media_type="text/event-stream")
    return JSONResponse(turned(content))


async def ask(
    workspace: Workspace, pool: ServerPool, client: httpx.AsyncClient, asked: dict[str, Any]
) -> tuple[httpx.Response, Turn | None]:
    """Send a chat request to the server of the model that it names. The caller reads the response and closes it, and
    turns the whole answer into tool calls where those are wanted."""
    version = await run_in_threadpool(models.find, workspace, asked["model"])
    endpoint, passed, turned = await run_in_threadpool(_prepare, workspace, pool, version, asked)
    request = client.build_request(
        "POST", f"{endpoint.base_url}/chat/completions", json=passed, headers=endpoint.headers
    )
    try:
        return await client.send(request, stream=True), turned
    except httpx.HTTPError as error:
        raise Unavailable(f"{asked['model']} does not answer: {error!r}", hint="Run `tunesmith doctor`.") from error


def _prepare(
    workspace: Workspace, pool: ServerPool, version: ModelVersion, asked: dict[str, Any]
) -> tuple[Endpoint, dict[str, Any], Turn | None]:
    """Where to ask, what, and how the whole answer is turned into tool calls where those are wanted."""
    task = answering.spoken_task(workspace, version)
    if isinstance(task, ToolUse) and tool_calls.are_asked_for(asked):
        passed, constraint, tools = tool_calls.as_text(task, asked)
        choice = tool_calls.choice_of(asked, tools)
        where, body = answering.address(workspace, pool, version, passed, constraint, choice)
        return where, body, partial(tool_calls.with_calls, tools=tools)
    if name := answering.forced_tool(version, asked):
        passed, answer = answering.without_tools(asked), answering.answer_in(version, asked)
        where, body = answering.prepare(workspace, pool, version, {**passed, "max_tokens": 1} if answer else passed)
        return where, body, partial(answering.as_tool_call, name=name, answer=answer)
    return *answering.prepare(workspace, pool, version, asked), None


async def _relay(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    finally:
        await response.aclose()


async def whole(response: httpx.Response, name: str) -> dict[str, Any]:
    """The completion, when it is not streamed. Raises BadInput for a request that the model's server refuses, and
    Unavailable when that server has failed."""
    try:
        raw = await response.aread()
    finally:
        await response.aclose()
    try:
        content: dict[str, Any] = response.json()
    except ValueError as error:
        raise Unavailable(f"{name} answered with something that is not JSON: {raw[:120]!r}") from error
    if response.status_code in REFUSED:
        raise refusal(response)
    if response.status_code != 200:
        raise Unavailable(f"{name} answered HTTP {response.status_code}: {raw[:300].decode(errors='replace')}")
    content["model"] = name
    return content
