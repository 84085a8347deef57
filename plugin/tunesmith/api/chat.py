"""`/v1/chat/completions`: passes through to the serving target, holding the answer to the task's format."""

import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any

import httpx
from anyio import to_thread
from fastapi import APIRouter, Body
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from tunesmith.api import tool_calls
from tunesmith.api.dependencies import CanRead, ClientDep, PoolDep, WorkspaceDep
from tunesmith.api.problems import OPENAI
from tunesmith.api.routing import SafeRoute
from tunesmith.api.schemas import Open
from tunesmith.api.streams import STREAMS
from tunesmith.errors import Unavailable
from tunesmith.evaluation.answers import blames_request, refusal
from tunesmith.recipes import answering, chat_parameters, models
from tunesmith.serving.pool import ServerPool
from tunesmith.serving.targets.base import Endpoint
from tunesmith.store.tables import ModelVersion
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.tool_use import ToolUse
from tunesmith.typed import Typed

Turn = Callable[[dict[str, Any]], dict[str, Any]]

router = APIRouter(prefix="/v1/chat", tags=[OPENAI], route_class=SafeRoute)


class ChatRequest(Typed):
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


@router.post(
    "/completions",
    operation_id="create_chat_completion",
    dependencies=[CanRead],
    response_model=Completion,
    responses=STREAMS,
)
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
    content = await run_in_threadpool(turned, content)  # it holds calls to schemas of the caller's
    if body.stream:
        return StreamingResponse(tool_calls.as_stream(content), media_type="text/event-stream")
    return JSONResponse(content)


async def ask(
    workspace: Workspace, pool: ServerPool, client: httpx.AsyncClient, asked: dict[str, Any]
) -> tuple[httpx.Response, Turn | None]:
    """Send a chat request to the server of the model that it names. The caller reads the response and closes it, and
    turns the whole answer into tool calls where those are wanted."""
    asked = chat_parameters.checked(asked)
    version = await run_in_threadpool(models.find, workspace, asked["model"])
    prepared = partial(_prepare, workspace, pool, version, asked)
    endpoint, passed, turned = await to_thread.run_sync(prepared, limiter=pool.threads)
    try:
        return await _send(client, endpoint, passed), turned
    except httpx.HTTPError as error:
        if not await to_thread.run_sync(pool.died, endpoint, limiter=pool.threads):
            raise _away(asked, error) from error
    async with pool.retries:
        endpoint, passed, turned = await to_thread.run_sync(prepared, limiter=pool.threads)
        try:
            return await _send(client, endpoint, passed), turned
        except httpx.HTTPError as error:
            raise _away(asked, error) from error


async def _send(client: httpx.AsyncClient, endpoint: Endpoint, body: dict[str, Any]) -> httpx.Response:
    """The response: whole, or its head when it is streamed."""
    request = client.build_request("POST", f"{endpoint.base_url}/chat/completions", json=body, headers=endpoint.headers)
    response = await client.send(request, stream=True)
    if not body.get("stream"):
        try:
            await response.aread()
        finally:
            await response.aclose()
    return response


def _away(asked: dict[str, Any], error: httpx.HTTPError) -> Unavailable:
    return Unavailable(f"{asked['model']} does not answer: {error!r}", hint="Run `tunesmith doctor`.")


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
    except httpx.HTTPError:  # too late for a status of its own
        said = {"message": "The model's server ended before its answer.", "type": "server_error", "code": "unavailable"}
        yield f"\n\ndata: {json.dumps({'error': said})}\n\n".encode()
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
    if blames_request(response):
        raise refusal(response)
    if response.status_code != 200:
        raise Unavailable(f"{name} answered HTTP {response.status_code}: {raw[:300].decode(errors='replace')}")
    content["model"] = name
    return content
