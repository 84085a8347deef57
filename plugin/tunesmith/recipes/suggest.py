"""Suggestions for documents in Paperless: ask a published model, keep what it said, write it back where asked."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from tunesmith.datasets import suggestions
from tunesmith.datasets.paperless_access import connect
from tunesmith.datasets.suggestions import place_of, verdicts
from tunesmith.datasets.writing import Written, write_back
from tunesmith.errors import BadInput, Unavailable
from tunesmith.evaluation.answers import MOST_TOKENS, complete
from tunesmith.recipes import answering, models
from tunesmith.serving.pool import ServerPool
from tunesmith.store.database import Database
from tunesmith.store.tables import ModelVersion, Run, Suggestion
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.extraction import Extraction
from tunesmith_connectors.paperless import Lookups, PaperlessDocument


def suggest(
    workspace: Workspace,
    pool: ServerPool,
    number: int,
    model: str,
    *,
    write: Sequence[str] = (),
    create: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """What a live model says of a document; fields named in `write` are written back where nothing stands.

    The same version is not asked twice about the same text, so a webhook that our own write fires ends here.
    """
    version = models.find(workspace, model)
    with connect(workspace.settings) as client:
        found, lookups = client.document(number), client.lookups()
        with workspace.database.read() as session:
            known = suggestions.latest(session, found, model=version.name, version=version.version)
        asked = known is None or known.text != found.content
        if asked:
            answer = _ask(workspace, pool, version, found)
            suggestion = _keep(workspace, version, found, lookups, answer)
        else:
            assert known is not None
            suggestion = known
        written = write_back(workspace.database, client, suggestion, write, create=create, dry_run=dry_run)
    return view(_fresh(workspace.database, suggestion), asked=asked, written=written)


def record(workspace: Workspace, number: int, model: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what one of our models answered elsewhere and was shown in Paperless. Twice is once."""
    version = models.find(workspace, model)
    with connect(workspace.settings) as client:
        found = client.document(number)
        suggestion = _keep(workspace, version, found, client.lookups(), answer)
    return view(_fresh(workspace.database, suggestion), asked=False, written=Written())


def view(row: Suggestion, *, asked: bool, written: Written) -> dict[str, Any]:
    return {
        "id": row.id,
        "document": row.document,
        "model": row.model,
        "version": row.version,
        "answer": row.answer,
        "current": row.current,
        "written": written.fields,
        "kept": written.kept,
        "asked": asked,
        "verdicts": verdicts(row),
        "created_at": int(row.created_at),
    }


def _ask(workspace: Workspace, pool: ServerPool, version: ModelVersion, found: PaperlessDocument) -> dict[str, Any]:
    if not found.content.strip():
        raise BadInput(f"Document {found.id} has no text.", code="empty_text", hint="Run OCR on it in Paperless.")
    task = answering.task_of(version)
    if not isinstance(task, Extraction):
        raise BadInput(
            f"{version.name} does the task {task.name}.", hint="Only extractions suggest values.", param="model"
        )
    details = {"title": found.title, "filename": found.stored_name, "document_type": found.document_type}
    messages = task.prompt(found.content, **details, created=found.created)
    request = {"model": version.name, "messages": messages, "temperature": 0, "max_tokens": MOST_TOKENS}
    said = _complete(workspace, pool, version, request)
    answer = task.read(said, fenced=True)
    if answer is None:
        raise Unavailable(
            f"{version.name} did not answer in its format: {said[:120]!r}.",
            code="no_answer",
            hint="Ask again, or train it on more rows.",
            retryable=False,
        )
    return answer


def _complete(workspace: Workspace, pool: ServerPool, version: ModelVersion, request: dict[str, Any]) -> str:
    """The answer; asked once more when the model's server died meanwhile."""
    endpoint, body = answering.prepare(workspace, pool, version, request)
    with httpx.Client(timeout=300.0) as client:
        try:
            return complete(client, endpoint, body)
        except Unavailable:
            if not pool.died(endpoint):
                raise
        endpoint, body = answering.prepare(workspace, pool, version, request)
        return complete(client, endpoint, body)


def _keep(
    workspace: Workspace,
    version: ModelVersion,
    found: PaperlessDocument,
    lookups: Lookups,
    answer: Mapping[str, Any],
) -> Suggestion:
    fields = _mapping(workspace.database, version)
    places = {name: where for name in answer if (where := place_of(name, fields, lookups))}
    answer = suggestions.labelled(json.loads(json.dumps(answer)), places, lookups)
    with workspace.database.write() as session:
        return suggestions.keep(
            session, found, model=version.name, version=version.version, answer=answer, places=places
        )


def _mapping(database: Database, version: ModelVersion) -> dict[str, str]:
    """Task field → place in Paperless, as the recipe of the run that made this version says."""
    with database.read() as session:
        run = session.get(Run, version.run_id)
    recipe_sources = run.recipe.get("sources", []) if run else []
    mapped = (source.get("paperless") or source.get("documents") or {} for source in recipe_sources)
    return {name: where for source in mapped for name, where in (source.get("fields") or {}).items()}


def _fresh(database: Database, suggestion: Suggestion) -> Suggestion:
    with database.read() as session:
        return session.get_one(Suggestion, suggestion.id)
