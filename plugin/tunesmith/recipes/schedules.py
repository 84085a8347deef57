"""Schedules of recipes: the operations that the API and the command line share, and what a turn does."""

import time
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from tunesmith.datasets import sources
from tunesmith.errors import BadInput, Conflict, NotFound, TunesmithError
from tunesmith.jobs import events, queue
from tunesmith.jobs.scheduler import Turn
from tunesmith.jobs.timing import Timing
from tunesmith.recipes import claims, runs
from tunesmith.recipes.callers import LOCAL, Caller
from tunesmith.recipes.schema import Recipe
from tunesmith.store.artifacts import new_id
from tunesmith.store.tables import Job, Run, Schedule
from tunesmith.store.workspace import Workspace
from tunesmith_connectors import wake as wake_on_lan

_TIMING = ("cron", "every", "timezone", "quiet_hours")


def create(workspace: Workspace, given: dict[str, Any], caller: Caller = LOCAL) -> Schedule:
    """`given`: name, recipe, cron or every, timezone, minimum_new_documents, quiet_hours, wake, enabled. Its runs have
    the right of `caller` to replace what is live.

    Raises BadInput, NotFound for an unknown recipe, Conflict for a name that is taken, Forbidden.
    """
    now = time.time()
    timing = _timing({key: given.get(key) for key in _TIMING}, anchor=now)
    row = Schedule(
        name=given["name"],
        id=new_id("sched"),
        recipe=given["recipe"],
        timing=timing.as_dict(),
        minimum_new_documents=given.get("minimum_new_documents", 0),
        wake=given.get("wake"),
        enabled=given.get("enabled", True),
        may_replace=caller.may("publish"),
        next_run_at=timing.next_after(now),
        created_at=now,
    )
    _check(workspace, row)
    _require_right(workspace, row, caller)
    with workspace.database.write() as session:
        if session.get(Schedule, row.name) is not None:
            raise Conflict(
                f"There is a schedule {row.name!r} already.",
                code="schedule_exists",
                hint=f"Change it with PATCH /v1/schedules/{row.name}, or choose another name.",
            )
        session.add(row)
    return row


def get(workspace: Workspace, name: str) -> Schedule:
    with workspace.database.read() as session:
        return _get(session, name)


def list_all(workspace: Workspace) -> list[Schedule]:
    with workspace.database.read() as session:
        return list(session.scalars(select(Schedule).order_by(Schedule.name)))


def update(workspace: Workspace, name: str, changes: dict[str, Any], caller: Caller = LOCAL) -> Schedule:
    """Change what is named. A new `cron` replaces `every`, and the other way round; None takes quiet_hours or wake
    away. Whoever names the recipe gives the schedule its right to replace what is live. Raises Forbidden to a caller
    who may not, and does more than switch it off.
    """
    now = time.time()
    with workspace.database.write() as session:
        row = _get(session, name)
        if changes != {"enabled": False}:
            _require_right(workspace, row, caller)
        if set(changes) & set(_TIMING):
            kept = _written(Timing.from_dict(row.timing))
            if changes.get("cron") or changes.get("every"):
                kept |= {"cron": None, "every": None}
            anchor = now if "every" in changes else row.timing["anchor"]
            timing = _timing({**kept, **{key: changes[key] for key in _TIMING if key in changes}}, anchor=anchor)
            row.timing = timing.as_dict()
        for key in ("recipe", "minimum_new_documents", "wake", "enabled"):
            if key in changes:
                setattr(row, key, changes[key])
        _check(workspace, row)
        if "recipe" in changes:
            _require_right(workspace, row, caller)
            row.may_replace = caller.may("publish")
        row.next_run_at = Timing.from_dict(row.timing).next_after(now)
        return row


def remove(workspace: Workspace, name: str) -> None:
    """Delete a schedule; its runs stay."""
    with workspace.database.write() as session:
        session.delete(_get(session, name))


def run_now(workspace: Workspace, name: str, caller: Caller = LOCAL) -> Run:
    """Run the recipe at once with the rights of `caller`, whatever the hour and however few documents are new. Raises
    Conflict while the schedule's last run goes on, Forbidden.
    """
    row = get(workspace, name)
    going_on = _going_on(workspace, row)
    if going_on:
        raise Conflict(going_on, code="schedule_busy", hint="Wait for that run, or cancel it.")
    run = _start(workspace, row, _recipe(workspace, row), None, may_replace=caller.may("publish"))
    with workspace.database.write() as session:
        stored = _get(session, name)
        stored.last_run_id = run.id
        stored.last_result = {"at": time.time(), "status": "started", "reason": "run now", "run_id": run.id}
    return run


def take_turn(workspace: Workspace, row: Schedule, key: str) -> Turn:
    """Queue a run, unless the last one goes on or too few documents are new. The same `key` gives the same run."""
    known = runs.find_by_key(workspace, key)
    if known is not None:
        return Turn(known.id)
    try:
        recipe = _recipe(workspace, row)
        reason = _going_on(workspace, row) or _too_few(workspace, row, recipe)
        return (
            Turn(reason=reason) if reason else Turn(_start(workspace, row, recipe, key, may_replace=row.may_replace).id)
        )
    except TunesmithError as error:
        return Turn(reason=f"{error.message} {error.hint or ''}".strip())


def view(row: Schedule) -> dict[str, Any]:
    timing = Timing.from_dict(row.timing)
    zone = ZoneInfo(timing.timezone)
    times: list[float] = []
    if row.enabled and row.next_run_at is not None:
        times = [row.next_run_at, *timing.next_times(row.next_run_at, 2)]
    return {
        "name": row.name,
        "recipe": row.recipe,
        **_written(timing),
        "minimum_new_documents": row.minimum_new_documents,
        "wake": row.wake,
        "enabled": row.enabled,
        "next_times": [datetime.fromtimestamp(moment, zone).isoformat(timespec="seconds") for moment in times],
        "last_run_id": row.last_run_id,
        "last_result": row.last_result,
        "created_at": int(row.created_at),
    }


def _timing(written: dict[str, Any], anchor: float) -> Timing:
    return Timing.of(
        cron=written["cron"],
        every=written["every"],
        timezone=written["timezone"] or "UTC",
        quiet=written["quiet_hours"],
        anchor=anchor,
    )


def _written(timing: Timing) -> dict[str, Any]:
    quiet = timing.quiet
    return {
        "cron": timing.cron,
        "every": timing.every,
        "timezone": timing.timezone,
        "quiet_hours": {"from": quiet.start, "to": quiet.end} if quiet else None,
    }


def _check(workspace: Workspace, row: Schedule) -> None:
    recipe = _recipe(workspace, row)
    if row.minimum_new_documents and not any(source.paperless for source in recipe.sources):
        raise BadInput(
            f"The recipe {recipe.name} does not read from Paperless, so no document of it is ever new.",
            code="no_paperless_source",
            hint="Leave minimum_new_documents at 0.",
            param="minimum_new_documents",
        )
    if row.wake:
        try:
            wake_on_lan.magic_packet(row.wake["mac"])
        except ValueError as error:
            raise BadInput(f"{error}.", code="bad_mac", hint="ip link shows it.", param="wake.mac") from error


def _require_right(workspace: Workspace, row: Schedule, caller: Caller) -> None:
    name = _recipe(workspace, row).model_name
    claims.require_right(workspace, name, may_replace=caller.may("publish"))


def _recipe(workspace: Workspace, row: Schedule) -> Recipe:
    return Recipe.model_validate(runs.get_recipe(workspace, row.recipe).document)


def _going_on(workspace: Workspace, row: Schedule) -> str | None:
    status = runs.status(workspace, row.last_run_id) if row.last_run_id else "succeeded"
    return None if status in queue.ENDED else f"The last run of this schedule, {row.last_run_id}, is still {status}."


def _too_few(workspace: Workspace, row: Schedule, recipe: Recipe) -> str | None:
    """Why not enough documents are new or corrected since a run of this recipe last began to read them to train."""
    if not row.minimum_new_documents:
        return None
    read = select(Job.started_at).join(Run, Run.id == Job.run_id)
    read = read.where(Run.recipe_name == row.recipe, Job.kind == "build", Job.status == "succeeded")
    read = read.where(Run.id.in_(select(Job.run_id).where(Job.kind == "train")))
    with workspace.database.read() as session:
        since = session.scalars(read.order_by(Job.started_at.desc())).first()
    moment = datetime.fromtimestamp(since, UTC) if since else None
    queries = [source.paperless.model_dump(exclude_defaults=True) for source in recipe.sources if source.paperless]
    count = sum(sources.count_changed(query, workspace.settings, moment) for query in queries)
    if count >= row.minimum_new_documents:
        return None
    return f"{count} of {row.minimum_new_documents} documents are new or corrected."


def _start(workspace: Workspace, row: Schedule, recipe: Recipe, key: str | None, *, may_replace: bool) -> Run:
    """Queue the run, and wake the machine that is to do it. A packet that cannot be sent is said and no more."""
    run = runs.create_run(workspace, recipe, idempotency_key=key, may_replace=may_replace)
    if row.wake:
        mac = row.wake["mac"]
        try:
            wake_on_lan.wake(**row.wake)
        except OSError as error:
            events.append(workspace.database, run.id, f"Wake-on-LAN to {mac} could not be sent: {error}", level="warn")
        else:
            events.append(workspace.database, run.id, f"Wake-on-LAN sent to {mac}.")
    return run


def _get(session: Session, name: str) -> Schedule:
    row = session.get(Schedule, name)
    if row is None:
        raise NotFound(f"There is no schedule {name!r}.", hint="List the schedules to see what is there.")
    return row
