"""The OpenAPI document is valid, and the committed one is what the app serves."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tunesmith.app import openapi

COMMITTED = Path(__file__).parents[1] / "openapi" / "openapi.json"


def test_document_is_valid_openapi() -> None:
    validate(openapi())


def test_committed_document_is_not_stale() -> None:
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == openapi(), "run `make openapi`"


def test_operation_ids_are_verb_noun_and_unique() -> None:
    ids = [op["operationId"] for path in openapi()["paths"].values() for op in path.values()]
    assert len(ids) == len(set(ids))
    assert all(name.islower() and "_" in name for name in ids)


def test_schema_names_are_told_apart() -> None:
    """Two models of one name get their modules' names in front, which generated clients cannot take."""
    assert [name for name in openapi()["components"]["schemas"] if "__" in name] == []


def _operations() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    document = openapi()
    return [(document, operation) for path in document["paths"].values() for operation in path.values()]


@pytest.mark.parametrize(("document", "operation"), _operations(), ids=lambda value: value.get("operationId", ""))
def test_operations_are_described_with_examples_that_are_right(
    document: dict[str, Any], operation: dict[str, Any]
) -> None:
    assert operation["summary"]
    assert operation.get("description"), "write a docstring that says what it answers"
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            assert parameter.get("example"), f"add an example of {parameter['name']} to api/document.py"
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is None:
        return
    schema = body["schema"]
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    whole = body.get("example") or (body.get("examples") or schema.get("examples") or [None])[0]
    if whole is None:  # then each field that must be sent has one
        whole = {name: schema["properties"][name]["examples"][0] for name in schema.get("required", [])}
    validator = Draft202012Validator({**body["schema"], "components": document["components"]})
    assert [error.message for error in validator.iter_errors(whole)] == []


def test_every_route_but_health_needs_a_key_and_documents_its_errors() -> None:
    for path, methods in openapi()["paths"].items():
        for operation in methods.values():
            if path in ("/healthz", "/readyz"):
                assert operation["security"] == []
                continue
            assert operation["security"] == [{"HTTPBearer": []}], operation["operationId"]
            for status in ("400", "401", "403", "404", "409", "422"):
                kind = "application/json" if "OpenAI" in operation["tags"] else "application/problem+json"
                assert list(operation["responses"][status]["content"]) == [kind], (operation["operationId"], status)
