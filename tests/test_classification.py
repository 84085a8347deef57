"""Classification: a closed list of labels, one or several, from documents or rows; never another task's rows."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.gbnf import Gbnf
from tunesmith.cli.tables import evaluation_table
from tunesmith.datasets import sources
from tunesmith.datasets.build import build
from tunesmith.errors import BadInput
from tunesmith.evaluation.metrics import summarise
from tunesmith.recipes.schema import Recipe
from tunesmith.settings import Settings
from tunesmith.tasks.base import infer_task
from tunesmith.tasks.classification import Classification
from tunesmith.tasks.conversation import Row, read_rows
from tunesmith.tasks.document import Document

EXAMPLES = Path(__file__).parent.parent / "examples"
LABELS = ["invoice", "letter", "receipt"]


def row(question: str, answer: str) -> Row:
    return Row([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])


def rows(answers: list[str], count: int = 30) -> list[Row]:
    return [row(f"document {n}", answers[n % len(answers)]) for n in range(count)]


def task(**spec: Any) -> Classification:
    return Classification({"labels": LABELS, **spec})


def grammar(classification: Classification) -> Gbnf:
    constraint = classification.constraint([])
    assert constraint is not None
    assert constraint.grammar is not None
    return Gbnf(constraint.grammar)


def test_a_document_becomes_its_label() -> None:
    made = task().example(Document("7", "Total 12.00", {"document_type": "Invoice"}, "correspondent:3"))
    assert made.answer == "invoice", "as the recipe writes it"
    assert made.messages[0]["content"] == "Answer with one label of: invoice, letter, receipt."
    assert "<document>\nTotal 12.00\n</document>" in made.messages[1]["content"]
    assert made.provenance == {"document": "7", "group": "correspondent:3"}


@pytest.mark.parametrize(
    ("spec", "document", "code"),
    [
        ({}, Document("1", " ", {"document_type": "invoice"}), "empty_text"),
        ({}, Document("1", "text"), "no_labels"),
        ({}, Document("1", "text", {"document_type": "poem"}), "not_a_choice"),
        ({"label": "custom_field/Kind"}, Document("1", "text", {"document_type": "invoice"}), "no_labels"),
        ({"label": "tags", "multi_label": False}, Document("1", "t", tags=["letter", "receipt"]), "several_labels"),
        ({"label": "tags"}, Document("1", "t", tags=["inbox"]), "no_labels"),
    ],
)
def test_what_has_no_label_of_the_list_is_refused(spec: dict[str, Any], document: Document, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        task(**spec).example(document)
    assert caught.value.error_code == code


@pytest.mark.parametrize(
    ("label", "answer"),
    [
        ("document_type", "receipt"),
        ("correspondent", "letter"),
        ("tags", '["invoice", "receipt"]'),
        ("custom_field/kind", "invoice"),
    ],
)
def test_labels_come_from_where_the_recipe_says(label: str, answer: str) -> None:
    values: dict[str, Any] = {"document_type": "receipt", "correspondent": "letter", "Kind": ["invoice"]}
    document = Document("1", "text", values, tags=["Receipt", "inbox", "invoice"])
    assert task(label=label).example(document).answer == answer


@pytest.mark.parametrize(
    "spec",
    [
        {"labels": ["one"]},
        {"labels": "invoice"},
        {"labels": ["a", ""]},
        {"labels": ["A", "a"]},
        {"label": "mood"},
        {"label": "custom_field/"},
        {"colour": "red"},
    ],
)
def test_a_wrong_setting_is_named(spec: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as caught:
        Classification(spec)
    assert (caught.value.param or "").startswith("task")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("answer", "ok", "exact"),
    [
        ("letter", True, True),
        (" letter\n", True, True),
        ("receipt", True, False),
        ("Letter", False, False),
        ("poem", False, False),
        ("The label is letter", False, False),
        ("letter\nbecause it says Dear", False, False),
        ("", False, False),
    ],
)
def test_scores(answer: str, ok: bool, exact: bool) -> None:
    score = task().score(answer, "letter", [])
    assert (score.format_ok, score.exact, score.fields) == (ok, exact, {"letter": exact})


@pytest.mark.parametrize(
    ("answer", "ok", "exact", "fields"),
    [
        ('["receipt", "invoice"]', True, True, {"invoice": True, "receipt": True}),
        ('["invoice"]', True, False, {"invoice": True, "receipt": False}),
        ('["invoice", "receipt", "letter"]', True, False, {"letter": False, "invoice": True, "receipt": True}),
        ('["invoice", "receipt", "poem"]', False, False, {"invoice": True, "receipt": True}),
        ("invoice, receipt", False, False, {"invoice": False, "receipt": False}),
        ("[[[[" * 5000, False, False, {"invoice": False, "receipt": False}),
    ],
)
def test_scores_of_several(answer: str, ok: bool, exact: bool, fields: dict[str, bool]) -> None:
    score = task(multi_label=True).score(answer, '["invoice", "receipt"]', [])
    assert (score.format_ok, score.exact, score.fields) == (ok, exact, fields)


def test_macro_f1_and_the_usual_mistakes() -> None:
    answered = [("letter", "letter")] * 7 + [("letter", "receipt")] + [("receipt", "letter")] * 2
    metrics = summarise([task().score(got, wanted, []) for wanted, got in answered])
    assert metrics.field_accuracy == pytest.approx(0.7)
    assert metrics.fields == {"letter": 0.875, "receipt": 0.0}
    assert metrics.macro_f1 == pytest.approx((2 * 7 / (8 + 9) + 0) / 2)
    assert metrics.confusions[0] == {"expected": "receipt", "answered": "letter", "rows": 2}
    report = {"rows": 10, "in_sample": False, "measured": {"tuned": json.loads(json.dumps(metrics.as_dict()))}}
    table = evaluation_table(report)
    assert [column.header for column in table.columns] == ["model", "in format", "macro F1", "all labels", "exact"]
    assert str(table.caption).endswith("receipt for letter (2), letter for receipt (1)")


def test_the_answer_is_held_to_the_list() -> None:
    held = grammar(Classification({"labels": ['a "b"', "ü", "c"]}))
    assert [held.admits(text) for text in ('a "b"', "ü", "c", "d", "", "cc")] == [True, True, True, False, False, False]
    several = grammar(task(multi_label=True))
    admitted = ["[]", '["letter"]', '["invoice", "receipt"]']
    refused = ["letter", '["letter", "letter"]', '["receipt", "invoice"]', '["poem"]', '["letter",]']
    assert [several.admits(text) for text in (*admitted, *refused)] == [True] * 3 + [False] * 5
    assert Classification().constraint([]) is None, "nothing is known yet"


@pytest.mark.parametrize("style", [(", ", ": "), (",", ":")])
def test_a_bare_upload_shows_its_labels_and_how_it_writes_them(style: tuple[str, str]) -> None:
    answers = [json.dumps(found, separators=style) for found in (["z", "a"], ["a"], ["z", "é"])]
    inferred = infer_task(rows(answers))
    assert isinstance(inferred, Classification)
    assert inferred.multi_label
    held = grammar(Classification(inferred.spec))
    assert [held.admits(json.dumps(found, separators=style)) for found in (["z", "a"], ["a", "z"])] == [True, False]
    one = infer_task(rows(["yes", "no", "maybe"]))
    assert isinstance(one, Classification)
    assert one.labels == ["maybe", "no", "yes"]
    assert one.few_shot(rows(["yes"], 1), rows(["no"], 1)[0].prompt)[1]["content"] == "yes"


@pytest.mark.parametrize(
    ("answers", "name"),
    [
        ([f"A story about {n}." for n in range(30)], "chat"),
        (["yes"], "chat"),
        (["yes", "no", *(f"it depends on {n}" for n in range(10))], "chat"),
        (["word " * 30, "other words " * 20], "chat"),
        (['{"a": 1}', '{"a": 2}'], "extraction"),
        (["SELECT 1 FROM a", "one\ntwo"], "chat"),
        (['<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>', "no"], "chat"),
    ],
)
def test_it_takes_no_other_tasks_rows(answers: list[str], name: str) -> None:
    assert infer_task(rows(answers)).name == name


def test_uploaded_rows_with_an_unknown_label_are_left_out_with_the_reason(tmp_path: Path) -> None:
    given = [*rows(LABELS, 60), row("document 99", "poem")]
    report = build(task(), rows=given, out=tmp_path)
    assert [(r.where, r.code) for r in report.rejected] == [("row 61", "not_a_choice")]
    assert report.rows_kept == 60
    assert report.spec["learnt"] == LABELS


def test_which_split_a_document_is_in_is_no_label(tmp_path: Path) -> None:
    documents = [
        Document(str(n), f"{n**7:x} {n**9:o}", tags=["a" if n % 2 else "b", *["held-out"] * (n > 49)])
        for n in range(60)
    ]
    report = build(Classification({"label": "tags"}), documents=documents, out=tmp_path)
    assert report.splits["test"] == 10
    assert report.spec["learnt"] == ["a", "b"]
    assert {r.answer for r in read_rows(tmp_path / "test.jsonl")} == {'["a"]', '["b"]'}


def test_the_sample_recipe_builds(tmp_path: Path) -> None:
    recipe = Recipe.model_validate(yaml.safe_load((EXAMPLES / "recipes" / "household-types.yaml").read_text()))
    spec = recipe.task.model_dump(by_alias=True, exclude_none=True, exclude={"type"})
    found = sources.documents({"documents": "x"}, Settings(), lambda _: EXAMPLES / "documents" / "household.jsonl")
    report = build(Classification(spec), documents=found, out=tmp_path)
    assert report.passed
    assert report.rejected == []
    assert report.splits["test"] >= 100
    gates = {gate.name: gate.value for gate in report.gates}
    assert gates["largest_label"] < 0.4
    fitted = Classification(report.spec)
    for held_out in read_rows(tmp_path / "test.jsonl"):
        assert grammar(fitted).admits(held_out.answer)
        assert fitted.score(held_out.answer, held_out.answer, held_out.prompt).exact
