"""Webhooks and their deliveries: the operations that the API and the command line share."""

import secrets
import time
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from tunesmith.errors import BadInput, Conflict, NotFound
from tunesmith.jobs import deliveries, outbox
from tunesmith.recipes import fine_tuning, notices, runs
from tunesmith.settings import Settings
from tunesmith.store.tables import Delivery, Webhook
from tunesmith.store.workspace import Workspace
from tunesmith_connectors import webhooks as wire

_TEST_S = 60.0  # when the service dies in the middle of a test, the dispatcher sends it after this


def allowed_hosts(settings: Settings) -> list[str]:
    return wire.hosts(settings.webhook_hosts)


def create(
    workspace: Workspace,
    url: str,
    events: list[str],
    *,
    description: str = "",
    enabled: bool = True,
    run_id: str | None = None,
) -> Webhook:
    """Make a webhook; its `secret` is new. With `run_id` it hears of that run only, of its end even when it has
    ended (or paused) already, and is gone once that end was delivered. Raises BadInput, NotFound.
    """
    _check(workspace, url, events)
    if run_id is not None:
        run_id = runs.get_run(workspace, fine_tuning.run_id_of(run_id) if run_id.startswith("ftjob-") else run_id).id
    webhook = Webhook(
        id=f"wh_{secrets.token_hex(8)}",
        url=url,
        events=list(dict.fromkeys(events)),
        description=description,
        enabled=enabled,
        run_id=run_id,
        secret=wire.new_secret(),
    )
    with workspace.database.write() as session:
        session.add(webhook)
        session.flush()
        if run_id is not None and runs.run_ended(workspace, run_id):
            outbox.catch_up(session, webhook, notices.describe)
    return webhook


def get(workspace: Workspace, webhook_id: str) -> Webhook:
    with workspace.database.read() as session:
        return _get(session, webhook_id)


def list_all(workspace: Workspace) -> list[Webhook]:
    with workspace.database.read() as session:
        return list(session.scalars(select(Webhook).order_by(Webhook.created_at)))


def update(workspace: Workspace, webhook_id: str, changes: dict[str, Any]) -> Webhook:
    """Change url, events, description or enabled; `rotate_secret` makes a new secret, valid at once."""
    with workspace.database.write() as session:
        webhook = _get(session, webhook_id)
        _check(workspace, changes.get("url", webhook.url), changes.get("events", webhook.events))
        if changes.pop("rotate_secret", False):
            webhook.secret = wire.new_secret()
        for name, value in changes.items():
            setattr(webhook, name, value)
        if webhook.enabled:
            webhook.disabled_reason = None
        return webhook


def remove(workspace: Workspace, webhook_id: str) -> None:
    """Delete it with its deliveries; what is on its way may still arrive."""
    with workspace.database.write() as session:
        session.delete(_get(session, webhook_id))


def list_deliveries(workspace: Workspace, webhook_id: str, *, limit: int = 20, after: str | None) -> list[Delivery]:
    """Newest first; `after` is the id of the last delivery of the page before."""
    query = select(Delivery).where(Delivery.webhook_id == webhook_id)
    with workspace.database.read() as session:
        _get(session, webhook_id)
        if after:
            last = _get_delivery(session, webhook_id, after)
            query = query.where(tuple_(Delivery.created_at, Delivery.id) < tuple_(last.created_at, last.id))
        return list(session.scalars(query.order_by(Delivery.created_at.desc(), Delivery.id.desc()).limit(limit)))


def replay(workspace: Workspace, webhook_id: str, delivery_id: str) -> Delivery:
    """Send a delivery again, with the same `webhook-id` and body. Raises Conflict for one still on its way."""
    with workspace.database.write() as session:
        webhook = _get(session, webhook_id)
        delivery = _get_delivery(session, webhook_id, delivery_id)
        if not webhook.enabled:
            raise Conflict(f"{webhook_id} is switched off.", hint='Switch it on first: PATCH {"enabled": true}.')
        if delivery.status == "pending" and delivery.tries_left == outbox.TRIES:
            raise Conflict(f"{delivery_id} has not been sent yet.", hint="It is about to be sent; look again.")
        delivery.status, delivery.next_attempt_at, delivery.tries_left = "pending", time.time(), outbox.TRIES
        return delivery


def test(workspace: Workspace, webhook_id: str) -> Delivery:
    """Send a `webhook.test` event now and return how it went; when it fails it is tried again like any other."""
    message = outbox.Message(f"evt-{secrets.token_hex(6)}", "webhook.test", {"webhook_id": webhook_id})
    with workspace.database.write() as session:
        webhook = _get(session, webhook_id)
        if not webhook.enabled:
            raise Conflict(f"{webhook_id} is switched off.", hint='Switch it on first: PATCH {"enabled": true}.')
        [delivery] = outbox.deliver(session, webhook, [message], time.time())
        delivery.next_attempt_at = time.time() + _TEST_S
    return deliveries.attempt(workspace.database, delivery.id, allowed_hosts(workspace.settings)) or delivery


def view(row: Webhook, *, with_secret: bool = False) -> dict[str, Any]:
    shown = {
        "id": row.id,
        "url": row.url,
        "events": row.events,
        "description": row.description,
        "enabled": row.enabled,
        "disabled_reason": row.disabled_reason,
        "run_id": row.run_id,
        "created_at": int(row.created_at),
    }
    return {**shown, "secret": row.secret} if with_secret else shown


def view_delivery(row: Delivery) -> dict[str, Any]:
    return {
        "id": row.id,
        "event_id": row.event_id,
        "type": row.type,
        "status": row.status,
        "attempts": row.attempts,
        "next_attempt_at": row.next_attempt_at,
        "created_at": row.created_at,
    }


def _check(workspace: Workspace, url: str, events: list[str]) -> None:
    unknown = sorted(set(events) - set(notices.EVENTS))
    if unknown or not events:
        raise BadInput(
            f"Unknown event {unknown[0]!r}." if unknown else "A webhook needs at least one event.",
            code="unknown_event",
            hint=f"Events: {', '.join(notices.EVENTS)}.",
            param="events",
        )
    try:
        wire.check_url(url, allowed_hosts(workspace.settings))
    except wire.WebhookError as refused:
        raise BadInput(refused.message, code=refused.code, hint=refused.hint, param="url") from refused


def _get(session: Session, webhook_id: str) -> Webhook:
    webhook = session.get(Webhook, webhook_id)
    if webhook is None:
        raise NotFound(f"There is no webhook {webhook_id!r}.", hint="List the webhooks to see what is there.")
    return webhook


def _get_delivery(session: Session, webhook_id: str, delivery_id: str) -> Delivery:
    delivery = session.get(Delivery, delivery_id)
    if delivery is None or delivery.webhook_id != webhook_id:
        raise NotFound(f"{webhook_id} has no delivery {delivery_id!r}.", hint="List its deliveries.")
    return delivery
