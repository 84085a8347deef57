"""The sample documents: what is committed is what the generator writes, and held-out means unseen."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tunesmith.datasets import sources
from tunesmith.datasets.build import build
from tunesmith.settings import Settings
from tunesmith.tasks.conversation import read_rows
from tunesmith.tasks.extraction import Extraction

EXAMPLES = Path(__file__).parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))

import generate_documents  # noqa: E402
from documents.draft import LAYOUTS  # noqa: E402

FILE = EXAMPLES / "documents" / "household.jsonl"
LINES = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
DOCUMENTS = [line for line in LINES if "kind" not in line]
HELD_OUT = 3  # id of the tag


def layout_of(document: dict[str, Any]) -> str:
    return str(document["original_file_name"]).rsplit("-", 1)[0]


def test_the_file_is_up_to_date() -> None:
    assert generate_documents.generate() == LINES
    assert FILE.stat().st_size < 2_000_000


def test_enough_of_everything() -> None:
    assert len(DOCUMENTS) >= 600
    assert len({layout_of(d) for d in DOCUMENTS}) == len(LAYOUTS) >= 16
    assert {d["document_type"] for d in DOCUMENTS} == {1, 2, 3, 4, 5}
    assert {d["custom_fields"][-1]["value"] for d in DOCUMENTS} == {"en", "de", "fr"}
    assert sum(len(d["content"]) > 1500 for d in DOCUMENTS) >= 10


@pytest.mark.parametrize("key", ["correspondent", "layout"])
def test_held_out_documents_share_no_layout_and_no_correspondent_with_the_others(key: str) -> None:
    sides: dict[bool, set[Any]] = {True: set(), False: set()}
    for d in DOCUMENTS:
        value = layout_of(d) if key == "layout" else d["correspondent"]
        if value is not None:
            sides[HELD_OUT in d["tags"]].add(value)
    assert not sides[True] & sides[False]
    assert sum(HELD_OUT in d["tags"] for d in DOCUMENTS) >= 100


def test_the_task_is_not_trivial_and_not_hopeless(tmp_path: Path) -> None:
    schema = {
        "type": {"enum": ["invoice", "receipt", "letter", "contract", "statement"]},
        "date": "date",
        "correspondent": "string",
        "amount": "money",
    }
    found = sources.documents({"documents": "x"}, Settings(), lambda _: FILE)
    report = build(Extraction({"schema": schema}), documents=found, out=tmp_path)
    assert report.passed
    assert all(gate.passed for gate in report.gates)
    assert report.rejected == []
    assert report.duplicates_removed == generate_documents.TWICE
    assert report.splits["test"] >= 100
    assert report.groups_shared_with_test == 0
    task = Extraction(report.spec)
    assert {f.name: f.grounding for f in task.fields} == {
        "type": "free", "date": "values", "correspondent": "numbers", "amount": "values",
    }  # fmt: skip
    offered: list[int] = []
    for row in read_rows(tmp_path / "test.jsonl"):
        constraint = task.constraint(row.prompt)
        assert constraint is not None
        assert constraint.json_schema is not None
        answer = json.loads(row.answer)
        for name in ("date", "amount"):
            choices = constraint.json_schema["properties"][name].get("enum")
            assert choices is None or answer[name] in choices
            offered.append(len(choices or ()))
    assert sum(offered) / len(offered) > 3  # several dates and amounts to choose from, null among them
