"""`tunesmith library` and `tunesmith suggest`."""

import json
from typing import Annotated, Any

import typer

from tunesmith.cli.inspect import JsonFlag, open_workspace
from tunesmith.errors import BadInput, TunesmithError

library = typer.Typer(help="The mirror of Paperless that recipes read from.", no_args_is_help=True)


def _mirror(workspace: Any) -> Any:
    from tunesmith.datasets.library import Library

    return Library(workspace.database, workspace.settings)


@library.command()
def sync(
    full: Annotated[bool, typer.Option("--full", help="Fetch everything anew.")] = False, as_json: JsonFlag = False
) -> None:
    """Fetch what changed in Paperless; an interrupted sync goes on."""
    report = _mirror(open_workspace()).sync(full=full)
    print(json.dumps(report.as_dict(), indent=2) if as_json else report.sentence())


@library.command()
def status() -> None:
    """How many documents are here, and how far the last sync came, as JSON."""
    print(json.dumps(_mirror(open_workspace()).status(), indent=2, ensure_ascii=False))


def suggest(
    model: Annotated[str, typer.Argument(help="A published model.")],
    document: Annotated[list[int] | None, typer.Option(help="Id of a document; repeat it for several.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="All documents of the library with these tags.")] = None,
    write: Annotated[str, typer.Option(help="Fields to write where nothing stands: amount,date")] = "",
    create: Annotated[bool, typer.Option("--create", help="Make correspondents and types that are not there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written; write nothing.")] = False,
) -> None:
    """Ask a model about documents in Paperless; one line of JSON for each."""
    from tunesmith.recipes import suggest as service
    from tunesmith.serving.pool import ServerPool

    if bool(document) == bool(tag):
        raise BadInput("Name the documents, or tags.", hint="tunesmith suggest MODEL --document 12")
    workspace = open_workspace()
    numbers = list(document or [])
    if tag:
        mirror = _mirror(workspace)
        mirror.sync()
        numbers = [found.id for found in mirror.documents(tags=tag)]
    fields = [name.strip() for name in write.split(",") if name.strip()]
    pool, failed = ServerPool(workspace.settings), 0
    try:
        for number in numbers:
            try:
                line = service.suggest(workspace, pool, number, model, write=fields, create=create, dry_run=dry_run)
            except TunesmithError as error:
                line, failed = {"document": number, "error": error.as_dict()}, failed + 1
            print(json.dumps(line, ensure_ascii=False), flush=True)
    finally:
        pool.close()
    if failed:
        raise typer.Exit(1)
