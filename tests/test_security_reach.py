"""What a caller or a document must not reach: other machines, files, code, and the control tokens of a model."""

import json
from typing import Any

import pytest

from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Row
from tunesmith.tasks.extraction import Extraction
from tunesmith.tasks.schema import parse_schema
from tunesmith.tasks.schema_bounds import Budget, bounded
from tunesmith.tasks.style import Style
from tunesmith.tasks.tool_grammar import tool_grammar
from tunesmith.tasks.tools import read_tools


def tool(**properties: Any) -> dict[str, Any]:
    return {"name": "f", "parameters": {"type": "object", "properties": properties}}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"anyOf": [schema, {"type": "null"}]}
    return schema


@pytest.fixture
def no_retrieval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be opened, by whichever way a library would."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("urllib.request.OpenerDirector.open", refuse)
    monkeypatch.setattr("jsonschema.validators._RefResolver.resolve_remote", refuse)


ELSEWHERE = ["http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "//host/x", "other.json", "urn:x"]


@pytest.mark.parametrize("key", ["$ref", "$dynamicRef"])
@pytest.mark.parametrize("reference", ELSEWHERE)
def test_a_schema_that_refers_elsewhere_is_refused(no_retrieval: None, key: str, reference: str) -> None:
    """A recipe's schema was fetched from a metadata address when its answers were scored."""
    field = {"type": "array", "items": {key: reference}}
    for schema in ({"a": field}, {"type": "object", "properties": {"a": field}}):
        with pytest.raises(BadInput, match="another document"):
            Extraction({"schema": schema})
    with pytest.raises(BadInput, match="another document"):
        read_tools([tool(a=field)])


def test_a_stored_task_that_refers_elsewhere_fetches_nothing(no_retrieval: None) -> None:
    """Specs of models that were trained before such schemas were refused."""
    fields = [{"name": "a", "kind": "json", "schema": {"$ref": "http://169.254.169.254/x"}}]
    assert not Extraction({"fields": fields}).score('{"a": 1}', '{"a": 1}', []).format_ok


def test_references_within_a_schema_are_followed() -> None:
    """As pydantic writes nested models; scoring an answer failed the run after its training."""
    line = {"type": "object", "properties": {"price": {"$ref": "#/$defs/Price"}}, "required": ["price"]}
    schema = {
        "type": "object",
        "properties": {"lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}}, "day": {"$ref": "#/$defs/Day"}},
        "required": ["lines", "day"],
        "$defs": {"Line": line, "Price": {"type": "number"}, "Day": {"enum": ["Mon", "Tue"]}},
    }
    task = Extraction({"schema": schema})
    assert [f.kind for f in task.fields] == ["json", "enum"]
    right = '{"lines": [{"price": 2}], "day": "Mon"}'
    assert task.score(right, right, []).format_ok
    assert not task.score('{"lines": [{"price": "two"}], "day": "Mon"}', right, []).format_ok


@pytest.mark.parametrize(
    "reference", ["#/$defs/a", "#/nowhere", "#/properties/x/items/9"], ids=["recursive", "missing", "no item"]
)
def test_references_that_cannot_be_followed_are_refused(reference: str) -> None:
    schema = {
        "type": "object",
        "properties": {"x": {"$ref": reference}},
        "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}},
    }
    with pytest.raises(BadInput, match="cannot be used"):
        Extraction({"schema": schema})


def test_references_that_multiply_are_refused() -> None:
    """Each definition uses the next one ten times: a million nodes of a page of schema."""
    definitions: dict[str, Any] = {f"d{n}": {"prefixItems": [{"$ref": f"#/$defs/d{n + 1}"}] * 10} for n in range(6)}
    schema = {"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": {**definitions, "d6": {}}}
    with pytest.raises(BadInput, match="too large"):
        Extraction({"schema": schema})


@pytest.mark.parametrize(
    "field",
    [
        {"type": "string", "maxLength": 5.5},
        {"type": "string", "maxLength": -1},
        {"type": "string", "maxLength": "5"},
        {"type": "string", "maxLength": True},
        {"type": "string", "maxLength": None},
        {"type": "array", "minItems": 10**9},
        {"type": "string", "minLength": float("inf")},
        {"enum": []},
        {"enum": [float("nan")]},
        {"enum": list(range(3000))},
        {"type": "string", "pattern": "a{1000000}"},
        {"type": "string", "pattern": "(" * 600 + ")" * 600},
        {"properties": {f"p{n}": {"minItems": 9000} for n in range(30)}},
        {"properties": {f"p{n}": {} for n in range(30_000)}},
        deep(100),
        deep(300),
        {"default": json.loads("[" * 100 + "]" * 100)},
    ],
    ids=range(17),
)
def test_a_schema_that_no_grammar_can_be_made_of_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        bounded({"type": "object", "properties": {"a": field}}, Budget("schema"))
    with pytest.raises(BadInput) as caught:
        read_tools([tool(a=field)])
    assert caught.value.error_code == "invalid_tool"
    with pytest.raises(BadInput):
        Extraction({"schema": {"type": "object", "properties": {"a": field}}})


def test_names_of_keywords_are_no_keywords() -> None:
    """An argument may be called maxLength or enum, and any JSON may be a default."""
    fields: dict[str, Any] = {
        "maxLength": {"type": "string"},
        "enum": {"type": "array"},
        "pattern": {"type": "integer"},
    }
    fields["$ref"] = {"type": "string", "default": {"minItems": -1, "$ref": "http://x"}}
    assert bounded({"properties": fields}, Budget("schema")) == {"properties": fields}
    assert [f.name for f in parse_schema({"enum": "date", "minItems": "money"})] == ["enum", "minItems"]
    assert [f.name for f in Extraction({"schema": {"items": "date", "minItems": "money"}}).fields] == [
        "items",
        "minItems",
    ]


def test_lengths_written_as_floats_make_a_valid_grammar() -> None:
    """char{0,5.0} is no GBNF: every chat with such a tool was refused by the server."""
    tools = read_tools([tool(a={"type": "string", "maxLength": 5.0}, b={"type": "string", "maxLength": 0})])
    grammar = tool_grammar(tools, Style())
    assert "char{0,5} " in grammar
    assert "char{0,0} " in grammar
    assert "5.0" not in tools[0].as_line()
    task = Extraction({"schema": {"type": "object", "properties": {"a": {"type": "string", "maxLength": 5.0}}}})
    constraint = task.constraint([{"role": "user", "content": "x"}])
    assert constraint is not None
    assert "char{0,5} " in (constraint.grammar or "")


def test_required_must_be_names() -> None:
    for required in [5, [{}], [1], "ab"]:
        with pytest.raises(BadInput):
            Extraction({"schema": {"properties": {"a": {"type": "string"}}, "required": required}})


def test_rows_are_what_they_were() -> None:
    """A schema without any of that is passed on as it was written."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 5}}, "required": ["a"]}
    assert bounded(schema, Budget("schema")) == schema
    row = Row([{"role": "user", "content": "x"}, {"role": "assistant", "content": '{"a": "b"}'}])
    assert Extraction({"schema": schema}).score(row.answer, row.answer, row.prompt).exact
