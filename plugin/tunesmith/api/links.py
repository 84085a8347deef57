"""Links of the OpenAPI document: what an operation makes, and the operations that take it. Programs follow them."""

from typing import Any

_ID, _NAME = "$response.body#/id", "$response.body#/name"
# What makes or lists it, the parameter that it fills, the start of the paths that have it, and where its value is.
_MADE = (
    ("create_file", "file_id", "/v1/files/{file_id}", _ID),
    ("create_fine_tuning_job", "job_id", "/v1/fine_tuning/jobs/{job_id}", _ID),
    ("create_fine_tuning_job", "run_id", "/v1/runs/{run_id}", "$response.body#/run_id"),
    ("save_recipe", "name", "/v1/recipes/{name}", _NAME),
    ("run_recipe", "run_id", "/v1/runs/{run_id}", _ID),
    ("run_schedule", "run_id", "/v1/runs/{run_id}", _ID),
    ("synthesize_dataset", "run_id", "/v1/runs/{run_id}", _ID),
    ("import_dataset", "name", "/v1/datasets/{name}", _NAME),
    ("create_schedule", "name", "/v1/schedules/{name}", _NAME),
    ("create_webhook", "webhook_id", "/v1/webhooks/{webhook_id}", _ID),
    ("list_runs", "run_id", "/v1/runs/{run_id}", "$response.body#/data/0/id"),
    ("list_models", "name", "/v1/models/{name}", "$response.body#/data/0/id"),
    ("list_datasets", "name", "/v1/datasets/{name}", "$response.body#/data/0/name"),
)
_OTHERS = ("{version}", "{delivery_id}")  # what the one who made the first part of a path does not know
# Links that fill more than one parameter, or a body: what makes it, what takes it, parameters, body.
_MORE: tuple[tuple[str, str, dict[str, str], Any], ...] = (
    (
        "create_file",
        "create_fine_tuning_job",
        {},
        {"model": "smollm2-135m-instruct", "training_file": _ID},
    ),
    ("create_file", "save_recipe", {}, {"name": "household-documents", "sources": [{"file": _ID}]}),
    ("save_recipe", "create_schedule", {}, {"name": "nightly", "recipe": _NAME, "cron": "0 2 * * *"}),
    ("get_model", "publish_model", {"name": _NAME}, {"version": "$response.body#/version"}),
    (
        "get_model",
        "create_chat_completion",
        {},
        {"model": _ID, "messages": [{"role": "user", "content": "RECEIPT …"}]},
    ),
    (
        "get_model",
        "download_model_artifact",
        {"name": _NAME, "version": "$response.body#/version", "artifact": "card"},
        None,
    ),
    (
        "test_webhook",
        "replay_webhook_delivery",
        {"webhook_id": "$request.path.webhook_id", "delivery_id": _ID},
        None,
    ),
)


def add_links(paths: dict[str, Any]) -> None:
    """Write them into the answers of the operations that make something."""
    operations = {op["operationId"]: (path, op) for path, methods in paths.items() for op in methods.values()}
    for maker, parameter, start, value in _MADE:
        for name, (path, _) in operations.items():
            if (path == start or path.startswith(f"{start}/")) and not any(other in path for other in _OTHERS):
                _link(operations[maker][1], name, {parameter: value}, None)
    for maker, taker, parameters, body in _MORE:
        _link(operations[maker][1], taker, parameters, body)


def _link(maker: dict[str, Any], taker: str, parameters: dict[str, str], body: Any) -> None:
    done = next(response for status, response in maker["responses"].items() if status.startswith("2"))
    link: dict[str, Any] = {"operationId": taker}
    if parameters:
        link["parameters"] = parameters
    if body is not None:
        link["requestBody"] = body
    done.setdefault("links", {})[taker] = link
