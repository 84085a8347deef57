"""What the OpenAPI document needs beyond what FastAPI writes: examples of parameters, errors of each route, links."""

from typing import Any

from tunesmith.api.links import add_links
from tunesmith.api.problems import OPENAI, OpenAIError, OpenAIProblem, Problem

ID = "0123456789ab"
KNOWN: dict[str, Any] = {
    "after": None,  # the id of the last item of the page before; a first call leaves it out
    "job_id": f"ftjob-{ID}",
    "webhook_id": "wh_0123456789abcdef",
    "delivery_id": f"dlv-{ID}",
    "document": 12,
    "stage": "train",
    "version": f"run-{ID}",
    "purpose": "fine-tune",
    "artifact": "gguf",
    "recipe": "household-documents",
    "Idempotency-Key": "receipts-2024-05-01",
}
NAMES = {  # of what the examples make
    "recipes": "household-documents",
    "datasets": "household-documents",
    "models": "household-extractor",
    "schedules": "nightly",
    "tools": "get_run",
}


def finished(document: dict[str, Any]) -> dict[str, Any]:
    """The document with an example at each parameter that has neither one nor a default, and true error schemas."""
    for model in (Problem, OpenAIProblem, OpenAIError):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        document["components"]["schemas"][model.__name__] = schema
    for schema in document["components"]["schemas"].values():
        for field in schema.get("properties", {}).values():
            if field.get("contentMediaType") == "application/octet-stream":
                field["format"] = "binary"  # how generators of clients know a file
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                _exemplify(parameter, path)
            if OPENAI in operation.get("tags", []):
                _answer_as_openai(operation["responses"])
    add_links(document["paths"])
    return document


def _exemplify(parameter: dict[str, Any], path: str) -> None:
    if {"example", "examples"} & {*parameter, *parameter["schema"]} or "default" in parameter["schema"]:
        return
    name = parameter["name"]
    example = NAMES.get(path.split("/")[2]) if name == "name" else KNOWN.get(name, _by_name(name))
    if example is not None:
        parameter["example"] = example


def _answer_as_openai(responses: dict[str, Any]) -> None:
    for response in responses.values():
        if "application/problem+json" in response.get("content", {}):
            response["content"] = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}}


def _by_name(name: str) -> str | None:
    """`file_id` → file-0123456789ab."""
    return f"{name.removesuffix('_id')}-{ID}" if name.endswith("_id") else None
