"""What the OpenAPI document needs beyond what FastAPI writes: examples of parameters, and the errors of each route."""

from typing import Any

from tunesmith.api.problems import OPENAI, OpenAIError, OpenAIProblem, Problem

ID = "0123456789ab"
KNOWN: dict[str, Any] = {
    "after": None,  # the id of the last item of the page before; a first call leaves it out
    "job_id": f"ftjob-{ID}",
    "document": 12,
    "stage": "train",
    "version": f"run-{ID}",
    "purpose": "fine-tune",
    "artifact": "gguf",
    "recipe": "household-documents",
    "Idempotency-Key": "receipts-2024-05-01",
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
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                _exemplify(parameter)
            if OPENAI in operation.get("tags", []):
                _answer_as_openai(operation["responses"])
    return document


def _exemplify(parameter: dict[str, Any]) -> None:
    if "example" in parameter or "examples" in parameter or "default" in parameter.get("schema", {}):
        return
    example = KNOWN.get(parameter["name"], _by_name(parameter["name"]))
    if example is not None:
        parameter["example"] = example


def _answer_as_openai(responses: dict[str, Any]) -> None:
    for response in responses.values():
        if "application/problem+json" in response.get("content", {}):
            response["content"] = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}}


def _by_name(name: str) -> str | None:
    """`schedule_id` → schedule-0123456789ab; `name` → a name."""
    if name.endswith("_id"):
        return f"{name.removesuffix('_id').replace('_', '')}-{ID}"
    return "household-documents" if name.endswith("name") else None
