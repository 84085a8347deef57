"""Events of a run as server-sent events, resumable by `Last-Event-ID`; and bounded waits."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from tunesmith.errors import BadInput
from tunesmith.jobs import events
from tunesmith.recipes import runs
from tunesmith.store.tables import Event
from tunesmith.store.workspace import Workspace

POLL_S = 0.5
KEEPALIVE_S = 15.0
STREAMS: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}  # beside JSON, in the document


def wants_stream(request: Request, stream: bool) -> bool:
    return stream or "text/event-stream" in request.headers.get("accept", "")


def event_number(digits: str) -> int | None:
    """The number of an event; None for what cannot be one that we gave, such as ² or one beyond the database's."""
    return int(digits) if re.fullmatch(r"[0-9]{1,18}", digits) else None


def stream_events(
    workspace: Workspace, request: Request, run_id: str, view: Callable[[Event], dict[str, Any]]
) -> StreamingResponse:
    """All events from the start (or after `Last-Event-ID`) until the run has ended and all were sent."""
    last = event_number(request.headers.get("last-event-id", "0").rpartition("-")[2])
    if last is None:
        raise BadInput("Last-Event-ID is not the id of an event.", hint="Send the last id that the stream gave.")
    return StreamingResponse(
        _lines(workspace, run_id, last, view),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _lines(
    workspace: Workspace, run_id: str, after: int, view: Callable[[Event], dict[str, Any]]
) -> AsyncIterator[str]:
    idle = 0.0
    while True:
        ended = await run_in_threadpool(runs.run_ended, workspace, run_id)
        batch = await run_in_threadpool(events.read, workspace.database, run_id, after=after)
        for event in batch:
            after = event.id
            yield f"id: {event.id}\nevent: {event.type}\ndata: {json.dumps(view(event), ensure_ascii=False)}\n\n"
        if batch:
            idle = 0.0
            continue
        if ended:
            yield "event: done\ndata: [DONE]\n\n"
            return
        await asyncio.sleep(POLL_S)
        idle += POLL_S
        if idle >= KEEPALIVE_S:
            idle = 0.0
            yield ": still here\n\n"


async def wait_for_end(
    workspace: Workspace, run_id: str, seconds: float, tell: Callable[[float, str], Awaitable[None]] | None = None
) -> None:
    """Return when the run has ended or paused, or after `seconds`.

    `tell` is given (seconds waited, message) for the newest event whenever there is a new one.
    """
    begun = asyncio.get_running_loop().time()
    told = 0
    while not await run_in_threadpool(runs.run_ended, workspace, run_id):
        waited = asyncio.get_running_loop().time() - begun
        if waited >= seconds:
            return
        if tell:
            newest = await run_in_threadpool(events.read, workspace.database, run_id, newest_first=True, limit=1)
            if newest and newest[0].id > told:
                told = newest[0].id
                await tell(waited, newest[0].message)
        await asyncio.sleep(min(POLL_S, seconds - waited))
