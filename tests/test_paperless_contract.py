"""What holds for the stand-in and for a real Paperless-ngx alike; tests/real/test_paperless.py runs it on one."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from fakes.paperless import FakePaperless
from test_paperless import document, lines
from tunesmith.datasets import suggestions
from tunesmith.datasets.library import Library
from tunesmith.datasets.writing import write_back
from tunesmith.settings import Settings
from tunesmith.store.tables import Suggestion
from tunesmith.store.workspace import Workspace
from tunesmith_connectors.paperless import Money, PaperlessClient, PaperlessError, PaperlessRefused, moment

TYPES = ["string", "longtext", "url", "date", "boolean", "integer", "float", "monetary", "documentlink", "select"]
CAR = {"select_options": [{"id": "car", "label": "Car"}, {"id": "house", "label": "House"}]}


@dataclass
class Server:
    url: str
    token: str
    fields: dict[str, int] = field(default_factory=dict)  # of this test: type → id, named as `named` says

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Token {self.token}", "Accept": "application/json; version=9"}
        answer = httpx.request(method, f"{self.url}/api/{path}", json=body, headers=headers, timeout=30)
        return answer.raise_for_status().json() if answer.content else None


@pytest.fixture
def server() -> Iterator[Server]:
    documents = [
        document(
            n,
            tags=[1] if n % 2 else [1, 2],
            document_type=1 + n % 2,
            correspondent=1 + n % 2,
            created=f"20{20 + n % 5}-01-{1 + n % 28:02}",
            custom_fields=[{"field": 1, "value": f"EUR{n}.50"}, {"field": 3, "value": "2025-02-03"}] if n % 3 else [],
        )
        for n in range(1, 41)
    ]
    with FakePaperless(lines(*documents)) as fake:
        yield Server(fake.url, fake.token)


@pytest.fixture
def paperless(server: Server) -> Iterator[PaperlessClient]:
    with PaperlessClient(server.url, server.token, tries=2) as client:
        assert client.check() > 2, "the server needs documents for these tests to say anything"
        yield client


@pytest.fixture
def workspace(server: Server, tmp_path: Path) -> Iterator[Workspace]:
    settings = Settings(home=tmp_path, paperless_url=server.url, paperless_token=SecretStr(server.token))
    opened = Workspace.open(settings)
    yield opened
    opened.close()


def named(kind: str) -> str:
    return f"Tunesmith Test {kind}"


@pytest.fixture
def own(server: Server, paperless: PaperlessClient) -> Iterator[Server]:
    """The server with a custom field of each type, which are gone again afterwards."""
    for kind in TYPES:
        extra = {"extra_data": CAR} if kind == "select" else {}
        server.fields[kind] = server.call("POST", "custom_fields/", {"name": named(kind), "data_type": kind, **extra})[
            "id"
        ]
    yield server
    for number in server.fields.values():
        server.call("DELETE", f"custom_fields/{number}/")


def held(paperless: PaperlessClient, number: int, field_id: int) -> Any:
    found = paperless.wire_document(number)["custom_fields"]
    return next((item["value"] for item in found if item["field"] == field_id), "absent")


def until(told: Callable[[], bool], seconds: float = 30) -> None:
    """Paperless stamps a bulk edit by a background task."""
    end = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < end
        time.sleep(0.2)


# -- reading ----------------------------------------------------------------------------------------------------


def test_every_document_comes_once_and_in_order(paperless: PaperlessClient) -> None:
    found = [d.id for d in paperless.documents(page_size=17)]
    assert found == sorted(set(found))
    assert len(found) == paperless.check()


def test_each_filter_narrows_and_the_library_selects_the_same(paperless: PaperlessClient, workspace: Workspace) -> None:
    library = Library(workspace.database, workspace.settings)
    assert library.sync().new == paperless.check()
    again = library.sync()
    assert (again.new, again.changed, again.deleted) == (0, 0, 0)
    everything = list(paperless.documents())
    assert list(library.documents()) == everything
    some = next(d for d in everything if d.tags and d.correspondent and d.document_type and d.created)
    day = some.created
    filters: list[tuple[dict[str, Any], Any]] = [
        ({"tags": some.tags[:1]}, lambda d: some.tags[0] in d.tags),
        ({"tags": [t.upper() for t in some.tags]}, lambda d: set(some.tags) <= set(d.tags)),
        ({"correspondents": [some.correspondent]}, lambda d: d.correspondent == some.correspondent),
        ({"document_types": [some.document_type]}, lambda d: d.document_type == some.document_type),
        ({"since": day}, lambda d: d.created >= day),
        ({"until": day}, lambda d: d.created <= day),
        ({"since": day, "until": day, "tags": some.tags}, lambda d: d.created == day and set(some.tags) <= set(d.tags)),
    ]
    for asked, keep in filters:
        wanted = [d.id for d in everything if keep(d)]
        assert [d.id for d in paperless.documents(**asked)] == wanted
        assert [d.id for d in library.documents(**asked)] == wanted
        assert paperless.count(**asked) == len(wanted)


def test_names_in_queries_are_told_whatever_their_case(paperless: PaperlessClient, workspace: Workspace) -> None:
    """Paperless itself answers 400 to a custom field's name in another case."""
    library = Library(workspace.database, workspace.settings)
    library.sync()
    everything = list(paperless.documents())
    for custom in paperless.lookups().custom_fields.values():
        having = [d.id for d in everything if custom.name in d.custom_fields or d.problems]
        for name in (custom.name, custom.name.upper()):
            query = ["NOT", ["NOT", [name, "exists", True]]]
            assert [d.id for d in paperless.documents(custom_field_query=query)] == having
            assert [d.id for d in library.documents(custom_field_query=query)] == having


def test_dates_are_asked_for_by_their_parts(paperless: PaperlessClient, own: Server) -> None:
    some = next(paperless.documents()).id
    paperless.set_custom_fields(some, {own.fields["date"]: "2025-02-03"})
    for part, value in (("year__exact", 2025), ("month__gt", 1), ("day__in", [3, 4])):
        found = [d.id for d in paperless.documents(custom_field_query=[named("date"), part, value])]
        assert found == [some]
    assert paperless.count(custom_field_query=[named("date"), "year__exact", 2024]) == 0


def test_misspelt_names_are_errors(paperless: PaperlessClient) -> None:
    with pytest.raises(PaperlessError, match="no such tag, surely"):
        list(paperless.documents(tags=["no such tag, surely"]))


def test_no_value_is_unreadable(paperless: PaperlessClient) -> None:
    assert [d.problems for d in paperless.documents() if d.problems] == []


def test_changes_come_all_and_in_the_order_of_their_modification(paperless: PaperlessClient) -> None:
    seen: dict[int, str] = {}
    upto = ""
    for page in paperless.changes(page_size=17):
        assert page.upto >= upto
        upto = page.upto
        seen.update({wire["id"]: wire["modified"] for wire in page.documents})
    assert set(seen) == paperless.ids()
    later = {wire["id"] for page in paperless.changes(upto) for wire in page.documents}
    assert later == {number for number, at in seen.items() if moment(at) >= upto}


# -- writing ----------------------------------------------------------------------------------------------------

GOOD: dict[str, list[Any]] = {
    "string": ["x" * 128, ""],
    "longtext": ["two\nlines " + "x" * 5000],
    "url": ["https://a.example/b", "mailto:a@b.example", ""],
    "date": ["2025-02-03"],
    "boolean": [True, False],
    "integer": [3, -(2**31)],
    "float": [1.25, -3],
    "monetary": ["12", "99.5", "EUR12.5", "USD-3.00", ""],
    "documentlink": [[]],
    "select": ["car"],
}
WRONG: dict[str, list[Any]] = {
    "string": ["x" * 129],
    "url": ["no scheme"],
    "date": ["", "03.02.2025"],
    "boolean": ["yes"],
    "integer": [3.5, 2**31, "x"],
    "float": ["x"],
    "monetary": ["EUR12", "eur5.00", "12.345", "abc"],
    "documentlink": ["5", [10**9]],
    "select": ["Lorry", 0],
}


def test_a_single_field_is_set_and_no_other(paperless: PaperlessClient, own: Server) -> None:
    some = next(paperless.documents()).id
    before = paperless.document(some).custom_fields
    options = {
        o.casefold(): i for i, o in paperless.lookups(refresh=True).custom_fields[own.fields["select"]].options.items()
    }
    for kind in TYPES:
        number = own.fields[kind]
        for value in [*GOOD[kind], None]:
            told = options["car"] if value == "car" else value
            paperless.set_custom_fields(some, {number: told})
            assert held(paperless, some, number) == told
        for value in WRONG.get(kind, []):
            with pytest.raises(PaperlessRefused) as caught:
                paperless.set_custom_fields(some, {number: value})
            assert caught.value.status == 400
            assert held(paperless, some, number) is None
    after = paperless.document(some).custom_fields
    assert after == {**before, **{named(kind): None for kind in TYPES}}


def test_a_link_is_set_on_both_and_never_on_itself(paperless: PaperlessClient, own: Server) -> None:
    one, two = (d.id for d, _ in zip(paperless.documents(), range(2), strict=False))
    number = own.fields["documentlink"]
    paperless.set_custom_fields(one, {number: [two]})
    assert (held(paperless, one, number), held(paperless, two, number)) == ([two], [one])
    paperless.set_custom_fields(one, {number: []})
    assert (held(paperless, one, number), held(paperless, two, number)) == ([], [one])
    paperless.set_custom_fields(one, {number: [two]})
    paperless.set_custom_fields(one, {number: [one]})  # answered with 200
    assert held(paperless, one, number) == [two]


def test_built_in_fields_are_written_and_refused(paperless: PaperlessClient) -> None:
    before = next(paperless.documents())
    assert before.created is not None
    paperless.update(before.id, {"created": "2001-02-03"})
    assert paperless.document(before.id).created == date(2001, 2, 3)
    paperless.update(before.id, {"created": before.created.isoformat()})
    assert paperless.document(before.id).created == before.created
    for wrong in ({"correspondent": 10**6}, {"created": "soon"}, {"title": "x" * 129}):
        with pytest.raises(PaperlessRefused) as caught:
            paperless.update(before.id, wrong)
        assert caught.value.status == 400


@pytest.mark.parametrize(("kind", "name"), [("storage_paths", "x"), ("correspondents", "x" * 129)])
def test_what_cannot_be_made(paperless: PaperlessClient, kind: str, name: str) -> None:
    with pytest.raises(PaperlessRefused) as caught:
        paperless.create(kind, name)
    assert caught.value.status == 400


def test_a_sync_sees_bulk_edits_and_renamed_and_deleted_fields(
    paperless: PaperlessClient, workspace: Workspace, own: Server
) -> None:
    library = Library(workspace.database, workspace.settings)
    library.sync()
    some = next(paperless.documents()).id
    before = paperless.wire_document(some)["modified"]
    paperless.set_custom_fields(some, {own.fields["monetary"]: "EUR12.50"})
    until(lambda: paperless.wire_document(some)["modified"] != before)
    assert library.sync().changed >= 1
    assert library.document(some).custom_fields[named("monetary")] == Money(Decimal("12.50"), "EUR")
    own.call("DELETE", f"custom_fields/{own.fields.pop('monetary')}/")  # which modifies no document
    library.sync()
    assert library.document(some).custom_fields == paperless.document(some).custom_fields


def test_suggestions_fill_what_is_empty_field_by_field(
    paperless: PaperlessClient, workspace: Workspace, own: Server
) -> None:
    """Of each type: written where nothing stands, kept where something does, learnt from when a person changes it."""
    some, other = (d.id for d, _ in zip(paperless.documents(), range(2), strict=False))
    answer: dict[str, Any] = {
        "string": "A1", "longtext": "two\nlines", "url": "https://a.example", "date": "2025-02-03", "boolean": False,
        "integer": 3, "float": 1.5, "monetary": "12.30", "documentlink": [other], "select": "car",
    }  # fmt: skip
    places = {kind: f"custom_field/{named(kind)}" for kind in TYPES}
    paperless.set_custom_fields(some, {own.fields["string"]: "mine"})
    found = paperless.document(some)
    with workspace.database.write() as session:
        told = suggestions.keep(session, found, model="m", version="1", answer=answer, places=places)
    done = write_back(workspace.database, paperless, told, TYPES)
    assert done.kept == {"string": "It has a value already."}
    assert list(done.fields) == TYPES[1:]
    written = paperless.document(some).custom_fields
    assert written[named("string")] == "mine"
    assert suggestions.values_at(paperless.document(some), places) == {**answer, "string": "mine", "select": "Car"}
    assert set(write_back(workspace.database, paperless, told, TYPES).kept) == set(TYPES)
    paperless.set_custom_fields(some, {own.fields["monetary"]: "EUR13.00"})
    with workspace.database.write() as session:
        suggestions.observe(session, [paperless.wire_document(some)], paperless.lookups())
    with workspace.database.read() as session:
        assert suggestions.verdicts(session.get_one(Suggestion, told.id)) == {"monetary": "corrected"}
    (corrected,) = suggestions.corrections(workspace.database, "m")
    assert (corrected.values["monetary"], corrected.values["date"]) == ("13.00", "2025-02-03")
    for number in (some, other):
        paperless.set_custom_fields(number, {own.fields["documentlink"]: []})  # which takes away no link back
    with workspace.database.write() as session:
        found = paperless.document(other)
        told = suggestions.keep(session, found, model="m", version="1", answer=answer, places=places)
    assert "itself" in write_back(workspace.database, paperless, told, ["documentlink"]).kept["documentlink"]


# -- refusals ---------------------------------------------------------------------------------------------------


def test_a_wrong_token_and_a_wrong_address_say_what_to_do(server: Server) -> None:
    with PaperlessClient(server.url, "wrong") as stranger, pytest.raises(PaperlessRefused) as caught:
        stranger.check()
    assert caught.value.code == "unauthorized"
    with PaperlessClient(f"{server.url}/api", server.token) as lost, pytest.raises(PaperlessRefused) as caught:
        lost.check()
    assert "root" in caught.value.hint


def test_what_is_ignored_and_what_is_not(server: Server) -> None:
    headers = {"Authorization": f"Token {server.token}"}

    def count(query: str) -> int:
        return int(httpx.get(f"{server.url}/api/documents/?{query}", headers=headers).json()["count"])

    assert count("no_such_filter=1") == count("is_in_inbox=1") == count("ordering=nonsense") == count("")
    for version, status in (("5", 406), ("9", 200), ("10", 200), ("11", 406)):
        accept = {**headers, "Accept": f"application/json; version={version}"}
        assert httpx.get(f"{server.url}/api/tags/", headers=accept).status_code == status
