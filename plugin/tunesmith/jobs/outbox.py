"""The outbox: what happened is written in the transaction in which it happened, and passed on to webhooks later.

So nothing is announced that did not happen, and nothing that happened is forgotten, whatever is killed in between.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tunesmith.store.artifacts import new_id
from tunesmith.store.database import Database
from tunesmith.store.tables import Delivery, Notice, Webhook

RUN_ENDS = frozenset({"run.succeeded", "run.failed", "run.cancelled"})
BACKOFF_S = (5.0, 30.0, 300.0, 1800.0, 7200.0, 28800.0)  # then the delivery has failed
TRIES = len(BACKOFF_S) + 1


@dataclass(frozen=True)
class Message:
    """What webhooks are told of a notice. `event_id` is the `webhook-id`: the same for every endpoint and attempt."""

    event_id: str
    type: str
    data: dict[str, Any]


Describe = Callable[[Session, Notice], Sequence[Message]]


def put(session: Session, type: str, run_id: str | None, data: dict[str, Any]) -> Notice:
    """Write a notice in the caller's transaction."""
    notice = Notice(id=new_id("evt"), type=type, run_id=run_id, data=data)
    session.add(notice)
    session.flush()
    return notice


def pass_on(database: Database, describe: Describe, limit: int = 100) -> int:
    """Make a delivery of every new notice for every webhook that asked for it. Returns how many notices there were."""
    waiting = select(Notice).where(Notice.passed_on.is_(False)).order_by(Notice.created_at).limit(limit)
    with database.read() as session:
        if session.scalars(waiting.limit(1)).first() is None:
            return 0  # the usual case takes no write lock
    with database.write() as session:
        notices = session.scalars(waiting.with_for_update()).all()
        webhooks = session.scalars(select(Webhook).where(Webhook.enabled)).all()
        for notice in notices:
            notice.passed_on = True
            listening = [hook for hook in webhooks if _concerns(hook, notice)]
            if listening:
                messages = describe(session, notice)
                for hook in listening:
                    deliver(session, hook, messages, notice.created_at)
        return len(notices)


def catch_up(session: Session, webhook: Webhook, describe: Describe) -> None:
    """Tell a webhook of one run how that run has stopped, when it stopped before the webhook was made."""
    ends = select(Notice).where(Notice.run_id == webhook.run_id, Notice.type.in_(RUN_ENDS | {"run.paused"}))
    last = session.scalars(ends.order_by(Notice.created_at.desc())).first()
    if last is not None:
        deliver(session, webhook, describe(session, last), last.created_at)


def deliver(session: Session, webhook: Webhook, messages: Sequence[Message], happened_at: float) -> list[Delivery]:
    """Queue those of the messages that the webhook subscribes to. `happened_at`: seconds since the epoch."""
    deliveries = []
    for message in messages:
        same = select(Delivery).where(Delivery.webhook_id == webhook.id, Delivery.event_id == message.event_id)
        wanted = message.type in webhook.events or message.type == "webhook.test"
        if wanted and session.scalars(same).first() is None:
            delivery = Delivery(
                id=new_id("dlv"),
                webhook_id=webhook.id,
                event_id=message.event_id,
                type=message.type,
                body=_body(message, happened_at),
                tries_left=TRIES,
            )
            session.add(delivery)
            session.flush()
            deliveries.append(delivery)
    return deliveries


def _concerns(webhook: Webhook, notice: Notice) -> bool:
    if webhook.run_id is not None:
        return webhook.run_id == notice.run_id
    return webhook.created_at <= notice.created_at


def _body(message: Message, happened_at: float) -> str:
    timestamp = datetime.fromtimestamp(happened_at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    payload = {"type": message.type, "timestamp": timestamp, "data": message.data}
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"), default=str)
