"""JSON Schemas as callers that cannot follow `$ref` or `anyOf` take them, and in OpenAI's strict form."""

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]


def flat(model: type[BaseModel]) -> Schema:
    """The schema of what is sent: definitions inlined, "T or null" written as T (null is taken for the default)."""
    document = model.model_json_schema(by_alias=True)
    schema: Schema = _plain(document, document.get("$defs", {}), keep_null=False)
    schema.pop("description", None)
    schema.setdefault("properties", {})
    return schema


def flat_answer(model: type[BaseModel]) -> Schema:
    """The schema of what comes back: definitions inlined, null kept."""
    document = model.model_json_schema(by_alias=True, mode="serialization")
    schema: Schema = _plain(document, document.get("$defs", {}), keep_null=True)
    return schema


def strict(schema: Schema) -> Schema:
    """OpenAI's strict form of a flat schema: every property is required, optional ones may be null."""
    required = set(schema.get("required", []))
    properties = {}
    for name, given in schema["properties"].items():
        kept = {key: value for key, value in given.items() if key not in ("default", "examples")}
        properties[name] = kept if name in required else {**kept, "type": [kept["type"], "null"]}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _plain(node: Any, definitions: Schema, *, keep_null: bool) -> Any:
    if isinstance(node, list):
        return [_plain(item, definitions, keep_null=keep_null) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    if not keep_null and "anyOf" in node:
        node = _without_null(node)
    plain = {}
    for key, value in node.items():
        if key == "properties":
            plain[key] = _names(value, definitions, keep_null)
        elif key not in ("$defs", "title") and not (key == "default" and value is None):
            plain[key] = _plain(value, definitions, keep_null=keep_null)
    return plain


def _names(properties: Schema, definitions: Schema, keep_null: bool) -> Schema:
    """Properties: their names are kept, also one that is called `title`."""
    return {name: _plain(schema, definitions, keep_null=keep_null) for name, schema in properties.items()}


def _without_null(node: Schema) -> Schema:
    choices = [choice for choice in node["anyOf"] if choice != {"type": "null"}]
    rest = {key: value for key, value in node.items() if key != "anyOf"}
    return {**choices[0], **rest} if len(choices) == 1 else {**rest, "anyOf": choices}
