"""Routes that read their bodies safely: what is not JSON for everyone is a 422 like any other wrong body."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from tunesmith import json_safely


class _Request(Request):
    async def json(self) -> Any:
        body = await self.body()
        try:
            return json_safely.loads(body)
        except json_safely.NotJson as error:
            raise json.JSONDecodeError(str(error), "", 0) from error  # what FastAPI answers with a 422


class SafeRoute(APIRoute):
    """The `route_class` of every router here; tests/test_bad_input.py finds one that lacks it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def safely(request: Request) -> Response:
            return await handle(_Request(request.scope, request.receive))

        return safely
