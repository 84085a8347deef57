"""An operation for agents: one name, one schema, one function. MCP tools and OpenAI functions are made from it."""

import difflib
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool

from tunesmith.agents import schemas
from tunesmith.agents.arguments import Arguments
from tunesmith.api.keys import Caller
from tunesmith.errors import Forbidden, InvalidParameters
from tunesmith.serving.pool import ServerPool
from tunesmith.store.workspace import Workspace

Progress = Callable[[float, float, str], Awaitable[None]]


async def _silent(_done: float, _total: float, _message: str) -> None:
    """Nobody asked for progress."""


@dataclass(frozen=True)
class Context:
    """Who calls, and what an operation works with. `progress`: told (seconds waited, seconds at most, what happens)."""

    workspace: Workspace
    pool: ServerPool
    http: httpx.AsyncClient
    caller: Caller
    progress: Progress = _silent


@dataclass(frozen=True)
class Operation:
    name: str
    title: str
    description: str
    scope: str
    arguments: type[Arguments]
    answer: type[BaseModel]
    function: Callable[[Context, Any], Any]
    destroys: bool = False
    repeatable: bool = False  # the same call again changes nothing more

    @property
    def reads_only(self) -> bool:
        return self.scope == "read"

    @cached_property
    def input_schema(self) -> schemas.Schema:
        return schemas.flat(self.arguments)

    @cached_property
    def output_schema(self) -> schemas.Schema:
        return schemas.flat_answer(self.answer)

    def parsed(self, arguments: Any) -> Arguments:
        """Raises InvalidParameters that names every wrong argument and, for a misspelt one, what may be meant."""
        try:
            return self.arguments.model_validate(arguments)
        except ValidationError as error:
            items = error.errors(include_url=False)
            details = "; ".join(self._described(item) for item in items)
            param = str(items[0]["loc"][0]) if items[0]["loc"] else None
            known = ", ".join(self.arguments.model_fields) or "none"
            raise InvalidParameters(
                f"{self.name}: {details}.", hint=f"Arguments of {self.name}: {known}.", param=param
            ) from error

    def _described(self, item: Any) -> str:
        name = ".".join(map(str, item["loc"])) or "arguments"
        if item["type"] != "extra_forbidden":
            return f"{name}: {item['msg']}"
        close = difflib.get_close_matches(name, self.arguments.model_fields, 1)
        return f"there is no argument {name!r}" + (f" (did you mean {close[0]!r}?)" if close else "")

    async def __call__(self, context: Context, arguments: Any) -> dict[str, Any]:
        """Check scope and arguments, do it, and answer as `answer` describes. Raises TunesmithError."""
        if not context.caller.may(self.scope):
            raise Forbidden(
                f"{self.name} needs the scope {self.scope!r}, which this key lacks.",
                hint=f"Use a key with the scope {self.scope} or admin.",
            )
        parsed = self.parsed(arguments)
        if inspect.iscoroutinefunction(self.function):
            found = await self.function(context, parsed)
        else:
            found = await run_in_threadpool(self.function, context, parsed)
        return self.answer.model_validate(found).model_dump(mode="json", by_alias=True)
