"""The FastAPI application. Torch, transformers, distilabel and litellm are never imported here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from tunesmith import __version__
from tunesmith.agents import tools
from tunesmith.agents.mcp_http import McpEndpoint
from tunesmith.api import (
    chat,
    datasets,
    document,
    files,
    fine_tuning,
    health,
    library,
    limits,
    models,
    problems,
    recipes,
    schedules,
    webhooks,
)
from tunesmith.serving.pool import ServerPool
from tunesmith.settings import Settings
from tunesmith.store.workspace import Workspace

DESCRIPTION = "Fine-tuning as a tool: documents in, a small model that was measured to be better out."


def create_app(settings: Settings | None = None, workspace: Workspace | None = None) -> FastAPI:
    """The API over one data folder, which is opened when the application starts."""

    mcp = McpEndpoint()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.workspace = workspace or Workspace.open(settings)
        app.state.workspace.artifacts.sweep_scratch()
        app.state.pool = ServerPool(app.state.workspace.settings)
        client = httpx.AsyncClient(timeout=httpx.Timeout(600.0, connect=10.0))
        async with client as app.state.http, mcp.running():
            yield
        app.state.pool.close()
        app.state.workspace.close()

    app = FastAPI(
        title="Tunesmith",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        license_info={"name": "MIT", "identifier": "MIT"},
        servers=[{"url": "http://127.0.0.1:8765", "description": "The default address."}],
    )
    problems.install(app)
    app.add_middleware(limits.Limits)
    for router in (
        files.router,
        fine_tuning.router,
        chat.router,
        models.openai_router,
        models.base_router,
        models.router,
        recipes.router,
        datasets.router,
        schedules.router,
        webhooks.router,
        library.router,
    ):
        app.include_router(router, responses=problems.RESPONSES)
    app.include_router(tools.router, responses=problems.RESPONSES)
    app.include_router(health.router)
    app.router.routes.extend(mcp.routes())  # last: it takes every method
    generated = app.openapi
    app.openapi = lambda: document.finished(generated())  # type: ignore[method-assign]
    return app


def openapi() -> dict[str, Any]:
    """The OpenAPI document, as `openapi/openapi.json` holds it."""
    return create_app().openapi()
