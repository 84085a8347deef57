"""Sources: Paperless over HTTP and documents from a file give the same documents."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from fakes.paperless import FakePaperless
from test_paperless import document, lines
from tunesmith.datasets import sources
from tunesmith.errors import BadInput, Unavailable
from tunesmith.settings import Settings
from tunesmith.tasks.document import Document

WIRE = lines(
    document(1, content="Bill of 2025-03-19, 12.30 EUR", custom_fields=[{"field": 1, "value": "EUR12.30"}]),
    document(2, tags=[1, 2], correspondent=2, document_type=2, content="Hello", created="2025-03-20"),
    document(3, correspondent=None, document_type=None, custom_fields=[{"field": 2, "value": "a1"}]),
)


def from_file(tmp_path: Path, wire: Any = WIRE, **source: Any) -> list[Document]:
    path = tmp_path / "documents.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in wire))
    return list(sources.documents({"documents": "file-1", **source}, Settings(), lambda _: path))


def from_paperless(url: str, **query: Any) -> list[Document]:
    settings = Settings(paperless_url=url, paperless_token=SecretStr("secret"))
    return list(sources.documents({"paperless": query}, settings, Path))


def test_labels_by_name(tmp_path: Path) -> None:
    first, second, third = from_file(tmp_path)
    assert first.values["amount"] == Decimal("12.30")
    assert first.values["date"] == date(2025, 3, 19)
    assert (first.values["type"], first.values["correspondent"]) == ("Invoice", "Waterworks")
    assert (first.group, third.group) == ("correspondent:1", "")
    assert (second.tags, second.values["amount"]) == (["finance", "private"], None)
    assert third.values["Kind"] == "Car"


def test_a_date_that_paperless_made_up_is_no_label(tmp_path: Path) -> None:
    assert from_file(tmp_path)[1].values["date"] is None  # created on the day of adding, and not in the text


def test_both_ways_give_the_same_documents(tmp_path: Path) -> None:
    with FakePaperless(WIRE) as server:
        assert from_paperless(server.url) == from_file(tmp_path)
        assert [d.id for d in from_paperless(server.url, tags=["private"], since="2025-03-20")] == ["2"]
        assert len(from_paperless(server.url, limit=2)) == 2


def test_fields_can_be_mapped(tmp_path: Path) -> None:
    mapped = from_file(tmp_path, fields={"total": "custom_field/total", "who": "correspondent", "day": "created"})
    assert mapped[0].values["total"] == Decimal("12.30")
    assert mapped[0].values["who"] == "Waterworks"


@pytest.mark.parametrize("where", ["custom_field/Totl", "corespondent"])
def test_a_misspelt_mapping_is_an_error(tmp_path: Path, where: str) -> None:
    with pytest.raises(BadInput) as caught:
        from_file(tmp_path, fields={"total": where})
    assert caught.value.hint
    with FakePaperless(WIRE) as server, pytest.raises(BadInput):
        from_paperless(server.url, fields={"total": where})


@pytest.mark.parametrize("query", [{"tag": ["finance"]}, {"tags": ["finanse"]}, {"since": "soon"}, {"fields": [1]}])
def test_a_misspelt_query_is_an_error_and_exports_nothing(query: Any) -> None:
    with FakePaperless(WIRE) as server:
        with pytest.raises(BadInput):
            from_paperless(server.url, **query)
        assert not any("/documents/" in r for r in server.requests)


def test_paperless_away_and_not_set_up() -> None:
    with pytest.raises(BadInput) as missing:
        list(sources.documents({"paperless": {}}, Settings(paperless_url=None), Path))
    assert missing.value.error_code == "paperless_not_configured"
    with FakePaperless(WIRE) as server:
        server.fail = [401]
        with pytest.raises(BadInput) as refused:
            from_paperless(server.url)
        assert refused.value.error_code == "unauthorized"


def test_away_is_retryable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with FakePaperless(WIRE) as server:
        server.fail = [503] * 9
        with pytest.raises(Unavailable) as caught:
            from_paperless(server.url)
    assert caught.value.error_code == "paperless_unavailable"


def test_a_wrong_line_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Line 6"):
        from_file(tmp_path, [*WIRE[:5], {"title": "no id"}])


def test_a_source_needs_a_kind() -> None:
    with pytest.raises(BadInput):
        list(sources.documents({"paperles": {}}, Settings(), Path))
    with pytest.raises(BadInput):
        list(sources.rows({"documents": "x"}, Path))


def test_a_file_of_documents_is_checked_whole(tmp_path: Path) -> None:
    path = tmp_path / "documents.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in WIRE))
    assert sources.validate_documents(path).as_dict() == {
        "rows": 3, "format": "documents", "system_prompts": 0, "longest": 29,
    }  # fmt: skip
    path.write_text(json.dumps(WIRE[0]))
    with pytest.raises(BadInput):
        sources.validate_documents(path)
