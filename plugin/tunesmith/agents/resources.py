"""What an agent may read beside calling tools: dataset reports, model cards, the events of runs."""

import json
from typing import Any

from tunesmith.agents.operation import Context
from tunesmith.api import datasets, recipes
from tunesmith.errors import Forbidden, NotFound
from tunesmith.recipes import models, runs

MIME_TYPE = "application/json"
SHOWN = 50  # of each kind
TEMPLATES: list[dict[str, Any]] = [
    {
        "name": "dataset-report",
        "title": "Dataset report",
        "uri_template": "tunesmith://datasets/{name}/report",
        "description": "Counts, splits, rejected rows with reasons and quality gates of the newest version.",
        "mime_type": MIME_TYPE,
    },
    {
        "name": "model-card",
        "title": "Model card",
        "uri_template": "tunesmith://models/{name}/card",
        "description": "Base, dataset, versions and what was measured of the live version.",
        "mime_type": MIME_TYPE,
    },
    {
        "name": "run-events",
        "title": "Events of a run",
        "uri_template": "tunesmith://runs/{run_id}/events",
        "description": "The first 1000 things that a run has said, oldest first.",
        "mime_type": MIME_TYPE,
    },
]


def listed(context: Context) -> list[dict[str, Any]]:
    """The newest resources of each kind, as MCP names their fields."""
    _may_read(context)
    workspace = context.workspace
    names = list(dict.fromkeys(row["name"] for row in datasets.list_datasets(workspace)["data"]))[:SHOWN]
    live = [model.name for model, _ in models.list_models(workspace)][:SHOWN]
    ids = [run.id for run in runs.list_runs(workspace, limit=SHOWN)]
    return [
        *(_item(f"datasets/{name}/report", f"Dataset report of {name}") for name in names),
        *(_item(f"models/{name}/card", f"Model card of {name}") for name in live),
        *(_item(f"runs/{run_id}/events", f"Events of {run_id}") for run_id in ids),
    ]


def read(context: Context, uri: str) -> str:
    """The JSON text of a resource. Raises NotFound, Forbidden."""
    _may_read(context)
    scheme, _, path = uri.partition("://")
    parts = path.split("/")
    if scheme != "tunesmith" or len(parts) != 3:
        raise _unknown(uri)
    noun, name, what = parts
    match noun, what:
        case "datasets", "report":
            found = datasets.list_dataset_versions(context.workspace, name)["data"][0]
        case "models", "card":
            found = models.card(context.workspace, name)
        case "runs", "events":
            found = recipes.event_page(context.workspace, name, 0, 1000)
        case _:
            raise _unknown(uri)
    return json.dumps(found, ensure_ascii=False)


def _item(path: str, title: str) -> dict[str, Any]:
    return {"uri": f"tunesmith://{path}", "name": path.replace("/", "-"), "title": title, "mime_type": MIME_TYPE}


def _may_read(context: Context) -> None:
    if not context.caller.may("read"):
        raise Forbidden("This key lacks the scope 'read'.", hint="Use a key with the scope read or admin.")


def _unknown(uri: str) -> NotFound:
    known = ", ".join(item["uri_template"] for item in TEMPLATES)
    return NotFound(f"There is no resource {uri!r}.", code="unknown_resource", hint=f"Resources: {known}.", param="uri")
