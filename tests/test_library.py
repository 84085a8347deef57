"""The library: incremental syncs that lose nothing, and selections equal to asking Paperless itself."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from fakes.paperless import FakePaperless
from test_paperless import document, lines
from tunesmith.datasets import library_sync, sources
from tunesmith.datasets.library import Library
from tunesmith.errors import BadInput, NotFound, Unavailable
from tunesmith.settings import Settings
from tunesmith.store.tables import LibraryDocument
from tunesmith.store.workspace import Workspace

COUNT = 950  # several pages of 200


def stamp(n: int) -> str:
    return (datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=10 * n)).isoformat()


def many(count: int = COUNT) -> list[dict[str, Any]]:
    return [
        document(
            n,
            tags=[1] if n % 2 else [1, 2],
            document_type=None if n % 5 == 0 else 1 + n % 2,
            correspondent=1 + n % 2,
            created=f"20{20 + n % 5}-01-{1 + n % 28:02}",
            modified=stamp(count - n),  # the first is the last modified one
            content=f"Water bill {n}, {n}.50 EUR",
            custom_fields=[{"field": 1, "value": f"EUR{n}.50"}] if n % 3 else [],
        )
        for n in range(1, count + 1)
    ]


@pytest.fixture
def fake() -> Iterator[FakePaperless]:
    with FakePaperless(lines(*many())) as server:
        yield server


@pytest.fixture
def workspace(tmp_path: Path, fake: FakePaperless, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(library_sync, "PAGE", 200)
    settings = Settings(home=tmp_path / "home", paperless_url=fake.url, paperless_token=SecretStr("secret"))
    opened = Workspace.open(settings)
    yield opened
    opened.close()


@pytest.fixture
def library(workspace: Workspace) -> Library:
    return Library(workspace.database, workspace.settings)


def here(workspace: Workspace) -> dict[int, Any]:
    with workspace.database.read() as session:
        rows = session.execute(select(LibraryDocument.id, LibraryDocument.wire)).all()
    return {number: json.loads(wire) for number, wire in rows}


def texts(fake: FakePaperless) -> int:
    """How many pages with texts were asked for; forgets the requests."""
    asked = sum("content" in request for request in fake.requests)
    fake.requests.clear()
    return asked


def test_the_first_sync_fetches_all_and_the_next_only_what_changed(
    library: Library, fake: FakePaperless, workspace: Workspace
) -> None:
    first = library.sync()
    assert (first.new, first.changed, first.deleted, first.documents) == (COUNT, 0, 0, COUNT)
    assert texts(fake) == 5
    fake.edit(7, title="Renamed")
    fake.documents.append(document(5000, modified=datetime.now(UTC).isoformat()))
    second = library.sync()
    assert (second.new, second.changed, second.deleted) == (1, 1, 0)
    assert texts(fake) == 1
    assert here(workspace)[7]["title"] == "Renamed"
    third = library.sync()
    assert (third.new, third.changed, third.deleted, third.documents) == (0, 0, 0, COUNT + 1)


def test_documents_that_share_a_moment_come_all(library: Library, fake: FakePaperless) -> None:
    for item in fake.documents:
        item["modified"] = "2025-03-01T10:00:00+02:00"
    assert library.sync().new == COUNT
    assert library.sync().changed == 0


def test_deletions_are_noticed(library: Library, fake: FakePaperless, workspace: Workspace) -> None:
    library.sync()
    fake.documents[:] = [d for d in fake.documents if d["id"] not in (3, 4)]
    assert library.sync().deleted == 2
    assert not {3, 4} & set(here(workspace))
    with pytest.raises(NotFound):
        library.document(3)


def test_a_deletion_beside_an_addition_is_noticed(library: Library, fake: FakePaperless) -> None:
    library.sync()
    fake.documents[2] = document(6000, modified=datetime.now(UTC).isoformat())  # as many as before
    report = library.sync()
    assert (report.new, report.deleted) == (1, 1)


def swap_unseen(fake: FakePaperless) -> None:
    """One document goes and one appears that did not change: neither the cursor nor the number tells."""
    fake.documents[2] = document(6000, modified=stamp(0))


def test_what_neither_cursor_nor_count_tells_is_found_by_a_full_sync(library: Library, fake: FakePaperless) -> None:
    library.sync()
    swap_unseen(fake)
    assert library.sync().deleted == 0
    full = library.sync(full=True)
    assert (full.deleted, full.new, full.full) == (1, 1, True)


def test_what_neither_cursor_nor_count_tells_is_found_after_a_day(
    library: Library, fake: FakePaperless, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.sync()
    swap_unseen(fake)
    monkeypatch.setattr(library_sync, "COMPARE_EVERY", 0.0)
    report = library.sync()
    assert (report.deleted, report.new) == (1, 1)


def test_a_document_that_becomes_visible_is_fetched_although_it_did_not_change(
    library: Library, fake: FakePaperless, workspace: Workspace
) -> None:
    hidden = fake.documents.pop(10)
    library.sync()
    fake.documents.append(hidden)  # a permission was given; `modified` stays long ago
    assert library.sync().new == 1
    assert hidden["id"] in here(workspace)


def test_a_stop_in_the_middle_of_a_page_stores_no_part_of_it_and_the_next_sync_resumes(
    library: Library, fake: FakePaperless, workspace: Workspace
) -> None:
    fake.cut = [False, False, *[True] * 5]  # the third page, at every try
    with pytest.raises(Unavailable) as caught:
        library.sync()
    assert caught.value.error_code == "paperless_cut_off"
    assert "in the middle" in caught.value.message
    assert caught.value.hint
    assert caught.value.retryable
    kept = here(workspace)
    assert len(kept) == 399  # two whole pages, which share one document
    assert all(kept[d["id"]] == {k: d[k] for k in kept[d["id"]]} for d in fake.documents if d["id"] in kept)
    assert library.status()["interrupted"]
    texts(fake)
    resumed = library.sync()
    assert resumed.resumed
    assert (resumed.new, resumed.documents) == (COUNT - 399, COUNT)
    assert texts(fake) == 3
    assert not library.status()["interrupted"]


@pytest.mark.parametrize("body", ['{"results": [{"id": 1}]}', "<html>", '{"results": [{"id": 1, "mod'])
def test_garbage_in_the_middle_of_a_walk_stores_nothing_of_it(
    library: Library, fake: FakePaperless, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    real, pages = httpx.Client.request, list[str]()

    def request(self: httpx.Client, method: str, path: str, **content: Any) -> httpx.Response:
        pages.append(path) if path == "documents/" else None
        wrong = path == "documents/" and len(pages) == 2
        return httpx.Response(200, text=body) if wrong else real(self, method, path, **content)

    monkeypatch.setattr(httpx.Client, "request", request)
    with pytest.raises(Unavailable):
        library.sync()
    assert len(here(workspace)) == 200
    assert library.sync().documents == COUNT


def test_a_full_sync_that_is_interrupted_stays_a_full_one(library: Library, fake: FakePaperless) -> None:
    library.sync()
    swap_unseen(fake)
    fake.cut = [False, *[True] * 5]
    with pytest.raises(Unavailable):
        library.sync(full=True)
    resumed = library.sync()
    assert resumed.full
    assert resumed.deleted == 1


def test_what_changes_during_a_walk_is_not_missed(
    library: Library, fake: FakePaperless, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, edited = fake.answer, []

    def answer(target: str, headers: dict[str, str]) -> Any:
        if "content" in target and len(edited) < 30:  # documents leave the pages already read, or yet to be read
            for number in range(len(edited), len(edited) + 15):
                fake.edit(COUNT - number, title="moved")
                edited.append(number)
        return real(target, headers)

    monkeypatch.setattr(fake, "answer", answer)
    assert library.sync().documents == COUNT
    titles = [d["title"] for d in here(workspace).values()]
    assert titles.count("moved") == 30


def test_another_paperless_is_another_library(
    library: Library, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.sync()
    with FakePaperless(lines(document(1, title="Elsewhere"))) as other:
        monkeypatch.setattr(workspace.settings, "paperless_url", other.url)
        assert library.sync().documents == 1
    assert [d.title for d in library.documents()] == ["Elsewhere"]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"tags": ["FINANCE", "private"]},
        {"document_types": ["Letter"], "correspondents": ["Bank"]},
        {"since": "2022-01-10", "until": "2023-01-05"},
        {"custom_field_query": ["Total", "gt", 900]},
        {"limit": 3, "fields": {"amount": "custom_field/total", "day": "created"}},
    ],
)
def test_the_library_gives_the_same_documents_as_asking_paperless(
    library: Library, workspace: Workspace, query: dict[str, Any]
) -> None:
    library.sync()
    source = {"paperless": query}
    direct = list(sources.documents(source, workspace.settings, Path))
    assert list(sources.documents(source, workspace.settings, Path, library=library)) == direct
    assert len(direct) > 2


def test_a_custom_field_query_fetches_ids_only(library: Library, fake: FakePaperless) -> None:
    library.sync()
    texts(fake)
    assert len(list(library.documents(custom_field_query=["Total", "gt", 900]))) > 2
    assert [r for r in fake.requests if "documents" in r] == [r for r in fake.requests if "fields=id&" in r]


def test_misspelt_names_select_nothing(library: Library, workspace: Workspace) -> None:
    library.sync()
    with pytest.raises(BadInput) as caught:
        list(sources.documents({"paperless": {"tags": ["finanse"]}}, workspace.settings, Path, library=library))
    assert "finance" in str(caught.value.hint)


def test_a_renamed_correspondent_is_seen_although_no_document_changed(library: Library, fake: FakePaperless) -> None:
    library.sync()
    fake.lookups["correspondents"][1]["name"] = "Savings bank"
    report = library.sync()
    assert report.changed == 0
    assert library.document(1).correspondent == "Savings bank"


def test_a_correspondent_that_may_not_be_listed_is_none(library: Library, fake: FakePaperless) -> None:
    fake.forbidden = {"correspondents"}
    library.sync()
    assert (library.document(1).correspondent, library.document(1).correspondent_id) == (None, 2)


def test_a_wrong_token_keeps_what_is_here(library: Library, fake: FakePaperless, workspace: Workspace) -> None:
    library.sync()
    fake.token = "changed"
    with pytest.raises(BadInput) as caught:
        library.sync()
    assert caught.value.error_code == "unauthorized"
    assert len(here(workspace)) == COUNT


@pytest.mark.parametrize("content", ["\x00 NUL", "half a pair \ud83d", "שלום", "x" * 5_000_000])
def test_odd_texts_come_as_they_are(library: Library, fake: FakePaperless, content: str) -> None:
    fake.documents[:] = [document(1, content=content)]
    library.sync()
    assert library.document(1).content == content
    assert library.sync().changed == 0


def test_status_before_and_after(library: Library) -> None:
    assert library.status()["documents"] == 0
    library.sync()
    status = library.status()
    assert (status["documents"], status["lookups"]["tags"], status["last_sync"]["new"]) == (COUNT, 2, COUNT)
    assert status["synced_at"]
    json.dumps(status)
