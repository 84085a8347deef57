"""The same reading, on a real Paperless-ngx (TUNESMITH_TEST_PAPERLESS_URL, TUNESMITH_TEST_PAPERLESS_TOKEN)."""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from tunesmith.datasets.library import Library
from tunesmith.settings import Settings
from tunesmith.store.workspace import Workspace
from tunesmith_connectors.paperless import PaperlessClient, PaperlessError, PaperlessRefused, moment

URL = os.environ.get("TUNESMITH_TEST_PAPERLESS_URL", "")
TOKEN = os.environ.get("TUNESMITH_TEST_PAPERLESS_TOKEN", "")
WRITABLE = os.environ.get("TUNESMITH_TEST_PAPERLESS_WRITE") == "1"
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


def test_changes_come_all_and_in_the_order_of_their_modification(paperless: PaperlessClient) -> None:
    seen: dict[int, str] = {}
    upto = ""
    for page in paperless.changes(page_size=7):
        assert page.upto >= upto
        upto = page.upto
        seen.update({wire["id"]: wire["modified"] for wire in page.documents})
    assert set(seen) == paperless.ids()
    assert len(seen) == paperless.check()
    later = {wire["id"] for page in paperless.changes(upto) for wire in page.documents}
    assert later == {number for number, at in seen.items() if moment(at) >= upto}


def test_a_library_is_the_same_as_asking(paperless: PaperlessClient, tmp_path: Path) -> None:
    workspace = Workspace.open(Settings(home=tmp_path, paperless_url=URL, paperless_token=SecretStr(TOKEN)))
    library = Library(workspace.database, workspace.settings)
    assert library.sync().new == paperless.check()
    again = library.sync()
    assert (again.new, again.changed, again.deleted) == (0, 0, 0)
    assert list(library.documents()) == list(paperless.documents())
    workspace.close()


@pytest.mark.skipif(not WRITABLE, reason="set TUNESMITH_TEST_PAPERLESS_WRITE=1 for a server that may be changed")
def test_single_fields_are_written_and_no_other(paperless: PaperlessClient) -> None:
    """Puts the values of one document back as they were."""
    before = next(paperless.documents())
    wires = {f["field"]: f["value"] for f in paperless.wire_document(before.id)["custom_fields"]}
    for number, field in paperless.lookups().custom_fields.items():
        if number not in wires:
            continue
        paperless.set_custom_fields(before.id, {number: None})
        assert paperless.document(before.id).custom_fields == {**before.custom_fields, field.name: None}
        paperless.set_custom_fields(before.id, {number: field.to_wire(before.custom_fields[field.name])})
        assert paperless.document(before.id).custom_fields == before.custom_fields
    paperless.update(before.id, {"created": "2001-02-03"})
    assert paperless.document(before.id).created == date(2001, 2, 3)
    assert before.created is not None
    paperless.update(before.id, {"created": before.created.isoformat()})
    with pytest.raises(PaperlessRefused):
        paperless.update(before.id, {"correspondent": 10**6})


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
