"""Dataset versions: honest splits, nothing twice, reasons for what was left out, gates with numbers."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from test_extraction import receipts
from tunesmith.datasets.build import build
from tunesmith.datasets.report import DatasetReport
from tunesmith.datasets.splits import SplitSpec, bare_test_size, prompt_key
from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Row, read_rows
from tunesmith.tasks.document import Document
from tunesmith.tasks.extraction import Extraction


def letters(count: int = 120, groups: int = 30) -> list[Document]:
    return [
        Document(
            str(n),
            f"Company {n % groups} writes letter {chr(97 + n % 26) * (1 + n // 26)} about 2024-0{1 + n % 9}-11",
            {
                "type": ["letter", "invoice"][n % 2],
                "correspondent": f"Company {n % groups}",
                "date": f"2024-0{1 + n % 9}-11",
            },
            group=f"correspondent:{n % groups}",
        )
        for n in range(count)
    ]


def make(tmp_path: Path, documents: Iterable[Document], **split: Any) -> tuple[DatasetReport, dict[str, list[Row]]]:
    report = build(Extraction(), documents=documents, split=SplitSpec(**split), out=tmp_path / "d")
    return report, {name: list(read_rows(tmp_path / "d" / f"{name}.jsonl")) for name in report.splits}


def gate(report: DatasetReport, name: str) -> Any:
    return next(g for g in report.gates if g.name == name)


def test_groups_never_straddle(tmp_path: Path) -> None:
    report, rows = make(tmp_path, letters(), test=0.2, validation=0.1)
    assert sum(report.splits.values()) == report.rows_kept == 120
    assert 12 <= report.splits["test"] <= 36
    assert report.splits["validation"] > 0
    groups = [{r.provenance["group"] for r in rows[name]} for name in rows]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert report.groups_shared_with_test == 0


def test_near_identical_prompts_stay_together_across_groups(tmp_path: Path) -> None:
    documents = letters(60, 60)
    for n, document in enumerate(documents):
        document.text = f"Bill  number {n}" if n < 20 else document.text
    _, rows = make(tmp_path, documents, test=0.3, validation=0.2)
    keys = [{prompt_key(r) for r in rows[name]} for name in rows]
    assert not keys[0] & keys[1]
    assert not keys[0] & keys[2]


def test_held_out_by_tag_and_no_leaks(tmp_path: Path) -> None:
    documents = letters(60)
    for document in documents[:15]:
        document.tags = ["Held-Out"]
    copy = Document("copy", documents[0].text.upper(), dict(documents[0].values), "correspondent:99")
    other = Document("other", documents[1].text.upper(), {**documents[1].values, "date": None}, "correspondent:98")
    documents = [copy, *documents, other]
    report, rows = make(tmp_path, documents)
    assert {r.provenance["document"] for r in rows["test"]} == {str(n) for n in range(15)}
    assert report.near_duplicates_removed == 1  # the copy, and not the row that is held out
    assert report.leaks_removed == 1  # nearly the same text with another answer
    assert report.groups_shared_with_test == 15  # tags held out one document of each: said, not hidden


def test_exact_duplicates_go_and_contradictions_are_counted(tmp_path: Path) -> None:
    documents = letters(60)
    documents += [documents[3], documents[4]]
    documents.append(Document("x", documents[5].text, {**documents[5].values, "type": "contract"}, documents[5].group))
    report, _ = make(tmp_path, documents)
    assert report.duplicates_removed == 2
    assert gate(report, "contradictions").value == pytest.approx(2 / 61, abs=1e-4)


def test_what_is_left_out_says_why(tmp_path: Path) -> None:
    documents = [*letters(60), Document("e1", " "), Document("e2", "text"), Document("e3", "t", {"amount": "much"})]
    report, _ = make(tmp_path, documents)
    assert [(r.where, r.code) for r in report.rejected] == [
        ("document e1", "empty_text"), ("document e2", "no_labels"), ("document e3", "wrong_kind"),
    ]  # fmt: skip
    assert report.rejected_by_code == {"empty_text": 1, "no_labels": 1, "wrong_kind": 1}
    assert (report.rows_in, report.rows_kept) == (63, 60)


def test_nothing_left_is_an_error_with_the_usual_reason(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no text") as caught:
        make(tmp_path, [Document(str(n), "") for n in range(5)])
    assert caught.value.error_code == "empty_dataset"
    assert not list((tmp_path / "d").glob("*.partial"))


def test_the_version_is_the_content(tmp_path: Path) -> None:
    first, _ = make(tmp_path / "a", letters())
    again, _ = make(tmp_path / "b", letters())
    other, _ = make(tmp_path / "c", letters(119))
    assert first.version == again.version != other.version
    assert len(first.version) == 16
    assert json.loads((tmp_path / "a" / "d" / "report.json").read_text())["version"] == first.version


def test_too_few_rows_fail_the_gate(tmp_path: Path) -> None:
    report, _ = make(tmp_path, letters(20))
    assert not gate(report, "rows_kept").passed
    assert not report.passed
    assert report.as_dict()["passed"] is False


def test_invented_targets_are_seen(tmp_path: Path) -> None:
    documents = letters(60)
    for document in documents:
        document.values["correspondent"] = f"Somebody {document.id} Else"
    report, _ = make(tmp_path, documents)
    assert gate(report, "ungrounded_targets").value == 1.0
    assert not gate(report, "ungrounded_targets").passed
    assert report.passed  # a warning


# -- uploads ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "test"), [(10, 0), (19, 0), (20, 8), (160, 8), (300, 15), (400, 20), (9000, 24)])
def test_how_many_rows_an_upload_holds_out(rows: int, test: int) -> None:
    assert bare_test_size(rows) == test


def test_an_upload(tmp_path: Path) -> None:
    rows = receipts(100)
    report = build(None, rows=[*rows, rows[0]], out=tmp_path)
    assert report.splits == {"train": 92, "validation": 0, "test": 8}
    assert (report.task, report.in_sample, report.duplicates_removed) == ("extraction", False, 1)
    assert report.passed
    assert Extraction(report.spec).constraint(rows[0].prompt) is not None


def test_a_small_upload_is_measured_in_sample_and_says_so(tmp_path: Path) -> None:
    report = build(None, rows=receipts(12), out=tmp_path)
    assert report.splits["test"] == 0
    assert report.in_sample
    assert report.passed


def test_rows_that_differ_in_numbers_only_are_held_out_all_the_same(tmp_path: Path) -> None:
    """They were one group, which is never split: 400 rows were measured on rows that had been trained on."""
    rows = [
        Row([{"role": "user", "content": f"{n} km in miles?"}, {"role": "assistant", "content": f"{n * 0.62:.2f}"}])
        for n in range(400)
    ]
    report = build(None, rows=rows, out=tmp_path / "d")
    assert report.splits == {"train": 380, "validation": 0, "test": 20}
    assert not report.in_sample


def test_validation_rows_that_training_has_are_left_out(tmp_path: Path) -> None:
    rows = receipts(60)
    fresh = [Row([{"role": "user", "content": "something else"}, {"role": "assistant", "content": "{}"}])]
    report = build(None, rows=rows, validation_rows=[*rows[:3], *fresh], out=tmp_path)
    assert (report.splits["validation"], report.leaks_removed) == (1, 3)


def test_mixed_system_prompts_fail_the_gate(tmp_path: Path) -> None:
    rows = receipts(40)
    for row in rows[:10]:
        row.messages.insert(0, {"role": "system", "content": "Extract."})
    report = build(None, rows=rows, out=tmp_path)
    assert gate(report, "mixed_system_prompts").value == 0.25
    assert not report.passed


def test_any_text_survives(tmp_path: Path) -> None:
    text = 'quotes " \\ \u2028 emoji 😀 \ud800 control \x07'
    rows = [
        Row([{"role": "user", "content": f"{text} {n}"}, {"role": "assistant", "content": text}]) for n in range(30)
    ]
    report = build(None, rows=rows, out=tmp_path)
    assert report.task == "chat"
    kept = [row for name in report.splits for row in read_rows(tmp_path / f"{name}.jsonl")]
    assert len(kept) == 30
    assert "emoji 😀" in kept[0].answer
