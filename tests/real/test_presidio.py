"""The real Presidio with a real spaCy model: names are found and redacted."""

import os
from pathlib import Path

import pytest

from tunesmith.datasets import presidio
from tunesmith.datasets.build import build
from tunesmith.datasets.options import DatasetOptions
from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Row, read_rows

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("default")]
MODEL = os.environ.get("TUNESMITH_TEST_SPACY_MODEL", "en_core_web_sm")


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("presidio_analyzer")
    spacy = pytest.importorskip("spacy")
    if not spacy.util.is_package(MODEL):
        pytest.skip(f"spaCy's {MODEL} is not installed")


def row(question: str, answer: str) -> Row:
    return Row([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])


def test_names_are_redacted_in_prompt_and_answer(tmp_path: Path) -> None:
    rows = [row(f"Letter {n} for Christopher Miller from Berlin.", "Christopher Miller") for n in range(12)]
    options = DatasetOptions(presidio=MODEL, personal_data={"person": "redact"}, near_duplicates=None)
    report = build(None, rows=rows, out=tmp_path, options=options)
    kept = list(read_rows(tmp_path / "train.jsonl"))
    assert {row.answer for row in kept} == {"[person]"}
    assert "Miller" not in str(kept)
    assert report.private_data["rows"]["person"] == 12


def test_a_model_that_is_not_there_is_not_downloaded() -> None:
    with pytest.raises(BadInput, match="no spaCy model") as caught:
        presidio.finder("xx_no_such_model")
    assert "spacy download" in str(caught.value.hint)
