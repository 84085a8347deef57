"""The OpenAPI document is valid, and the committed one is what the app serves."""

import json
from pathlib import Path

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
