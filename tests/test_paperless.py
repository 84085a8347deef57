"""The Paperless client against a stand-in; the tests that only read also run against a real one (tests/real)."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import pytest

from fakes.paperless import FakePaperless
from tunesmith_connectors.paperless import (
    Money,
    PaperlessClient,
    PaperlessError,
    PaperlessRefused,
    PaperlessUnavailable,
)
from tunesmith_connectors.paperless_values import CustomField, parse_money

FIELDS = [
    {"id": 1, "name": "Total", "data_type": "monetary", "extra_data": {"default_currency": "EUR"}},
    {"id": 2, "name": "Kind", "data_type": "select", "extra_data": {"select_options": [{"id": "a1", "label": "Car"}]}},
    {"id": 3, "name": "Due", "data_type": "date", "extra_data": None},
    {"id": 4, "name": "Paid", "data_type": "boolean", "extra_data": {}},
    {"id": 5, "name": "Links", "data_type": "documentlink", "extra_data": {}},
    {"id": 6, "name": "Pages", "data_type": "integer"},
    {"id": 7, "name": "Weight", "data_type": "float"},
    {"id": 8, "name": "Site", "data_type": "url"},
    {"id": 9, "name": "Note", "data_type": "longtext"},
    {"id": 10, "name": "Code", "data_type": "string"},
]


def document(number: int, **changes: Any) -> dict[str, Any]:
    base = {
        "id": number,
        "title": f"Document {number}",
        "content": "Water bill",
        "created": "2025-03-19",
        "added": "2025-03-20T07:30:00Z",
        "modified": "2025-03-20T08:00:00Z",
        "correspondent": 1,
        "document_type": 1,
        "storage_path": None,
        "tags": [1],
        "custom_fields": [],
        "original_file_name": "a.pdf",
        "notes": [],
    }
    return {**base, **changes}


def lines(*documents: dict[str, Any]) -> list[dict[str, Any]]:
    def named(*names: str) -> list[dict[str, Any]]:
        return [{"id": i, "name": name} for i, name in enumerate(names, start=1)]

    return [
        {"kind": "tags", "results": named("finance", "private")},
        {"kind": "correspondents", "results": named("Waterworks", "Bank")},
        {"kind": "document_types", "results": named("Invoice", "Letter")},
        {"kind": "storage_paths", "results": []},
        {"kind": "custom_fields", "results": FIELDS},
        *documents,
    ]


@pytest.fixture
def fake() -> Iterator[FakePaperless]:
    many = [
        document(
            n,
            tags=[1] if n % 2 else [2],
            document_type=1 + n % 2,
            correspondent=1 + n % 2,
            created=f"20{20 + n % 5}-01-{1 + n % 28:02}",
            custom_fields=[{"field": 1, "value": f"EUR{n}.50"}] if n % 3 else [],
        )
        for n in range(1, 61)
    ]
    with FakePaperless(lines(*many)) as server:
        yield server


def client(fake: FakePaperless, **options: Any) -> PaperlessClient:
    return PaperlessClient(fake.url, options.pop("token", fake.token), sleep=lambda _: None, **options)


def test_pages_come_complete_and_in_order(fake: FakePaperless) -> None:
    with client(fake) as paperless:
        found = [d.id for d in paperless.documents(page_size=7)]
    assert found == list(range(1, 61))
    assert sum("/documents/" in r for r in fake.requests) == 9
    assert all("version=9" in h["Accept"] for h in fake.headers)


def test_only_the_fields_that_are_needed_travel(fake: FakePaperless) -> None:
    with client(fake) as paperless:
        assert next(paperless.documents()).title == "Document 1"
    assert "notes" not in fake.requests[-1]
    assert "fields=id%2Ctitle%2Ccontent" in fake.requests[-1]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"tags": ["FINANCE"]}, lambda d: 1 in d["tags"]),
        ({"tags": ["finance", "private"]}, lambda d: False),
        ({"document_types": ["Letter"]}, lambda d: d["document_type"] == 2),
        ({"document_types": ["Letter", "invoice"]}, lambda d: True),
        ({"correspondents": ["Bank"]}, lambda d: d["correspondent"] == 2),
        (
            {"since": date(2022, 1, 10), "until": date(2023, 1, 5)},
            lambda d: "2022-01-10" <= d["created"] <= "2023-01-05",
        ),
        ({"custom_field_query": ["Total", "gt", 40]}, lambda d: d["custom_fields"] and d["id"] >= 40),
        ({"custom_field_query": ["NOT", ["Total", "exists", True]]}, lambda d: not d["custom_fields"]),
    ],
)
def test_filters(fake: FakePaperless, filters: dict[str, Any], wanted: Any) -> None:
    with client(fake) as paperless:
        found = [d.id for d in paperless.documents(**filters)]
    assert found == [d["id"] for d in fake.documents if wanted(d)]


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"tags": ["finanse"]}, "finance, private"),
        ({"document_types": ["Recipt"]}, "Invoice, Letter"),
        ({"correspondents": ["x"]}, "Bank, Waterworks"),
        ({"storage_paths": ["x"]}, "none that this token may see"),
        ({"custom_field_query": ["Totl", "gt", 1]}, "Total"),
    ],
)
def test_a_misspelt_name_is_an_error_that_lists_what_is_there(
    fake: FakePaperless, filters: dict[str, Any], says: str
) -> None:
    with client(fake) as paperless, pytest.raises(PaperlessError) as caught:
        list(paperless.documents(**filters))
    assert says in caught.value.hint
    assert not any("/documents/" in r for r in fake.requests)  # never an unfiltered export


@pytest.mark.parametrize(
    "query",
    [[], ["Total"], ["XOR", [["Total", "gt", 1]]], ["Total", "icontains_", 1], ["Paid", "gt", 1], ["AND", []], "Total"],
)
def test_a_wrong_custom_field_query_is_refused_before_it_is_sent(fake: FakePaperless, query: Any) -> None:
    with client(fake) as paperless, pytest.raises(PaperlessError) as caught:
        list(paperless.documents(custom_field_query=query))
    assert caught.value.code == "bad_query"
    assert not any("/documents/" in r for r in fake.requests)


@pytest.mark.parametrize(
    ("wire", "amount", "currency"),
    [
        ("99.50", "99.50", "EUR"),
        ("12", "12", "EUR"),
        ("EUR99.5", "99.5", "EUR"),
        ("USD-3.00", "-3.00", "USD"),
        ("GBP2119.97", "2119.97", "GBP"),
        (7.5, "7.5", "EUR"),
        ("-0.10", "-0.10", "EUR"),
    ],
)
def test_money(wire: Any, amount: str, currency: str) -> None:
    assert parse_money(wire, "EUR") == Money(Decimal(amount), currency)


@pytest.mark.parametrize("wire", ["EUR", "1,5", "abc", "EURO12", "NaN"])
def test_what_is_no_money(wire: str) -> None:
    with pytest.raises(ValueError, match="no amount"):
        parse_money(wire)


def test_every_type_of_custom_field() -> None:
    values: dict[int, Any] = {
        1: "USD12.30", 2: "a1", 3: "2025-01-31", 4: False, 5: [3, 4], 6: 3, 7: 1.5, 8: "https://a.example", 9: "x\ny",
        10: "A1",
    }  # fmt: skip
    wire = document(1, custom_fields=[{"field": n, "value": v} for n, v in values.items()])
    with FakePaperless(lines(wire)) as server, client(server) as paperless:
        found = next(paperless.documents()).custom_fields
    assert found == {
        "Total": Money(Decimal("12.30"), "USD"),
        "Kind": "Car",
        "Due": date(2025, 1, 31),
        "Paid": False,
        "Links": [3, 4],
        "Pages": 3,
        "Weight": 1.5,
        "Site": "https://a.example",
        "Note": "x\ny",
        "Code": "A1",
    }


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_custom_field_is_none(field: dict[str, Any], empty: Any) -> None:
    assert CustomField.from_wire(field).value(empty) is None


def test_a_value_that_cannot_be_read_is_a_problem_of_that_document_only() -> None:
    broken = document(1, custom_fields=[{"field": 3, "value": "soon"}, {"field": 6, "value": 2}])
    with FakePaperless(lines(broken, document(2))) as server, client(server) as paperless:
        first, second = paperless.documents()
    assert first.custom_fields == {"Pages": 2}
    assert "Due" in first.problems[0]
    assert second.problems == []


def test_a_correspondent_that_may_not_be_listed_is_none(fake: FakePaperless) -> None:
    fake.forbidden = {"correspondents"}
    with client(fake) as paperless:
        found = next(paperless.documents())
    assert found.correspondent is None
    assert found.correspondent_id == 2


def test_lookups_are_fetched_again_for_every_export(fake: FakePaperless) -> None:
    with client(fake) as paperless:
        assert next(paperless.documents()).correspondent == "Bank"
        fake.lookups["correspondents"][1]["name"] = "Savings bank"
        assert next(paperless.documents()).correspondent == "Savings bank"


def test_it_tries_again_when_paperless_is_busy(fake: FakePaperless) -> None:
    waits: list[float] = []
    fake.fail = [503, 429, 500]
    with PaperlessClient(fake.url, fake.token, sleep=waits.append) as paperless:
        assert paperless.check() == 60
    assert len(waits) == 3
    assert waits == sorted(waits)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthorized", PaperlessRefused),
        (403, "forbidden", PaperlessRefused),
        (404, "not_found", PaperlessRefused),
        (406, "version_refused", PaperlessRefused),
        (418, "paperless_error", PaperlessRefused),
        (302, "redirected", PaperlessRefused),
        (503, "paperless_unavailable", PaperlessUnavailable),
    ],
)
def test_a_refusal_says_what_to_do(fake: FakePaperless, status: int, code: str, kind: type[PaperlessError]) -> None:
    fake.fail = [status] * 9
    with client(fake) as paperless, pytest.raises(kind) as caught:
        paperless.check()
    assert (caught.value.code, caught.value.status) == (code, status)
    assert caught.value.hint
    assert fake.token not in str(caught.value)


def test_a_wrong_token(fake: FakePaperless) -> None:
    with client(fake, token="other") as paperless, pytest.raises(PaperlessRefused) as caught:
        paperless.check()
    assert caught.value.code == "unauthorized"


@pytest.mark.parametrize("body", ["<html>login</html>", "[]", '{"results": 3}', '{"results": [{"no": "id"}]}'])
def test_garbage_is_not_taken_for_paperless(body: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=body))
    with (
        PaperlessClient("http://nas", "t", transport=transport, sleep=lambda _: None) as paperless,
        pytest.raises(PaperlessUnavailable) as caught,
    ):
        list(paperless.documents())
    assert caught.value.code == "not_paperless"


def test_nobody_there() -> None:
    with (
        PaperlessClient("http://127.0.0.1:9", "t", tries=2, sleep=lambda _: None) as paperless,
        pytest.raises(PaperlessUnavailable) as caught,
    ):
        paperless.check()
    assert caught.value.retryable
    assert caught.value.code == "paperless_unreachable"


def test_one_document(fake: FakePaperless) -> None:
    with client(fake) as paperless:
        assert paperless.document(3).title == "Document 3"
        with pytest.raises(PaperlessRefused, match="404"):
            paperless.document(999)


def test_the_stand_in_ignores_what_the_real_one_ignores(fake: FakePaperless) -> None:
    headers = {"Authorization": f"Token {fake.token}"}

    def count(query: str) -> int:
        return int(httpx.get(f"{fake.url}/api/documents/?{query}", headers=headers).json()["count"])

    assert count("tag=finance") == count("is_in_inbox=1") == count("ordering=nonsense") == 60
    assert (
        httpx.get(f"{fake.url}/api/tags/", headers={**headers, "Accept": "application/json; version=5"}).status_code
        == 406
    )


def test_a_filter_that_is_not_known_never_exports_the_whole_library() -> None:
    with FakePaperless(lines(document(1))) as server, client(server) as paperless:
        for ask in (lambda: list(paperless.documents(tag=["finance"])), lambda: paperless.count(tag=["finance"])):  # type: ignore[call-arg]
            with pytest.raises(TypeError, match="no filter 'tag'"):
                ask()
