"""`tunesmith mcp`: the tools over standard input and output, on the data folder itself or a service elsewhere."""

import asyncio

from tunesmith.cli.serve import worker_command
from tunesmith.jobs.process import spawn
from tunesmith.settings import get_settings
from tunesmith.store.logs import log_to_stderr
from tunesmith.store.workspace import Workspace


def serve_stdio() -> None:
    """Runs until the client goes away. Its worker waits while a service's works, and ends with us."""
    from tunesmith.agents.mcp_stdio import serve

    settings = get_settings()
    log_to_stderr(settings.log_level)
    workspace = Workspace.open(settings)
    worker = spawn(worker_command(), log=settings.home / "worker.log")
    try:
        asyncio.run(serve(workspace))
    finally:
        worker.end(grace=15)
        workspace.close()


def relay_stdio(url: str, key: str) -> None:
    """Runs until the client goes away."""
    from tunesmith.agents.mcp_relay import serve

    log_to_stderr(get_settings().log_level)
    asyncio.run(serve(url, key))
