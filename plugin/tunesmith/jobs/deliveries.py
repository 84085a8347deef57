"""Sends what the outbox queued: signed, again with backoff until it is accepted, at least once over kill -9.

The serve process does this, in one thread that holds a lock: there are many workers, they come and go with their
trainings, and a machine that sleeps must not hold back the news. What is on its way is known in memory only, so after
kill -9 a delivery is still pending and goes out again, with the same `webhook-id`.
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from tunesmith.jobs import outbox
from tunesmith.store.database import Database
from tunesmith.store.tables import Delivery, Notice, Webhook
from tunesmith_connectors import webhooks as wire

log = logging.getLogger(__name__)

AT_ONCE = 8
KEEP_S = 30 * 86400.0
_TIDY_EVERY_S = 3600.0
GONE = 410


class Dispatcher:
    """`step()` is called again and again by the loop that holds the lock; `close()` waits for what is on its way."""

    def __init__(self, database: Database, describe: outbox.Describe, allowed: Sequence[str]):
        self._database = database
        self._describe = describe
        self._allowed = allowed
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook")
        self._busy: dict[str, Future[Delivery | None]] = {}  # webhook id → what is on its way there
        self._tidied = 0.0

    def step(self) -> None:
        """Pass new notices on and start what is due: one delivery per webhook at a time, so none holds up another."""
        while outbox.pass_on(self._database, self._describe):
            pass
        self._busy = {webhook_id: future for webhook_id, future in self._busy.items() if not future.done()}
        for delivery_id, webhook_id in due(self._database, time.time()):
            if webhook_id not in self._busy and len(self._busy) < AT_ONCE:
                self._busy[webhook_id] = self._pool.submit(self._attempt, delivery_id)
        if time.monotonic() - self._tidied > _TIDY_EVERY_S or not self._tidied:
            tidy(self._database)
            self._tidied = time.monotonic()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _attempt(self, delivery_id: str) -> Delivery | None:
        try:
            return attempt(self._database, delivery_id, self._allowed)
        except Exception:
            log.exception("The delivery %s could not be recorded; it stays pending.", delivery_id)
            return None


def due(database: Database, now: float) -> list[tuple[str, str]]:
    """(delivery, webhook) ids: of each webhook that is switched on, the oldest delivery whose time has come."""
    order = func.row_number().over(partition_by=Delivery.webhook_id, order_by=(Delivery.created_at, Delivery.id))
    waiting = (
        select(Delivery.id, Delivery.webhook_id, Delivery.created_at, order.label("place"))
        .join(Webhook, Webhook.id == Delivery.webhook_id)
        .where(Delivery.status == "pending", Delivery.next_attempt_at <= now, Webhook.enabled)
        .subquery()
    )
    query = select(waiting.c.id, waiting.c.webhook_id).where(waiting.c.place == 1).order_by(waiting.c.created_at)
    with database.read() as session:
        return [(delivery_id, webhook_id) for delivery_id, webhook_id in session.execute(query)]


def attempt(database: Database, delivery_id: str, allowed: Sequence[str]) -> Delivery | None:
    """Send once and record how it went. None when the delivery or its webhook was deleted meanwhile."""
    with database.read() as session:
        delivery = session.get(Delivery, delivery_id)
        webhook = session.get(Webhook, delivery.webhook_id) if delivery else None
    if delivery is None or webhook is None:
        return None
    began = time.time()
    try:
        url = wire.check_url(webhook.url, allowed)  # again: the list may have become shorter since
        answer = wire.send(url, webhook.secret, delivery.event_id, delivery.body.encode())
    except wire.WebhookError as refused:
        answer = wire.Answer(None, refused.message, 0)
    if not answer.accepted:
        log.warning("Webhook %s: %s was not accepted: %s", webhook.id, delivery.type, answer.error)
    return _record(database, delivery_id, answer, began)


_recording = threading.Lock()  # SQLite takes one writer at a time: a queue here is fairer than its busy time-out


def _record(database: Database, delivery_id: str, answer: wire.Answer, began: float) -> Delivery | None:
    with _recording, database.write() as session:
        delivery = session.get(Delivery, delivery_id)
        webhook = session.get(Webhook, delivery.webhook_id) if delivery else None
        if delivery is None or webhook is None:
            return None
        seen = {"at": began, "status_code": answer.status_code, "error": answer.error, "ms": answer.ms}
        delivery.attempts = [*delivery.attempts, seen]
        delivery.tries_left -= 1
        if answer.accepted:
            delivery.status, delivery.next_attempt_at = "delivered", None
        elif answer.status_code == GONE:
            webhook.enabled, webhook.disabled_reason = False, "The endpoint answered 410: it is gone."
            _give_up(session, webhook)
        elif delivery.tries_left <= 0:
            delivery.status, delivery.next_attempt_at = "failed", None
        else:
            delivery.next_attempt_at = time.time() + outbox.BACKOFF_S[-delivery.tries_left]
        session.flush()
        if webhook.run_id and _is_over(session, webhook):
            session.delete(webhook)
        return delivery


def _give_up(session: Session, webhook: Webhook) -> None:
    waiting = select(Delivery).where(Delivery.webhook_id == webhook.id, Delivery.status == "pending")
    for delivery in session.scalars(waiting):
        delivery.status, delivery.next_attempt_at = "failed", None


def _is_over(session: Session, webhook: Webhook) -> bool:
    """Whether a webhook of one run has been told its end, and nothing else is on its way to it."""
    mine = select(Delivery).where(Delivery.webhook_id == webhook.id)
    told = mine.where(Delivery.type.in_(outbox.RUN_ENDS), Delivery.status == "delivered")
    waiting = mine.where(Delivery.status == "pending")
    return bool(session.scalar(select(told.exists()))) and not session.scalar(select(waiting.exists()))


def tidy(database: Database) -> None:
    """Forget what is over for 30 days: notices, ended deliveries, webhooks of one run."""
    old = time.time() - KEEP_S
    with database.write() as session:
        session.execute(delete(Notice).where(Notice.passed_on, Notice.created_at < old))
        session.execute(delete(Delivery).where(Delivery.status != "pending", Delivery.created_at < old))
        waiting = exists().where(Delivery.webhook_id == Webhook.id, Delivery.status == "pending")
        one_off = (Webhook.run_id.is_not(None), Webhook.created_at < old, ~waiting)
        session.execute(delete(Webhook).where(*one_off))
