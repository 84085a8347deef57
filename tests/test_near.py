"""Near-duplicates: copies of one document go, its relatives stay together, and test sets stay what they were."""

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tunesmith.datasets import duplicates, near
from tunesmith.datasets.build import build
from tunesmith.datasets.options import DatasetOptions
from tunesmith.datasets.report import DatasetReport
from tunesmith.datasets.splits import SplitSpec
from tunesmith.tasks.conversation import Row, read_rows
from tunesmith.tasks.document import Document
from tunesmith.tasks.extraction import Extraction

_LETTERS = Random(0)
WORDS = ["".join(_LETTERS.choices("abdefghiklmnoprstuw", k=_LETTERS.randint(3, 9))) for _ in range(3000)]


def prose(rng: Random, words: int = 150) -> str:
    return " ".join(rng.choice(WORDS) + str(rng.randint(1, 9)) * (n % 9 == 0) for n in range(words))


def damage(rng: Random, text: str, share: float = 0.01) -> str:
    characters = list(text)
    for _ in range(round(share * len(text))):
        characters[rng.randrange(len(text))] = rng.choice("lo1i|")
    return "".join(characters).replace(" ", "\n", 5)


def letters(count: int = 100, seed: int = 1) -> list[Document]:
    rng = Random(seed)
    return [
        Document(
            str(n),
            prose(rng),
            {"type": "letter", "date": f"2024-{1 + n % 12:02d}-{1 + n % 28:02d}", "amount": f"{n}.50"},
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("size", [1, 2, 9])
def test_prevented_leakage_is_what_a_random_split_leaks(size: int) -> None:
    rng, held_out, rows, leaks = Random(15), 0.2, 20_000 * size, 0
    for _ in range(20_000):
        out = sum(rng.random() < held_out for _ in range(size))
        leaks += out if out < size else 0
    found = duplicates.summary(Counter({size: 20_000}), 0, held_out)
    assert found.leakage_prevented == pytest.approx(leaks, abs=0.02 * rows)
    assert (found.leakage_prevented > 0) == (size > 1)


def make(place: Path, documents: list[Document], **more: Any) -> tuple[DatasetReport, dict[str, set[str]]]:
    report = build(Extraction(), documents=documents, split=SplitSpec(test=0.2, validation=0.1), out=place, **more)
    rows = {name: read_rows(place / f"{name}.jsonl") for name in report.splits}
    return report, {name: {str(r.provenance["document"]) for r in found} for name, found in rows.items()}


def chat(question: str, answer: str) -> Row:
    return Row([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])


# -- likeness ---------------------------------------------------------------------------------------------------


def test_likeness_is_the_jaccard_similarity_of_shingles() -> None:
    a, b = near.shingles("the same text"), near.shingles("THE  same\ntext")
    assert near.jaccard(a, b) == 1.0
    assert near.jaccard(near.shingles("abcdefg"), near.shingles("abcdefh")) == pytest.approx(2 / 4)
    assert near.jaccard(near.shingles("one thing"), near.shingles("quite another")) == 0.0
    assert len(near.shingles("")) == len(near.shingles("a")) == 1


def test_a_sketch_estimates_likeness() -> None:
    rng = Random(2)
    for share in (0.0, 0.005, 0.02):
        text = prose(rng, 300)
        a, b = near.shingles(text), near.shingles(damage(rng, text, share))
        alike = (near.sketch(a)[1] == near.sketch(b)[1]).mean()
        assert alike == pytest.approx(near.jaccard(a, b), abs=0.1)


def test_damaged_copies_are_found_and_nothing_else() -> None:
    rng = Random(3)
    texts = [prose(rng) for _ in range(400)]
    texts += [damage(rng, texts[n]) for n in range(100)]
    sets, index = [near.shingles(t) for t in texts], near.Index()
    for found in sets:
        index.add(found)
    pairs = near.similar_pairs(index, list(range(500)), 0.8, sets.__getitem__)
    assert {(i, j) for i, j, _ in pairs} == {(n, 400 + n) for n in range(100)}


def test_a_large_family_of_like_texts_costs_few_comparisons() -> None:
    index = near.Index()
    base = prose(Random(4), 300)
    for n in range(1000):
        index.add(near.shingles(f"{base} number {n}"))
    assert len(list(index.candidates([0] * 1000, 0.8))) < 40_000  # of 499,500 pairs


# -- what goes and what stays -----------------------------------------------------------------------------------


def test_another_scan_of_a_document_goes(tmp_path: Path) -> None:
    rng, documents = Random(5), letters()
    scans = [Document(f"scan{n}", damage(rng, documents[n].text), dict(documents[n].values)) for n in range(10)]
    report, ids = make(tmp_path, [*documents, *scans])
    assert report.near_duplicates_removed == 10
    assert set().union(*ids.values()) == {str(n) for n in range(100)}
    assert report.near_duplicates.clusters == 10
    assert report.near_duplicates.leakage_prevented > 0


@pytest.mark.parametrize(
    ("schema", "values"),
    [
        ({"amount": "money"}, {"amount": "29.99"}),
        ({"amount": "money", "iban": "string"}, {"amount": "29.99", "iban": "DE89370400440532013000"}),
        ({"amount": "money", "contract_since": "date"}, {"amount": "29.99", "contract_since": "2019-04-01"}),
    ],
)
def test_monthly_bills_stay_and_stay_together(tmp_path: Path, schema: dict[str, str], values: dict[str, Any]) -> None:
    """No field tells the months apart, so all twelve have one answer; they are twelve bills all the same."""
    body = " ".join(Random(6).choices(WORDS, k=200))
    bills = [
        Document(f"bill{n}", f"{body}\nInvoice {7000 + n} of 2024-{n:02d}-01, 29.99 EUR", values) for n in range(1, 13)
    ]
    documents = [Document(d.id, d.text, {"amount": d.values["amount"]}) for d in letters(150)]
    task = Extraction({"schema": schema})
    report = build(task, documents=[*documents, *bills], split=SplitSpec(test=0.2), out=tmp_path)
    assert report.near_duplicates_removed == 0
    assert report.near_duplicates.largest_cluster == 12
    where = [
        name
        for name in report.splits
        for row in read_rows(tmp_path / f"{name}.jsonl")
        if str(row.provenance["document"]).startswith("bill")
    ]
    assert len(where) == 12
    assert len(set(where)) == 1


def test_form_letters_without_a_number_are_not_copies(tmp_path: Path) -> None:
    body = " ".join(Random(6).choices(WORDS, k=100))
    rng = Random(16)
    notes = [
        Document(f"note{n}", f"{' '.join(rng.choices(WORDS, k=9))}\n{body}", {"type": "letter"}) for n in range(20)
    ]
    others = [Document(d.id, d.text, {"type": "letter" if n % 2 else "bill"}) for n, d in enumerate(letters())]
    report = build(Extraction({"schema": {"type": "string"}}), documents=[*others, *notes], out=tmp_path)
    assert (report.near_duplicates_removed, report.near_duplicates.largest_cluster) == (0, 20)


def test_receipts_of_one_shop_are_not_removed(tmp_path: Path) -> None:
    head, foot = prose(Random(7), 40), prose(Random(8), 60)
    rng = Random(9)
    receipts = []
    for n in range(60):
        items = "\n".join(f"{rng.choice(WORDS)} {rng.choice(WORDS)} {rng.randint(100, 999) / 100}" for _ in range(6))
        values = {
            "type": "receipt",
            "date": f"2023-{1 + n % 12:02d}-{1 + n % 28:02d}",
            "amount": f"{rng.randint(5, 90)}.00",
        }
        receipts.append(Document(str(n), f"{head}\n{items}\nTOTAL {values['amount']}\n{foot}", values, "shop:1"))
    report, _ = make(tmp_path, receipts)
    assert report.near_duplicates_removed == 0
    assert report.rows_kept == 60


def test_the_held_out_copy_is_kept(tmp_path: Path) -> None:
    documents = letters()
    documents.append(
        Document("scan", damage(Random(5), documents[3].text), dict(documents[3].values), tags=["held-out"])
    )
    _, ids = make(tmp_path, documents)
    assert ids["test"] == {"scan"}
    assert "3" not in ids["train"] | ids["validation"]


def test_a_held_out_exact_copy_holds_out_the_one_that_is_kept(tmp_path: Path) -> None:
    documents = letters()
    documents.append(Document("copy", documents[3].text, dict(documents[3].values), tags=["held-out"]))
    report, ids = make(tmp_path, documents)
    assert (report.duplicates_removed, ids["test"]) == (1, {"3"})


def test_near_duplicates_can_be_switched_off(tmp_path: Path) -> None:
    documents = letters()
    documents.append(Document("scan", damage(Random(5), documents[3].text), dict(documents[3].values)))
    report, _ = make(tmp_path, documents, options=DatasetOptions(near_duplicates=None))
    assert report.rows_kept == 101


def test_an_upload_loses_only_what_is_the_same_but_for_case_and_space(tmp_path: Path) -> None:
    base = prose(Random(10), 200)
    rows = [chat(f"{base} {WORDS[n]} {n}", "yes") for n in range(40)]
    rows += [chat(rows[0].prompt[0]["content"].upper().replace(" ", "  "), "yes"), rows[1]]
    report = build(None, rows=rows, out=tmp_path)
    assert (report.duplicates_removed, report.near_duplicates_removed, report.rows_kept) == (1, 1, 40)


def test_one_long_instruction_in_every_prompt_does_not_make_all_rows_one_cluster(tmp_path: Path) -> None:
    rng, instruction = Random(11), prose(Random(12), 400)
    rows = [chat(f"{instruction}\n{prose(rng, 12)}", f"answer {n}") for n in range(100)]
    report = build(None, rows=rows, out=tmp_path)
    assert report.near_duplicates.largest_cluster == 1
    assert report.splits["test"] == 8


def test_validation_rows_like_training_rows_are_left_out(tmp_path: Path) -> None:
    rng = Random(13)
    rows = [chat(prose(rng), f"answer {n}") for n in range(40)]
    given = [chat(damage(rng, rows[0].prompt[0]["content"]), "another"), chat(prose(rng), "fresh"), rows[1]]
    report = build(None, rows=rows, validation_rows=given, out=tmp_path)
    assert (report.splits["validation"], report.leaks_removed) == (1, 2)


# -- from version to version ------------------------------------------------------------------------------------


def test_test_rows_stay_test_rows_and_never_become_training_rows(tmp_path: Path) -> None:
    documents = letters(120)
    _, first = make(tmp_path / "1", documents)
    more = letters(200, seed=2)
    report, second = make(
        tmp_path / "2", [*[Document("n" + d.id, d.text, d.values) for d in more], *documents], earlier=[tmp_path / "1"]
    )
    assert first["test"] <= second["test"]
    assert report.frozen_test_rows == len(first["test"])
    assert len(second["test"]) > len(first["test"])
    assert not first["train"] & second["test"]  # the earlier model knows them


def test_the_same_documents_again_give_the_same_version(tmp_path: Path) -> None:
    first, _ = make(tmp_path / "1", letters(120))
    again, _ = make(tmp_path / "2", letters(120), earlier=[tmp_path / "1"])
    third, _ = make(tmp_path / "3", letters(120), earlier=[tmp_path / "1", tmp_path / "2"])
    assert first.version == again.version == third.version


def test_a_document_that_was_away_for_a_version_is_still_a_test_document(tmp_path: Path) -> None:
    documents = letters(120)
    _, first = make(tmp_path / "1", documents)
    away = next(d for d in documents if d.id in first["test"])
    make(tmp_path / "2", [d for d in documents if d is not away], earlier=[tmp_path / "1"])
    _, third = make(tmp_path / "3", documents, earlier=[tmp_path / "1", tmp_path / "2"])
    assert away.id in third["test"]


def test_a_test_document_that_was_scanned_again_under_a_new_number_is_still_one(tmp_path: Path) -> None:
    documents = letters(120)
    _, first = make(tmp_path / "1", documents)
    tested = next(d for d in documents if d.id in first["test"])
    again = [Document("new" if d is tested else d.id, d.text, d.values) for d in documents]
    _, second = make(tmp_path / "2", again, earlier=[tmp_path / "1"])
    assert "new" in second["test"]


def test_a_new_relative_of_a_test_document_joins_it(tmp_path: Path) -> None:
    documents = letters(120)
    _, first = make(tmp_path / "1", documents)
    tested = next(d for d in documents if d.id in first["test"])
    relative = Document("new", tested.text + " 2025", {**tested.values, "date": "2025-05-05"})
    _, second = make(tmp_path / "2", [relative, *documents], earlier=[tmp_path / "1"])
    assert {"new", tested.id} <= second["test"]


def test_an_upload_keeps_its_test_rows(tmp_path: Path) -> None:
    rng = Random(14)
    rows = [chat(prose(rng), f"answer {n}") for n in range(60)]
    build(None, rows=rows[:40], out=tmp_path / "1")
    build(None, rows=rows[::-1], earlier=[tmp_path / "1"], out=tmp_path / "2")
    tests = [{r.answer for r in read_rows(tmp_path / v / "test.jsonl")} for v in ("1", "2")]
    assert tests[0] <= tests[1]
