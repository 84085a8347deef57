"""Examples for the parameters of every route, by their names: clients and forms show them."""

from typing import Any

ID = "0123456789ab"
KNOWN: dict[str, Any] = {
    "after": None,  # the id of the last item of the page before; a first call leaves it out
    "job_id": f"ftjob-{ID}",
    "stage": "train",
    "version": f"run-{ID}",
    "purpose": "fine-tune",
    "recipe": "household-documents",
    "Idempotency-Key": "receipts-2024-05-01",
}


def added(document: dict[str, Any]) -> dict[str, Any]:
    """The document with an example at each parameter that has neither one nor a default."""
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                if "example" in parameter or "examples" in parameter or "default" in parameter.get("schema", {}):
                    continue
                example = KNOWN.get(parameter["name"], _by_name(parameter["name"]))
                if example is not None:
                    parameter["example"] = example
    return document


def _by_name(name: str) -> str | None:
    """`schedule_id` → schedule-0123456789ab; `name` → a name."""
    if name.endswith("_id"):
        return f"{name.removesuffix('_id').replace('_', '')}-{ID}"
    return "household-documents" if name.endswith("name") else None
