"""The same reading, on a real Paperless-ngx (TUNESMITH_TEST_PAPERLESS_URL, TUNESMITH_TEST_PAPERLESS_TOKEN)."""

import os
from collections.abc import Iterator
from datetime import date

import httpx
import pytest

from tunesmith_connectors.paperless import PaperlessClient, PaperlessError, PaperlessRefused

URL = os.environ.get("TUNESMITH_TEST_PAPERLESS_URL", "")
TOKEN = os.environ.get("TUNESMITH_TEST_PAPERLESS_TOKEN", "")
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (URL and TOKEN), reason="set TUNESMITH_TEST_PAPERLESS_URL and …_TOKEN"),
]


@pytest.fixture
def paperless() -> Iterator[PaperlessClient]:
    with PaperlessClient(URL, TOKEN, tries=2) as client:
        yield client


def test_every_document_comes_once_and_in_order(paperless: PaperlessClient) -> None:
    found = [d.id for d in paperless.documents(page_size=7)]
    assert found == sorted(set(found))
    assert len(found) == paperless.check()


def test_filters_narrow(paperless: PaperlessClient) -> None:
    everything = {d.id: d for d in paperless.documents()}
    for name in list(paperless.lookups().tags.values())[:3]:
        assert [d.id for d in paperless.documents(tags=[name])] == [i for i, d in everything.items() if name in d.tags]
    since = date(2023, 1, 1)
    assert [d.id for d in paperless.documents(since=since)] == [
        i for i, d in everything.items() if d.created and d.created >= since
    ]


def test_misspelt_names_and_queries(paperless: PaperlessClient) -> None:
    with pytest.raises(PaperlessError):
        list(paperless.documents(tags=["no such tag, surely"]))
    for field in paperless.lookups().custom_fields.values():
        having = {d.id for d in paperless.documents(custom_field_query=[field.name, "exists", True])}
        assert having == {d.id for d in paperless.documents() if field.name in d.custom_fields or d.problems}


def test_no_value_is_unreadable(paperless: PaperlessClient) -> None:
    assert [d.problems for d in paperless.documents() if d.problems] == []


def test_refusals(paperless: PaperlessClient) -> None:
    with PaperlessClient(URL, "wrong") as stranger, pytest.raises(PaperlessRefused) as caught:
        stranger.check()
    assert caught.value.code in ("unauthorized", "forbidden")


def test_what_the_stand_in_imitates() -> None:
    headers = {"Authorization": f"Token {TOKEN}"}

    def count(query: str) -> int:
        return int(httpx.get(f"{URL.rstrip('/')}/api/documents/?{query}", headers=headers).json()["count"])

    assert count("no_such_filter=1") == count("is_in_inbox=1") == count("ordering=nonsense") == count("")
    old = {**headers, "Accept": "application/json; version=5"}
    assert httpx.get(f"{URL.rstrip('/')}/api/tags/", headers=old).status_code == 406
