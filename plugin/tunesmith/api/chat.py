"""`/v1/chat/completions`: passes through to the serving target, holding the answer to the task's format."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Body, Depends, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from tunesmith.api.dependencies import CanRead, WorkspaceDep
from tunesmith.api.problems import OPENAI
from tunesmith.api.schemas import Open
from tunesmith.errors import BadInput, Unavailable
from tunesmith.recipes import models
from tunesmith.recipes.context import target_for
from tunesmith.serving.pool import ServerPool
from tunesmith.serving.targets.base import Deployment, Endpoint
from tunesmith.store.tables import ModelVersion
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.base import TASKS
from tunesmith.tasks.conversation import Message

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
    stream: bool = False


class Completion(Open):
    id: str
    object: str
    model: str
    choices: list[dict[str, Any]]


def _pool(request: Request) -> ServerPool:
    pool: ServerPool = request.app.state.pool
    return pool


def _client(request: Request) -> httpx.AsyncClient:
    client: httpx.AsyncClient = request.app.state.http
    return client


@router.post("/completions", operation_id="create_chat_completion", dependencies=[CanRead], response_model=Completion)
async def create_chat_completion(
    workspace: WorkspaceDep,
    body: Annotated[ChatRequest, Body()],
    pool: Annotated[ServerPool, Depends(_pool)],
    client: Annotated[httpx.AsyncClient, Depends(_client)],
) -> Response:
    """Chat with a published model, by its name or `name:version`."""
    response = await ask(workspace, pool, client, body.model_dump(mode="json", exclude_unset=True))
    if body.stream and response.status_code == 200:
        return StreamingResponse(_relay(response), media_type="text/event-stream")
    return JSONResponse(await whole(response, body.model), response.status_code)


async def ask(
    workspace: Workspace, pool: ServerPool, client: httpx.AsyncClient, asked: dict[str, Any]
) -> httpx.Response:
    """Send a chat request to the server of the model that it names. The caller reads the response and closes it."""
    version = await run_in_threadpool(models.find, workspace, asked["model"])
    endpoint, passed = await run_in_threadpool(_prepare, workspace, pool, version, asked)
    request = client.build_request(
        "POST", f"{endpoint.base_url}/chat/completions", json=passed, headers=endpoint.headers
    )
    try:
        return await client.send(request, stream=True)
    except httpx.HTTPError as error:
        raise Unavailable(f"{asked['model']} does not answer: {error!r}", hint="Run `tunesmith doctor`.") from error


def _prepare(
    workspace: Workspace, pool: ServerPool, version: ModelVersion, asked: dict[str, Any]
) -> tuple[Endpoint, dict[str, Any]]:
    deployment = Deployment.from_dict(version.deployment)
    target = target_for(workspace.settings, deployment.target)
    endpoint = pool.endpoint(deployment)
    task = TASKS.get(version.task["name"])(version.task["spec"])
    plain = [message for message in map(_plain, asked["messages"]) if message is not None]
    constraint = task.constraint(plain) if len(plain) == len(asked["messages"]) else None
    return endpoint, target.body({**asked, "model": endpoint.model}, constraint)


def _plain(message: dict[str, Any]) -> Message | None:
    """A text message, or None for what a small text model cannot be asked (images, tool calls)."""
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "user", "assistant", "tool", "developer"):
        raise BadInput(f"Unknown role {role!r}.", hint="Use system, user or assistant.", param="messages")
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        content = "".join(part["text"] for part in content)
    return Message(role=role, content=content) if isinstance(content, str) else None


async def _relay(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    finally:
        await response.aclose()


async def whole(response: httpx.Response, name: str) -> dict[str, Any]:
    """The body of a response that is not streamed. Raises Unavailable when the model's server has failed."""
    try:
        raw = await response.aread()
    finally:
        await response.aclose()
    try:
        content: dict[str, Any] = response.json()
    except ValueError as error:
        raise Unavailable(f"{name} answered with something that is not JSON: {raw[:120]!r}") from error
    if response.status_code >= 500:
        raise Unavailable(f"{name} answered HTTP {response.status_code}: {raw[:300].decode(errors='replace')}")
    if response.status_code == 200:
        content["model"] = name
    return content
