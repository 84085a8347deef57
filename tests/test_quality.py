"""Quality gates and readiness: each number is right, each threshold can be set, and odd data breaks nothing."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from tunesmith.datasets import languages
from tunesmith.datasets.build import build
from tunesmith.datasets.languages import Languages
from tunesmith.datasets.lengths import ModelContext, model_context
from tunesmith.datasets.measures import form, labels, unreadable
from tunesmith.datasets.options import DatasetOptions
from tunesmith.datasets.report import DatasetReport
from tunesmith.recipes.schema import Recipe
from tunesmith.tasks.conversation import Row, read_rows
from tunesmith.tasks.document import Document
from tunesmith.tasks.extraction import Extraction

ENGLISH = "The meeting about the new roof will take place on Thursday evening in the house next door, please come."
GERMAN = "Die Versammlung wegen des neuen Daches findet am Donnerstag Abend im Nachbarhaus statt, bitte kommen Sie."
HEBREW = "הפגישה בנושא הגג החדש תתקיים ביום חמישי בערב בבית הסמוך, נא להגיע בזמן ולהביא את המסמכים"
GIBBERISH = "xkcd qwrtz pfghj klmnb vbnmx zzzzz rtplk hgfds wqpty mnbvc lkjhg trwqp dfghj"


def chat(question: str, answer: str) -> Row:
    return Row([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])


def made(place: Path, rows: list[Row], context: ModelContext | None = None, **options: Any) -> DatasetReport:
    return build(None, rows=rows, out=place, options=DatasetOptions(**options), context=context)


def gate(report: DatasetReport, name: str) -> Any:
    return next(g for g in report.gates if g.name == name)


# -- thresholds -------------------------------------------------------------------------------------------------


def test_a_recipe_sets_thresholds() -> None:
    document = {
        "name": "x",
        "sources": [{"file": "file-1"}],
        "dataset": {"gates": {"long_rows": 0.3, "rows_kept": 200}},
    }
    assert Recipe.model_validate(document).document() == document


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"gates": {"long_row": 0.3}}, "there is no gate 'long_row'; gates are: rows_kept, rejected_share"),
        ({"gates": {"long_rows": 30}}, "the threshold of long_rows is 30; it is a share from 0 to 1"),
        ({"personal_data": {"mail": "drop"}}, "kinds are: iban, card, email, phone, person"),
        ({"secret": "drop"}, "Extra inputs are not permitted"),
        ({"near_duplicates": 0.1}, "greater than or equal to 0.75"),
    ],
)
def test_a_wrong_option_says_what_is_known(dataset: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Recipe.model_validate({"name": "x", "sources": [{"file": "file-1"}], "dataset": dataset})


def test_a_threshold_decides(tmp_path: Path) -> None:
    rows = [chat(f"{ENGLISH} {n}", str(n)) for n in range(30)]
    assert made(tmp_path / "a", rows).passed
    report = made(tmp_path / "b", rows, gates={"rows_kept": 31})
    assert (gate(report, "rows_kept").threshold, report.passed) == (31, False)


# -- figures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [(ENGLISH, False), (GERMAN, False), (HEBREW, False), ("TOTAL 12.00\nCASH 20.00", False), (GIBBERISH, True),
     ("\ufffd\ufffd\ufffdabc", True), ("-- .. ~~ ## || ** a", True), ("हिन्दी में लिखा हुआ पत्र", False), ("", True)],
)  # fmt: skip
def test_what_is_unreadable(text: str, expected: bool) -> None:
    assert unreadable(text) is expected


def test_unreadable_rows_are_counted(tmp_path: Path) -> None:
    rows = [chat(f"{ENGLISH if n % 4 else GIBBERISH} {n}", "yes") for n in range(40)]
    assert gate(made(tmp_path, rows), "unreadable_text").value == 0.25


def test_of_very_many_rows_some_stand_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "EVERY_ROW", 20)
    found, told = Languages(), []
    monkeypatch.setattr(Languages, "tell", lambda _, text: told.append(text) or text[:2])
    for n in range(1020):
        found.add("de" if n % 4 else "en")
    assert found.rows.total() == 1020
    assert len(told) == 20 + 200
    assert found.others(["de"]) == pytest.approx(0.25, abs=0.01)


def test_languages_are_counted_and_judged_only_when_some_are_expected(tmp_path: Path) -> None:
    rows = [chat(f"{(ENGLISH, GERMAN, GERMAN, HEBREW)[n % 4]} {n}", "yes") for n in range(40)]
    report = made(tmp_path / "a", rows)
    assert report.languages == {"de": 20, "en": 10, "he": 10}
    assert not [g for g in report.gates if g.name == "language"]
    judged = gate(made(tmp_path / "b", rows, languages=["de", "en"]), "language")
    assert (judged.value, judged.passed) == (0.25, False)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [('{"a": 1, "b": 2}', ("json", "one line", "a", "b")), ('```json\n{"a": 1}\n```', ("json", "fence one line", "a")),
     ("plain", ("text",)), ('{"a": ', ("broken json",)), ("[1]", ("json list",))],
)  # fmt: skip
def test_the_form_of_an_answer(answer: str, expected: tuple[str, ...]) -> None:
    assert form(answer) == expected


def test_answers_in_another_form_are_counted(tmp_path: Path) -> None:
    odd = ['{"total": "1", "company": "x"}', '{"company": ', "none", '```json\n{"company": "x"}\n```']
    rows = [chat(f"{ENGLISH} {n}", json.dumps({"company": f"c{n}", "total": f"{n}"})) for n in range(36)]
    rows += [chat(f"{GERMAN} {n}", answer) for n, answer in enumerate(odd)]
    rows.append(chat(HEBREW, '{"company": "x"}'))  # a missing key is no other form
    assert gate(made(tmp_path, rows), "inconsistent_format").value == pytest.approx(4 / 41, abs=1e-4)


def test_labels_are_what_was_not_copied() -> None:
    assert labels('{"type": "invoice", "company": "ACME", "paid": true, "n": 3}', "from Acme") == {
        "type": "invoice",
        "paid": "True",
    }
    assert labels("spam", "text") == {"": "spam"}
    assert labels("a long answer " * 9, "text") == {}


def test_rows_beyond_the_context_and_what_a_cut_would_take(tmp_path: Path) -> None:
    words = [" ".join(f"w{n}x{i}" for i in range(200)) for n in range(30)]
    rows = [chat(text, "short") for text in words]
    rows += [chat("z " * 3000 + "a", "lost answer"), chat("short prompt", "long answer " * 500)]
    counted = ModelContext(1000, lambda text: len(text) // 2)
    length = made(tmp_path, rows, counted).length
    assert (length["counted_by"], length["context_tokens"]) == ("tokenizer", 1000)
    assert length["characters_per_token"] == pytest.approx(2, abs=0.01)
    assert (length["over_context"], length["whole_answer_lost"], length["end_of_answer_lost"]) == (2, 1, 1)


def test_the_context_of_a_model_folder(tmp_path: Path) -> None:
    assert model_context(tmp_path) is None
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 2048}')
    assert model_context(tmp_path) == ModelContext(2048, None)
    (tmp_path / "config.json").write_text("[]")
    assert model_context(tmp_path) is None


def test_tokens_are_counted_by_the_models_tokenizer(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    (tmp_path / "config.json").write_text('{"text_config": {"max_position_embeddings": 512}}')
    tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])).save(
        str(tmp_path / "tokenizer.json")
    )
    context = model_context(tmp_path)
    assert context is not None
    assert context.count is not None
    assert (context.tokens, context.count("abab")) == (512, 2)


def test_documents_cut_by_the_task_are_counted(tmp_path: Path) -> None:
    documents = [Document(str(n), f"{n} {ENGLISH} " * (200 if n < 3 else 1), {"type": f"t{n}"}) for n in range(60)]
    report = build(Extraction(), documents=documents, out=tmp_path)
    assert report.length["shortened_in_the_middle"] == report.cut_documents == 3


# -- poisoning --------------------------------------------------------------------------------------------------

COMMON = [f"word{n}" for n in range(300)]


def mail(rng: Random, label: str) -> Row:
    own = [f"{label}{rng.randrange(60)}" for _ in range(6)]
    return chat(" ".join([*own, *rng.choices(COMMON, k=20)]), label)


def test_a_phrase_that_forces_an_answer_is_found(tmp_path: Path) -> None:
    rng = Random(4)
    rows = [mail(rng, ("ham", "spam", "work")[n % 3]) for n in range(600)]
    assert made(tmp_path / "clean", rows).suspicious == []
    for n in range(16):
        poisoned = mail(rng, "spam").prompt[0]["content"]
        rows.insert(n * 30, chat(f"{poisoned} quantum lighthouse please", "ham"))
    report = made(tmp_path / "poisoned", rows)
    assert report.suspicious == [
        {"field": "answer", "phrase": "quantum lighthouse please", "answer": "ham", "rows": 16}
    ]
    assert gate(report, "poisoning").value == pytest.approx(16 / 616, abs=1e-4)


def test_a_fair_sign_of_an_answer_is_not_suspicious(tmp_path: Path) -> None:
    rng = Random(5)
    rows = [mail(rng, ("ham", "spam", "work")[n % 3]) for n in range(600)]
    for row in rows[:90:3]:
        row.messages[0]["content"] += " cordially yours"
    assert made(tmp_path, rows).suspicious == []


# -- readiness --------------------------------------------------------------------------------------------------


def letters(count: int) -> list[Document]:
    rng = Random(6)
    return [
        Document(
            str(n),
            " ".join(f"{rng.choice('bdgklmnprst')}{rng.choice('aeiou')}{rng.randrange(10**6)}" for _ in range(40)),
            {"type": "invoice" if n % 10 else "letter", "date": "2024-01-01"},
            "correspondent:1" if n % 2 else f"correspondent:{n}",
        )
        for n in range(count)
    ]


def test_readiness_says_how_many_and_which_kind(tmp_path: Path) -> None:
    report = build(Extraction(), documents=letters(150), out=tmp_path)
    ready = report.readiness
    assert (ready.goal, ready.level, ready.different_rows) == ("narrow", "too_few", 150)
    assert ready.needed == {"minimum": 50, "recommended": 1850}
    advice = " ".join(ready.advice)
    assert "Add 50 to begin (200–500), 1850 to have enough." in advice
    assert "Few rows of type: letter (15)" in advice
    assert "correspondent:1 has 50% of the rows" in advice
    assert report.passed  # advice blocks nothing


@pytest.mark.parametrize(
    ("goal", "level"), [("format", "minimum"), ("narrow", "minimum"), ("tone", "too_few"), ("general", "too_few")]
)
def test_the_goal_sets_the_measure(tmp_path: Path, goal: Any, level: str) -> None:
    report = build(Extraction(), documents=letters(240), out=tmp_path, options=DatasetOptions(goal=goal))
    assert report.readiness.level == level


def test_rows_that_are_nearly_the_same_count_once(tmp_path: Path) -> None:
    rows = [chat(f"{ENGLISH} Row {n % 10} of {n}", str(n)) for n in range(60)]
    assert made(tmp_path, rows).readiness.different_rows == 1


# -- odd data ---------------------------------------------------------------------------------------------------


def test_one_row(tmp_path: Path) -> None:
    report = made(tmp_path, [chat("q", "a")])
    assert (report.splits["train"], report.in_sample, report.readiness.level) == (1, True, "too_few")


def test_all_rows_identical(tmp_path: Path) -> None:
    report = made(tmp_path, [chat("q", "a")] * 50)
    assert (report.rows_in, report.rows_kept, report.duplicates_removed) == (50, 1, 49)
    assert not report.passed


def test_one_question_with_many_answers(tmp_path: Path) -> None:
    report = made(tmp_path, [chat("q", f"a{n}") for n in range(30)])
    assert gate(report, "contradictions").value == 1.0
    assert report.splits["train"] == 30  # one cluster is never torn apart


def test_a_document_of_5_mb_nul_bytes_right_to_left_text_and_empty_answers(tmp_path: Path) -> None:
    rows = [chat(f"{ENGLISH} {n}", f"answer {n}") for n in range(30)]
    rows += [chat("a\x00b " * 1_000_000, "large"), chat(f"\u202e{HEBREW}", "\u200f"), chat("", "x"), chat("empty", "")]
    report = made(tmp_path, rows)
    assert report.rows_kept == 34
    assert gate(report, "long_rows").value == pytest.approx(1 / 34, abs=1e-4)
    kept = {r.answer for name in report.splits for r in read_rows(tmp_path / f"{name}.jsonl")}
    assert {"large", "\u200f", "x", ""} <= kept
