"""Presets: a model tuned on one answers that program's own prompt, in that program's own form."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fakes.gbnf import Gbnf
from fakes.paperless import FakePaperless
from test_paperless import document, lines
from tunesmith.cli.run import load
from tunesmith.datasets import sources, suggestions
from tunesmith.errors import BadInput
from tunesmith.recipes import answering
from tunesmith.recipes.schema import Recipe
from tunesmith.settings import Settings
from tunesmith.store.tables import ModelVersion
from tunesmith.store.workspace import Workspace
from tunesmith.tasks import presets
from tunesmith.tasks.document import Document
from tunesmith.tasks.extraction import Extraction
from tunesmith.tasks.presets import Definition
from tunesmith.tasks.template import Template
from tunesmith_connectors.paperless import PaperlessClient

ASK = "Classify this.\n\n    Filename:\n    {filename}\n\n    Text (untrusted):\n    {content}\n    "
GO = (
    "Fields for {{ .Title }} ({{.CreatedDate}}, {{ .Language }}):\n{{ .Content }}\n{{ .CustomFieldsXML }}\n"
    '[{"field": 1}]'
)
BILL = Document(
    "12",
    "Waterworks\nInvoice of 2025-03-19\nTotal 12.30 EUR",
    {
        "title": "Water", "filename": "w.pdf", "correspondent": "Waterworks", "document_type": "Invoice",
        "created": date(2025, 3, 19), "storage_path": None, "Total": Decimal("12.3"), "Kind": "Car", "Paid": None,
    },
    tags=["finance"],
)  # fmt: skip


def definitions() -> list[Definition]:
    with FakePaperless(lines()) as server, PaperlessClient(server.url, "secret") as client:
        return [Definition(f.name, f.data_type, f.options) for f in client.lookups().custom_fields.values()]


def test_custom_fields_come_from_the_servers_definitions() -> None:
    task = Extraction(presets.spec_of("custom_fields", definitions(), None))
    kinds = {f.name: f.kind for f in task.fields}
    assert kinds == {
        "Total": "money", "Kind": "enum", "Due": "date", "Paid": "boolean", "Pages": "integer", "Weight": "number",
        "Site": "string", "Note": "string", "Code": "string",
    }  # fmt: skip
    answer = json.loads(task.example(BILL).answer)
    assert (answer["Total"], answer["Kind"], answer["Paid"]) == ("12.30", "Car", None)
    only = Extraction(presets.spec_of("custom_fields", definitions(), None, ["total"]))
    assert [f.name for f in only.fields] == ["Total"]
    with pytest.raises(BadInput, match="'Totl'"):
        presets.spec_of("custom_fields", definitions(), None, ["Totl"])


def test_paperless_ai_is_asked_by_its_own_prompt_and_answers_its_schema() -> None:
    task = Extraction(presets.spec_of("paperless_ai", (), ASK))
    row = task.example(presets.document_for("paperless_ai", BILL))
    sent = f"Classify this.\n\n    Filename:\n    w.pdf\n\n    Text (untrusted):\n    {BILL.text}"
    assert row.prompt == [{"role": "user", "content": sent}]
    assert json.loads(row.answer) == {
        "title": "Water", "tags": ["finance"], "correspondents": ["Waterworks"], "document_types": ["Invoice"],
        "storage_paths": [], "dates": ["2025-03-19"],
    }  # fmt: skip
    constraint = task.constraint(row.prompt)
    assert constraint is not None
    assert constraint.grammar is not None
    assert constraint.json_schema is not None
    assert Gbnf(constraint.grammar).admits(row.answer)
    jsonschema.validate(json.loads(row.answer), constraint.json_schema)
    assert task.score(row.answer, row.answer, row.prompt).exact
    assert Extraction(task.spec).prompt("x") == task.prompt("x")


def test_a_long_document_is_cut_as_paperless_cuts_it() -> None:
    task = Extraction(presets.spec_of("paperless_ai", (), ASK))
    assert task.prompt("a" * 5000)[-1]["content"].count("a" * 4000) == 1
    assert "a" * 4001 not in task.prompt("a" * 5000)[-1]["content"]


def test_paperless_gpt_gets_pairs_and_what_is_missing_is_left_out() -> None:
    spec = presets.spec_of("paperless_gpt", definitions(), GO, ["Total", "Kind", "Paid"])
    task = Extraction(spec)
    row = task.example(presets.document_for("paperless_gpt", BILL, definitions()))
    asked = row.prompt[0]["content"]
    assert asked.startswith("Fields for Water (2025-03-19, English):\nWaterworks")
    assert '  <field name="Total" type="monetary"></field>\n' in asked
    assert '    <option id="a1">Car</option>\n' in asked
    assert asked.endswith('[{"field": 1}]')
    assert json.loads(row.answer) == [{"field": "Total", "value": "12.30"}, {"field": "Kind", "value": "a1"}]
    constraint = Extraction(task.spec).constraint(row.prompt)
    assert constraint is not None
    assert constraint.grammar is not None
    assert constraint.json_schema is not None
    grammar = Gbnf(constraint.grammar)
    for answer in (row.answer, "[]", '[{"field": "Kind", "value": "a1"}]'):
        assert grammar.admits(answer)
        jsonschema.validate(json.loads(answer), constraint.json_schema)
    for wrong in ('{"Total": "12.30"}', '[{"field": "Total"}]', '[{"field": "Other", "value": "1.00"}]'):
        assert not grammar.admits(wrong)
        assert not task.score(wrong, row.answer, row.prompt).exact
    assert task.score(row.answer, row.answer, row.prompt).exact
    assert task.fit([row] * 40).read(row.answer) == {"Total": "12.30", "Kind": "a1"}


def test_the_document_is_found_in_the_filled_prompt() -> None:
    template = Template(ASK)
    filled = template.filled({"filename": "a.pdf", "content": "two\nlines {content}"})
    assert template.content_of(filled) == "two\nlines {content}"
    assert "<|im_end|>" not in template.filled({"content": "<|im_end|>", "filename": "<|im_end|>"})


@pytest.mark.parametrize("text", ["no place", "{content} {content}", "{{ .Content }} {{ .Nonsense }}"])
def test_a_prompt_that_cannot_be_one_is_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        Template(text)
    assert "{content}" in str(caught.value.hint)


@pytest.mark.parametrize("preset", ["paperless_ai", "paperless_gpt"])
def test_without_the_programs_prompt_the_hint_says_where_to_get_it(preset: Any) -> None:
    with pytest.raises(BadInput) as caught:
        presets.spec_of(preset, definitions(), None)
    assert "prompt" in str(caught.value.hint)


def test_a_recipe_reads_the_prompt_from_a_file(tmp_path: Path) -> None:
    workspace = Workspace.open(Settings(home=tmp_path / "home"))
    (tmp_path / "prompt.txt").write_text(ASK)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: ai\ntask: {preset: paperless_ai, prompt_file: prompt.txt}\nsources: [{paperless: {}}]\n")
    assert load(workspace, recipe).task.prompt == ASK
    recipe.write_text("name: ai\ntask: {preset: paperless_ai, prompt_file: gone.txt}\nsources: [{paperless: {}}]\n")
    with pytest.raises(BadInput, match=r"gone\.txt"):
        load(workspace, recipe)
    workspace.close()


def test_a_preset_stands_alone() -> None:
    with pytest.raises(ValueError, match="of its own"):
        Recipe.model_validate(
            {
                "name": "x",
                "task": {"preset": "custom_fields", "schema": {"a": "string"}},
                "sources": [{"paperless": {}}],
            }
        )


def test_a_required_tool_is_answered_by_a_call_of_it() -> None:
    """As the OpenAI-like client of Paperless-ngx 3 asks: one tool, required."""
    tool = {"type": "function", "function": {"name": "DocumentClassifierSchema", "parameters": {"type": "object"}}}
    asked = {"messages": [], "tools": [tool], "tool_choice": "required", "parallel_tool_calls": True}
    version = ModelVersion(name="m", version="1", task={"name": "extraction", "spec": {}})
    name = answering.forced_tool(version, asked)
    assert name == "DocumentClassifierSchema"
    assert answering.without_tools(asked) == {"messages": []}
    said = {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": '{"title": "Water"}'}}]}
    choice = answering.as_tool_call(said, name)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"title": "Water"}
    for other in ({"tool_choice": "auto"}, {"tools": [tool, tool]}, {"tools": None}):
        assert answering.forced_tool(version, {**asked, **other}) is None
    assert answering.forced_tool(ModelVersion(task={"name": "chat", "spec": {}}), asked) is None


def test_paperless_gpt_is_answered_in_ids_and_paperless_is_shown_labels() -> None:
    """paperless-gpt hands a model's value to Paperless as it is, which takes an option's id only."""
    quoted = Definition('Owner\'s "kind"', "select", {"a<1": "Car & van"})
    assert presets.fields_xml([quoted]) == (
        '<custom_fields>\n  <field name="Owner&apos;s &quot;kind&quot;" type="select">\n'
        '    <option id="a&lt;1">Car &amp; van</option>\n  </field>\n</custom_fields>'
    )
    with FakePaperless(lines()) as server, PaperlessClient(server.url, "secret") as client:
        answer, places = {"Kind": "a1", "Code": "a1"}, {"Kind": "custom_field/Kind", "Code": "custom_field/Code"}
        assert suggestions.labelled(answer, places, client.lookups()) == {"Kind": "Car", "Code": "a1"}


def test_the_file_is_named_as_paperless_names_it() -> None:
    """Paperless' AI is shown the stored name; an upload's own name would teach the title, and be missing later."""
    shown = Extraction(presets.spec_of("paperless_ai", (), ASK))
    named = document(7, original_file_name="Water bill.PDF")
    with FakePaperless(lines(named)) as server, PaperlessClient(server.url, "secret") as client:
        found = sources.to_document(client.document(7), {})
    row = shown.example(presets.document_for("paperless_ai", found))
    assert "0000007.pdf" in row.prompt[0]["content"]
    assert "bill.PDF" not in row.prompt[0]["content"]


def test_paperless_asking_for_its_own_suggestions_in_another_language_gets_them_back() -> None:
    """Paperless-ngx 3 does so whenever its user has chosen a language."""
    version = ModelVersion(
        name="m", version="1", task={"name": "extraction", "spec": presets.spec_of("paperless_ai", (), ASK)}
    )
    empty: dict[str, Any] = {name: [] for name in presets.AI_LISTS}
    said = json.dumps({**empty, "title": "Wasser", "tags": ["Büro"]}, ensure_ascii=False)

    def asked(text: str) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": text}]}

    again = f"Rewrite only these fields in German.\n\n    Suggestions:\n    {said}"
    assert answering.answer_in(version, asked(again)) == said
    cut_off = {"choices": [{"finish_reason": "length", "message": {"role": "assistant", "content": "{"}}]}
    choice = answering.as_tool_call(cut_off, "x", said)["choices"][0]
    assert (choice["finish_reason"], choice["message"]["tool_calls"][0]["function"]["arguments"]) == (
        "tool_calls",
        said,
    )
    document = Template(ASK).filled({"filename": "a.pdf", "content": f"A letter\n{said}"})
    for other in (document, "Suggestions:\n{}", 'Suggestions:\n{"title": "x"}', "hello"):
        assert answering.answer_in(version, asked(other)) is None
