"""Presets: extractions that answer another program's own prompt in that program's own form.

`custom_fields`: our prompt, and a field for each custom field of the server. `paperless_ai`: the AI of Paperless-ngx 3,
which sends one user message and a JSON Schema (Ollama) or one required tool (OpenAI-like). `paperless_gpt`: custom
fields as an array of {field, value}. The last two programs' prompts are not ours: the recipe brings them (`prompt`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from xml.sax.saxutils import escape

from tunesmith.errors import BadInput
from tunesmith.tasks.document import Document, Value
from tunesmith.tasks.template import Template

Preset = Literal["custom_fields", "paperless_ai", "paperless_gpt"]
AI_LISTS = ("tags", "correspondents", "document_types", "storage_paths", "dates")
AI_CHARACTERS = 4000  # of a document that Paperless-ngx 3 sends
_LIST = {"type": "array", "items": {"type": "string"}}
_KINDS: dict[str, Any] = {
    "monetary": "money",
    "date": "date",
    "boolean": "boolean",
    "integer": "integer",
    "float": "number",
    "string": "string",
    "longtext": "string",
    "url": "string",
}


@dataclass(frozen=True)
class Definition:
    """A custom field: `options` are option id → label of a select."""

    name: str
    data_type: str
    options: Mapping[str, str]


def spec_of(
    preset: Preset, definitions: Sequence[Definition], prompt: str | None, only: Sequence[str] = ()
) -> dict[str, Any]:
    """The extraction's spec. Raises BadInput when the prompt is missing, or the server has no such custom fields."""
    if preset == "paperless_ai":
        properties = {"title": {"type": "string"}, **dict.fromkeys(AI_LISTS, _LIST)}
        template = _template(preset, prompt, _AI_HINT)
        return {"schema": {"properties": properties}, "template": template.text, "max_characters": AI_CHARACTERS}
    chosen = _chosen(definitions, only)
    by_id = preset == "paperless_gpt"
    schema = {d.name: _schema(d, by_id) for d in chosen if d.data_type != "documentlink"}
    if preset == "custom_fields":
        return {"schema": schema}
    template = _template(preset, prompt, _GPT_HINT)
    fixed = template.with_fixed({"custom_fields": fields_xml(chosen), "language": "English"})
    return {"schema": schema, "template": fixed, "form": "pairs", "max_characters": 100_000}


def document_for(preset: Preset | None, document: Document, definitions: Sequence[Definition] = ()) -> Document:
    """The document with the values that the preset's fields ask for. paperless-gpt writes what a model says into
    Paperless as it is, and a select takes the id of an option."""
    known = document.values
    if preset == "paperless_gpt":
        ids = {d.name: {label: i for i, label in d.options.items()} for d in definitions if d.data_type == "select"}
        return replace(document, values={n: ids[n].get(str(v), v) if n in ids else v for n, v in known.items()})
    if preset != "paperless_ai":
        return document

    def listed(name: str) -> list[Any]:
        value = known.get(name)
        return [] if value in (None, "") else [str(value)]

    values: dict[str, Value] = {
        **known,
        "title": known.get("title") or "",
        "tags": list(document.tags),
        "correspondents": listed("correspondent"),
        "document_types": listed("document_type"),
        "storage_paths": listed("storage_path"),
        "dates": listed("created"),
    }
    return replace(document, values=values)


def fields_xml(definitions: Sequence[Definition]) -> str:
    """Custom fields as paperless-gpt describes them to a model."""
    lines = ["<custom_fields>"]
    for d in definitions:
        opening = f'  <field name="{_attribute(d.name)}" type="{d.data_type}">'
        if d.data_type == "select" and d.options:
            options = [f'    <option id="{_attribute(i)}">{escape(label)}</option>' for i, label in d.options.items()]
            lines += [opening, *options, "  </field>"]
        else:
            lines.append(f"{opening}</field>")
    return "\n".join([*lines, "</custom_fields>"])


def _attribute(text: str) -> str:
    return escape(text, {'"': "&quot;", "'": "&apos;"})


def _schema(definition: Definition, by_id: bool) -> Any:
    if definition.data_type == "select" and definition.options:
        return {"enum": list(definition.options if by_id else definition.options.values())}
    return _KINDS.get(definition.data_type, "string")


def _chosen(definitions: Sequence[Definition], only: Sequence[str]) -> list[Definition]:
    by_name = {d.name.casefold(): d for d in definitions}
    missing = next((name for name in only if name.casefold() not in by_name), None)
    if missing is not None or not definitions:
        raise BadInput(
            f"Paperless has no custom field {missing!r}." if missing else "Paperless has no custom fields.",
            code="unknown_name",
            param="task.custom_fields",
            hint=f"There is: {', '.join(d.name for d in definitions) or 'none at all'}.",
        )
    return [by_name[name.casefold()] for name in only] or list(definitions)


def _template(preset: str, prompt: str | None, hint: str) -> Template:
    if not prompt:
        raise BadInput(f"The preset {preset} needs that program's prompt.", param="task.prompt", hint=hint)
    return Template(prompt)


_AI_HINT = (
    'Print it from your Paperless: manage.py shell --no-imports -c "from types import SimpleNamespace as N; '
    "from paperless.config import AIConfig; from paperless_ai.ai_classifier import build_prompt_without_rag as b; "
    "print(b(N(filename='{filename}', content='{content}'), AIConfig()))\" > prompt.txt; then prompt_file: prompt.txt."
)
_GPT_HINT = "Set prompt_file to paperless-gpt's prompts/custom_field_prompt.tmpl."
