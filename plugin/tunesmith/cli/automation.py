"""`tunesmith schedules` and `tunesmith webhooks`: what happens by itself, and who is told."""

import json
from typing import Annotated

import typer

from tunesmith.cli.inspect import JsonFlag, open_workspace, print_rows
from tunesmith.errors import BadInput

schedules = typer.Typer(help="Recipes that run by themselves.", no_args_is_help=True)
webhooks = typer.Typer(help="Who is told what happens.", no_args_is_help=True)


@schedules.command("list")
def list_schedules(as_json: JsonFlag = False) -> None:
    """Schedules with their next turn and what came of the last one."""
    from tunesmith.recipes import schedules as service

    rows = [service.view(row) for row in service.list_all(open_workspace())]
    for row in rows:
        row["when"] = row["cron"] or f"every {row['every']}"
        row["next"] = row["next_times"][0] if row["next_times"] else "switched off"
        last = row["last_result"] or {}
        row["last"] = last.get("run_id") or last.get("reason") or ""
    print_rows(rows, ("name", "recipe", "when", "timezone", "next", "last"), as_json)


@schedules.command("add")
def add_schedule(
    name: str,
    recipe: str,
    cron: Annotated[str | None, typer.Option(help='For example "0 2 * * *".')] = None,
    every: Annotated[str | None, typer.Option(help="30m, 6h or 1d.")] = None,
    timezone: Annotated[str, typer.Option(help="For example Europe/Berlin.")] = "UTC",
    minimum_new_documents: Annotated[int, typer.Option(min=0, help="Run only when so many are new.")] = 0,
    quiet: Annotated[str | None, typer.Option(help="Quiet hours, for example 22:00-06:00.")] = None,
    wake: Annotated[str | None, typer.Option(help="MAC address of a machine to wake.")] = None,
) -> None:
    """Run a saved recipe by itself. A running service takes the turns."""
    from tunesmith.recipes import schedules as service

    start, _, end = (quiet or "").partition("-")
    given = {
        "name": name,
        "recipe": recipe,
        "cron": cron,
        "every": every,
        "timezone": timezone,
        "minimum_new_documents": minimum_new_documents,
        "quiet_hours": {"from": start, "to": end} if quiet else None,
        "wake": {"mac": wake} if wake else None,
    }
    print(json.dumps(service.view(service.create(open_workspace(), given)), indent=2))


@schedules.command("remove")
def remove_schedule(name: str) -> None:
    """Delete a schedule; its runs stay."""
    from tunesmith.recipes import schedules as service

    service.remove(open_workspace(), name)
    print(f"{name} is removed.")


@schedules.command("run")
def run_schedule(name: str) -> None:
    """Queue its recipe now. A running service (or `tunesmith worker`) does the work."""
    from tunesmith.recipes import schedules as service

    print(service.run_now(open_workspace(), name).id)


@webhooks.command("list")
def list_webhooks(as_json: JsonFlag = False) -> None:
    """Webhooks, without their secrets."""
    from tunesmith.recipes import webhooks as service

    rows = [service.view(row) for row in service.list_all(open_workspace())]
    print_rows(rows, ("id", "url", "events", "enabled", "disabled_reason"), as_json)


@webhooks.command("add")
def add_webhook(
    url: str,
    event: Annotated[list[str], typer.Option(help="An event to tell; may be given again.")],
    description: str = "",
) -> None:
    """Make a webhook and show its signing secret, once."""
    from tunesmith.recipes import webhooks as service

    row = service.create(open_workspace(), url, event, description=description)
    print(json.dumps(service.view(row, with_secret=True), indent=2))


@webhooks.command("remove")
def remove_webhook(webhook_id: str) -> None:
    """Delete a webhook with its deliveries."""
    from tunesmith.recipes import webhooks as service

    service.remove(open_workspace(), webhook_id)
    print(f"{webhook_id} is removed.")


@webhooks.command("test")
def test_webhook(webhook_id: str) -> None:
    """Send a `webhook.test` event now and say how it went."""
    from tunesmith.recipes import webhooks as service

    delivery = service.test(open_workspace(), webhook_id)
    [attempt] = delivery.attempts
    if delivery.status != "delivered":
        raise BadInput(f"The endpoint did not accept it: {attempt['error']}", hint="A running service tries again.")
    print(f"{attempt['status_code']} after {attempt['ms']} ms")
