"""What must not stay: candidates of runs that ended unpublished, and names that a kill left half changed.

A run that ended as it was meant to (published, or at its `until`) keeps its files. Of any other, the tag at the target,
the merged model and the GGUF go; what it learnt (the adapter) and what was measured stay, so that it can be resumed.
"""

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlalchemy import delete, select

from tunesmith.errors import TunesmithError, Unavailable
from tunesmith.jobs import events, queue
from tunesmith.recipes import changes, models
from tunesmith.recipes.context import target_for
from tunesmith.serving import publish
from tunesmith.serving.gguf_file import SEAL
from tunesmith.serving.targets.base import Deployment
from tunesmith.store.tables import Job, ModelVersion, Run, UnsettledModel
from tunesmith.store.workspace import Workspace

log = logging.getLogger(__name__)

BADLY = frozenset({"failed", "cancelled"})
KEPT = frozenset({"log.txt", "outcome.json", "error.json"})  # of an export's folder


def step(workspace: Workspace) -> None:
    """Settle and tidy what can be now. What is busy, or at a target that is away, is left for the next time."""
    for name in _unsettled(workspace):
        _later(name, partial(_settle_alone, workspace, name))
    for run_id in _untidy(workspace):
        _later(run_id, partial(tidy, workspace, run_id))


def before_end(workspace: Workspace, job: Job) -> None:
    """A stage ends badly, and nobody knows yet. Never raises: `step` does what could not be done."""
    try:
        tidy(workspace, job.run_id, ending=job)
    except Exception:
        log.warning("The candidate of %s is not gone yet; it is tried again.", job.run_id, exc_info=True)


def tidy(workspace: Workspace, run_id: str, *, ending: Job | None = None) -> None:
    """Take the candidate away, unless it was published or the run goes on. `ending`: the attempt at a job that is about
    to end the run badly.

    Raises Unavailable while the name is busy or the target is away.
    """
    run = _run(workspace, run_id)
    with changes.alone(workspace, run.model_name, patience_s=5.0):
        run = _run(workspace, run_id)
        jobs = queue.jobs_of(workspace.database, run_id)
        if run.tidied or not _ends_badly(jobs, ending):
            return
        if not _was_published(workspace, run):
            there = _remove_files(workspace, jobs)
            _remove_from_target(workspace, run, jobs)
            _remove_seals(workspace, jobs)
            if there:
                events.append(workspace.database, run_id, "Its candidate was not published and is taken away.")
        if ending is None:  # else the mark would be there should the run go on after all
            _mark(workspace, run_id)


def _ends_badly(jobs: list[Job], ending: Job | None) -> bool:
    """Whether no process works on the candidate any more, but for the attempt that is `ending`, if it is still the one
    that counts: another worker may have taken the job over."""
    running = [(job.id, job.attempts) for job in jobs if job.status == "running"]
    if ending is not None:
        return running == [(ending.id, ending.attempts)]
    return not running and queue.status_of(jobs) in BADLY


def _remove_files(workspace: Workspace, jobs: list[Job]) -> bool:
    """The merged model and its GGUF, finished or not."""
    found = False
    for job in jobs:
        if job.kind == "export" and job.attempts:
            for path in workspace.artifacts.job(job.id).iterdir():
                if path.name not in KEPT and not path.name.endswith(SEAL):
                    found = True
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return found


def _remove_seals(workspace: Workspace, jobs: list[Job]) -> None:
    """Last: the target is told by them what was uploaded."""
    for job in jobs:
        if job.kind == "export" and job.attempts:
            for path in workspace.artifacts.job(job.id).glob(f"*{SEAL}"):
                path.unlink()


def _remove_from_target(workspace: Workspace, run: Run, jobs: list[Job]) -> None:
    evaluate = next((job for job in jobs if job.kind == "evaluate" and job.attempts), None)
    if evaluate is None:
        return
    try:
        deployment = _deployment(workspace, run, jobs, evaluate)
        settle(workspace, run.model_name)
        if models.live_version(workspace, run.model_name) is not None:
            deployment = models.not_live(deployment)
        target_for(workspace.settings, deployment.target).remove(deployment)
    except TunesmithError as error:
        if isinstance(error, Unavailable) and error.retryable:
            raise
        log.warning("The candidate of %s stays where it is: %s", run.id, error)


def _deployment(workspace: Workspace, run: Run, jobs: list[Job], evaluate: Job) -> Deployment:
    """As it was measured, or what a stage that did not get so far would have deployed."""
    if evaluate.outcome:
        return models.deployment_of(workspace, evaluate.outcome["deployment"])
    target = target_for(workspace.settings, run.recipe.get("publish", {}).get("target", "auto")).name
    name, version = run.model_name, run.id
    export = next((job for job in jobs if job.kind == "export" and job.outcome), None)
    gguf = workspace.artifacts.job(export.id) / export.outcome["gguf"] if export and export.outcome else ""
    return Deployment(
        target=target,
        name=name,
        version=version,
        model=f"{name}:{version}",
        gguf=str(gguf),
        hf_dir="",
        digest="",
        system=None,
        stop=[],
        num_ctx=0,
        quantization="",
    )


def _settle_alone(workspace: Workspace, name: str) -> None:
    with changes.alone(workspace, name, patience_s=0.0):
        settle(workspace, name)


def settle(workspace: Workspace, name: str) -> None:
    """After a change that was killed or failed half-way, give the target what stands in our books. The caller holds
    the name. Raises Unavailable while the target is away."""
    if name not in _unsettled(workspace):
        return
    live = models.live_version(workspace, name)
    if live is not None:  # else a run was to be the first of its name: it is tried again, or tidied
        deployment = models.deployment_of(workspace, live.deployment)
        try:
            publish.promote(target_for(workspace.settings, deployment.target), deployment, workspace.settings)
        except TunesmithError as error:
            if isinstance(error, Unavailable) and error.retryable:
                raise
            log.error("%s:%s is live in the books, and %s", name, live.version, error)
    with workspace.database.write() as session:
        session.execute(delete(UnsettledModel).where(UnsettledModel.name == name))


def gone(workspace: Workspace, export: Job) -> bool:
    """Whether the GGUF of an export that succeeded is not there any more."""
    return (
        export.outcome is not None
        and not Path(workspace.artifacts.job(export.id), str(export.outcome["gguf"])).exists()
    )


def _later(what: str, do: Callable[[], None]) -> None:
    try:
        do()
    except Unavailable as error:
        log.info("%s is settled later: %s", what, error)
    except Exception:
        log.exception("%s could not be settled; it is tried again.", what)  # and keeps no other one waiting


def _unsettled(workspace: Workspace) -> list[str]:
    with workspace.database.read() as session:
        return list(session.scalars(select(UnsettledModel.name)))


def _untidy(workspace: Workspace) -> list[str]:
    badly = select(Job.run_id).where(Job.status.in_(BADLY))
    with workspace.database.read() as session:
        return list(session.scalars(select(Run.id).where(Run.tidied.is_(False), Run.id.in_(badly))))


def _was_published(workspace: Workspace, run: Run) -> bool:
    with workspace.database.read() as session:
        known = session.scalars(select(ModelVersion.id).where(ModelVersion.run_id == run.id)).first()
    return run.published_at is not None or known is not None


def _run(workspace: Workspace, run_id: str) -> Run:
    with workspace.database.read() as session:
        return session.get_one(Run, run_id)


def _mark(workspace: Workspace, run_id: str) -> None:
    with workspace.database.write() as session:
        session.get_one(Run, run_id).tidied = True
