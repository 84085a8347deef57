"""What webhooks are told: a notice of the queue or of a model, with its recipe, model and report."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from tunesmith.errors import GateNotMet
from tunesmith.jobs.outbox import Message
from tunesmith.recipes import fine_tuning
from tunesmith.store.tables import Job, Notice, Run

Event = Literal[
    "run.succeeded",
    "run.failed",
    "run.cancelled",
    "run.paused",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "gate.failed",
    "model.published",
    "model.rolled_back",
    "schedule.skipped",
]
EVENTS: tuple[str, ...] = get_args(Event)
_REPORT = (
    "rows",
    "in_sample",
    "measured",
    "routes",
    "live_rows",
    "forgetting",
    "gate",
)  # the deployment names folders of this machine


def describe(session: Session, notice: Notice) -> Sequence[Message]:
    """The messages of one notice. A stage that failed at the gate is also the event `gate.failed`."""
    data = {**_about(session, notice.run_id), **notice.data}
    if not notice.type.startswith(("run.", "model.")):
        data.pop("report", None)
    messages = [Message(notice.id, notice.type, data)]
    error = notice.data.get("error") or {}
    if notice.type == "job.failed" and error.get("code") == GateNotMet.code:
        failed = {**_about(session, notice.run_id), "status": "failed", "error": error}
        messages.append(Message(f"{notice.id}-gate", "gate.failed", failed))
    return messages


def _about(session: Session, run_id: str | None) -> dict[str, Any]:
    run = session.get(Run, run_id) if run_id else None
    if run is None:
        return {}
    evaluated = session.scalars(select(Job).where(Job.run_id == run.id, Job.kind == "evaluate")).first()
    outcome = (evaluated.outcome if evaluated else None) or {}
    return {
        "run_id": run.id,
        "fine_tuning_job_id": fine_tuning.job_id_of(run),
        "recipe": run.recipe["name"],
        "model": run.model_name,
        "version": run.id,
        "status": None,
        "error": None,
        "report": {key: outcome[key] for key in _REPORT if key in outcome} or None,
    }
