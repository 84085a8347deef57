"""Published names and their versions. Exactly one version of a name is live; going back is one call."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from tunesmith.errors import BadInput, Conflict, NotFound, TunesmithError
from tunesmith.jobs import outbox
from tunesmith.recipes import changes
from tunesmith.recipes.changes import Change
from tunesmith.recipes.context import target_for
from tunesmith.serving import opened, publish
from tunesmith.serving.routes import Mode
from tunesmith.serving.targets.base import Deployment
from tunesmith.store.tables import Model, ModelVersion, Run
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.base import TASKS

Recheck = Callable[[], None]


@dataclass
class Release:
    """All that is known of a version when it goes live."""

    name: str
    version: str
    run_id: str
    base_model: str
    dataset_version: str
    task: dict[str, Any]
    deployment: dict[str, Any]
    evaluation: dict[str, Any]


def publish_release(workspace: Workspace, release: Release, *, replaces: str | None, recheck: Recheck) -> Change:
    """Put a new version live, once. `replaces`: the version that it was measured against (None: there was none), which
    must be the live one still. `recheck`: raises when something else speaks against it by now.

    Called again after a kill -9 it finishes what is missing; a version that was live already, and is no more, stays
    where it is. Raises Conflict, and what `recheck` and the target raise.
    """
    with changes.alone(workspace, release.name):
        if _was_published(workspace, release):
            return _published_before(workspace, release)
        _require_live(release.name, live_version(workspace, release.name), replaces)
        recheck()
        deployment = deployment_of(workspace, release.deployment)

        def in_books(session: Session) -> ModelVersion:
            model = session.get(Model, release.name, with_for_update=True)
            _require_live(release.name, model, replaces)  # should the lock have been lost with its connection
            return record(session, release)

        return changes.routed(workspace, changes.go_live(workspace, deployment, in_books), deployment, [])


def deployment_of(workspace: Workspace, stored: dict[str, Any]) -> Deployment:
    """What is deployed, with its files where they lie now."""
    deployment, found = Deployment.from_dict(stored), workspace.artifacts.found
    return replace(deployment, gguf=str(found(deployment.gguf)), hf_dir=str(found(deployment.hf_dir)))


def live_version(workspace: Workspace, name: str) -> ModelVersion | None:
    with workspace.database.read() as session:
        model = session.get(Model, name)
        return _version(session, name, model.live) if model and model.live else None


def find(workspace: Workspace, name: str) -> ModelVersion:
    """The version that answers to `name` (the live one) or `name:version`. Raises NotFound with what is there."""
    base, _, version = name.partition(":")
    with workspace.database.read() as session:
        model = session.get(Model, base)
        wanted = version if version and version != "latest" else (model.live if model else None)
        found = _version(session, base, wanted) if wanted else None
        known = list(session.scalars(select(Model.name).where(Model.live.is_not(None)).order_by(Model.name)))
    if found is None:
        raise NotFound(
            f"There is no model {name!r}.",
            code="model_not_found",
            hint=f"Models: {', '.join(known) or 'none is published yet'}.",
            param="model",
        )
    return found


def of_task(workspace: Workspace, name: str, task: str) -> ModelVersion:
    """As `find`; raises BadInput when the model does another task."""
    found = find(workspace, name)
    if found.task["name"] != task:
        raise BadInput(
            f"{name} does the task {found.task['name']}, not {task}.", param="model", hint="Name a model of this task."
        )
    return found


def list_models(workspace: Workspace) -> list[tuple[Model, ModelVersion]]:
    query = select(Model, ModelVersion).join(
        ModelVersion, (ModelVersion.name == Model.name) & (ModelVersion.version == Model.live)
    )
    with workspace.database.read() as session:
        return [(model, version) for model, version in session.execute(query.order_by(Model.name))]


def list_versions(workspace: Workspace, name: str) -> list[ModelVersion]:
    """Newest first. Raises NotFound."""
    find(workspace, name)
    query = select(ModelVersion).where(ModelVersion.name == name).order_by(ModelVersion.id.desc())
    with workspace.database.read() as session:
        return list(session.scalars(query))


def make_live(workspace: Workspace, name: str, version: str, notice: str = "model.published") -> Change:
    """Put an earlier, already measured version live: at the target, in our books, then under its route.

    `notice`: what webhooks are told. A route that fails is a warning: the version is live.
    """
    with changes.alone(workspace, name):
        return _make_live(workspace, name, version, notice)


def roll_back(workspace: Workspace, name: str, from_version: str | None = None) -> Change:
    """Put the version before the live one live again. With `from_version`, the one before that, once: called again it
    changes nothing. Raises Conflict when there is none, or when yet another version is live."""
    with changes.alone(workspace, name):
        live = find(workspace, name)
        start = find(workspace, f"{name}:{from_version}") if from_version else live
        before = next((row for row in list_versions(workspace, name) if row.id < start.id), None)
        if before is None:
            raise Conflict(f"{name} has no version before {start.version}.", hint="There is nothing to roll back to.")
        if live.version not in (start.version, before.version):
            raise Conflict(
                f"{live.version} of {name} is live, not {start.version}.",
                code="live_changed",
                hint="Somebody changed it meanwhile. Look at its versions and decide again.",
                param="from_version",
            )
        return _make_live(workspace, name, before.version, "model.rolled_back")


def _make_live(workspace: Workspace, name: str, version: str, notice: str) -> Change:
    row = find(workspace, f"{name}:{version}")
    if (row.name, row.version) != (name, version):  # "latest" finds the live one
        raise BadInput(f"{version!r} is no version.", hint=f"Name it, such as {row.version}.", param="version")
    deployment = deployment_of(workspace, row.deployment)

    def in_books(session: Session) -> ModelVersion:
        model, stored = session.get(Model, name), _version(session, name, version)
        assert model is not None
        assert stored is not None
        _go_live(session, model, stored, notice)
        return stored

    return changes.routed(workspace, changes.go_live(workspace, deployment, in_books), deployment, [])


def remove(workspace: Workspace, name: str) -> None:
    """Take a model away with all its versions, or one version that is not live (`name:version`): its route, its tags
    at the target, its GGUF, and last our books, so that it can be done again. Raises NotFound, Conflict."""
    with changes.alone(workspace, find(workspace, name).name):
        _remove(workspace, name)


def _remove(workspace: Workspace, name: str) -> None:
    found, live = find(workspace, name), live_version(workspace, name.partition(":")[0])
    whole = ":" not in name
    if not whole and live is not None and live.version == found.version:
        raise Conflict(f"{found.name}:{found.version} is live.", hint="Publish another version first.")
    rows = list_versions(workspace, name) if whole else [found]
    if whole:
        publish.withdraw(name, workspace.settings)
    for row in rows:
        deployment = deployment_of(workspace, row.deployment)
        if not whole:
            deployment = not_live(deployment)
        target_for(workspace.settings, deployment.target).remove(deployment)
        Path(deployment.gguf).unlink(missing_ok=True)
    with workspace.database.write() as session:
        if whole:
            session.execute(delete(Model).where(Model.name == name))
        session.execute(delete(ModelVersion).where(ModelVersion.id.in_([row.id for row in rows])))


def not_live(deployment: Deployment) -> Deployment:
    """The same where another version is live: two trainings on the same rows can end in the same weights, and then the
    live tag must not be taken for this version's."""
    return replace(deployment, digest="")


def view(row: ModelVersion, *, live: bool) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": row.version,
        "live": live,
        "run_id": row.run_id,
        "base_model": row.base_model,
        "dataset_version": row.dataset_version,
        "task": row.task["name"],
        "target": row.deployment.get("target"),
        "evaluation": row.evaluation,
        "created_at": int(row.created_at),
        "live_since": int(row.live_since) if row.live_since else None,
    }


def card(workspace: Workspace, name: str) -> dict[str, Any]:
    """What is known of a model: the version that answers to `name`, as `view`, and the names of all its versions."""
    found = find(workspace, name)
    live = live_version(workspace, found.name)
    versions = [row.version for row in list_versions(workspace, found.name)]
    shown = view(found, live=live is not None and live.version == found.version)
    return {**shown, "versions": versions, "usage": usage(workspace, found)}


def usage(workspace: Workspace, row: ModelVersion) -> dict[str, Any]:
    """How to ask the version on each route, once it is live; nothing where its target is not at hand any more."""
    settings = workspace.settings
    routed = (row.evaluation.get("routes") or {}).get("litellm")
    proxy: Mode | None = None
    if routed and settings.litellm_url:
        proxy = "wildcard" if routed["same_as"] else "database"
    try:
        deployment = deployment_of(workspace, row.deployment)
        task = TASKS.get(row.task["name"])(row.task["spec"])
        target = target_for(settings, deployment.target)
        return opened.usage(deployment, task, opened.opened(target, deployment, task, settings, proxy=proxy))
    except (TunesmithError, KeyError, TypeError):  # a plug-in is gone, or the record is of another release
        return {}


def _go_live(session: Session, model: Model, row: ModelVersion, notice: str) -> None:
    """In our books and in the outbox, together. Nothing happens to a version that is live already."""
    if model.live == row.version:
        return
    data = {"model": row.name, "version": row.version, "previous_version": model.live}
    outbox.put(session, notice, row.run_id, data)
    model.live, row.live_since = row.version, time.time()


def _version(session: Session, name: str, version: str | None) -> ModelVersion | None:
    query = select(ModelVersion).where(ModelVersion.name == name, ModelVersion.version == version)
    return session.scalars(query).first()


def record(session: Session, release: Release) -> ModelVersion:
    """Make a version live in the database. The caller holds its name, and has promoted it at its target."""
    row = _version(session, release.name, release.version)
    if row is None:
        row = ModelVersion(**vars(release))
        session.add(row)
    model = session.get(Model, release.name) or Model(name=release.name)
    session.add(model)
    run = session.get(Run, release.run_id)
    if run is not None and run.published_at is None:
        run.published_at = time.time()
    _go_live(session, model, row, "model.published")
    return row


def _was_published(workspace: Workspace, release: Release) -> bool:
    with workspace.database.read() as session:
        run = session.get(Run, release.run_id)
        known = _version(session, release.name, release.version) is not None
    return known or (run is not None and run.published_at is not None)


def _published_before(workspace: Workspace, release: Release) -> Change:
    live = live_version(workspace, release.name)
    if live is not None and live.version == release.version:
        return changes.routed(workspace, live, deployment_of(workspace, live.deployment), [])
    said = f"{release.name}:{release.version} was live and is no more: somebody changed it meanwhile, and it stays so."
    return Change(None, None, [said])


def _require_live(name: str, live: Model | ModelVersion | None, expected: str | None) -> None:
    now = live.live if isinstance(live, Model) else live.version if live else None
    if now != expected:
        raise Conflict(
            f"The candidate was measured against {expected or 'nothing'}, and by now {now or 'nothing'} is live "
            f"as {name}.",
            code="live_changed",
            hint="Resume the run to have it measured again, or run the recipe again.",
        )
