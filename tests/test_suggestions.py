"""Suggestions: written back without harm, followed in Paperless, and learnt from once corrected."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from fakes.paperless import FakePaperless
from releases import record
from test_paperless import FIELDS, document, lines
from tunesmith.datasets import suggestions
from tunesmith.datasets.library import Library
from tunesmith.errors import BadInput, Unavailable
from tunesmith.recipes import answering, suggest
from tunesmith.recipes.models import Release
from tunesmith.serving.pool import ServerPool
from tunesmith.serving.targets.base import Endpoint
from tunesmith.settings import Settings
from tunesmith.store.tables import Suggestion
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.extraction import Extraction
from tunesmith_connectors.paperless import Money, PaperlessClient

ANSWER = {"type": "invoice", "date": "2025-03-19", "correspondent": "Waterworks", "amount": "12.30"}
TEXT = "Waterworks\nInvoice of 2025-03-19\nTotal 12.30 EUR"


def bare(number: int, **values: Any) -> dict[str, Any]:
    """A document that nobody has filed yet: `created` is the day of adding, and not in the text."""
    empty: dict[str, Any] = {"correspondent": None, "document_type": None, "created": "2025-03-20", "content": TEXT}
    return document(number, **{**empty, **values})


@pytest.fixture
def fake() -> Iterator[FakePaperless]:
    with FakePaperless(lines(bare(1), bare(2), bare(3))) as server:
        yield server


@pytest.fixture
def workspace(tmp_path: Path, fake: FakePaperless, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    settings = Settings(home=tmp_path / "home", paperless_url=fake.url, paperless_token=SecretStr("secret"))
    opened = Workspace.open(settings)
    publish(opened, "run-1")
    yield opened
    opened.close()


def publish(workspace: Workspace, version: str) -> None:
    task = {"name": "extraction", "spec": Extraction().spec}
    record(workspace, Release("extractor", version, version, "base", "0" * 16, task, {}, {}))


class Model:
    """A model that says `answer`, and counts how often it was asked."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = dict(ANSWER)
        self.asked: list[Any] = []

    def prepare(self, _workspace: Any, _pool: Any, _version: Any, asked: dict[str, Any]) -> Any:
        return Endpoint("http://model/v1", "m"), asked

    def complete(self, _client: Any, _endpoint: Any, body: dict[str, Any]) -> str:
        self.asked.append(body["messages"])
        return json.dumps(self.answer)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    model = Model()
    monkeypatch.setattr(answering, "prepare", model.prepare)
    monkeypatch.setattr(suggest, "complete", model.complete)
    return model


def ask(workspace: Workspace, number: int = 1, write: str = "", **options: Any) -> dict[str, Any]:
    fields = write.split() if write else []
    return suggest.suggest(workspace, ServerPool(workspace.settings), number, "extractor", write=fields, **options)


def sync(workspace: Workspace) -> Any:
    return Library(workspace.database, workspace.settings).sync()


def wire(fake: FakePaperless, number: int = 1) -> dict[str, Any]:
    return next(d for d in fake.documents if d["id"] == number)


def learnt(workspace: Workspace) -> list[Any]:
    return list(suggestions.corrections(workspace.database, "extractor"))


def pairs(workspace: Workspace) -> list[Any]:
    return list(suggestions.preferences(workspace.database, "extractor"))


# -- writing back -----------------------------------------------------------------------------------------------


def test_only_named_fields_are_written_and_each_alone(workspace: Workspace, fake: FakePaperless, model: Model) -> None:
    fake.edit(1, custom_fields=[{"field": 9, "value": "mine"}])
    done = ask(workspace, write="amount date")
    assert done["written"] == {"amount": "12.30", "date": "2025-03-19"}
    assert wire(fake)["custom_fields"] == [{"field": 9, "value": "mine"}, {"field": 1, "value": "EUR12.30"}]
    assert (wire(fake)["created"], wire(fake)["correspondent"], wire(fake)["document_type"]) == (
        "2025-03-19",
        None,
        None,
    )
    assert [sorted(body) for method, _, body in fake.writes if method == "PATCH"] == [["created"]]
    assert TEXT in model.asked[0][-1]["content"]


def test_a_value_that_is_there_is_never_overwritten(workspace: Workspace, fake: FakePaperless, model: Model) -> None:
    fake.edit(
        1, correspondent=2, document_type=2, created="2024-01-01", custom_fields=[{"field": 1, "value": "USD5.00"}]
    )
    before = dict(wire(fake))
    done = ask(workspace, write="amount date correspondent type")
    assert done["written"] == {}
    assert set(done["kept"].values()) == {"It has a value already."}
    assert wire(fake) == before
    assert fake.writes == []


def test_our_own_unchanged_value_may_be_replaced_by_a_newer_version(
    workspace: Workspace, fake: FakePaperless, model: Model
) -> None:
    ask(workspace, write="amount")
    publish(workspace, "run-2")
    model.answer["amount"] = "99.00"
    assert ask(workspace, write="amount")["written"] == {"amount": "99.00"}
    sync(workspace)
    assert learnt(workspace) == []  # nobody corrected anything: both writes were ours
    fake.edit(1, custom_fields=[{"field": 1, "value": "EUR50.00"}])
    publish(workspace, "run-3")
    assert ask(workspace, write="amount")["kept"] == {"amount": "It has a value already."}


def test_a_value_that_a_person_took_away_is_not_put_back(
    workspace: Workspace, fake: FakePaperless, model: Model
) -> None:
    ask(workspace, write="amount")
    fake.edit(1, custom_fields=[])
    assert ask(workspace, write="amount")["kept"] == {"amount": "A person took our value away."}
    assert wire(fake)["custom_fields"] == []


def test_an_unknown_correspondent_is_made_only_when_asked(
    workspace: Workspace, fake: FakePaperless, model: Model
) -> None:
    model.answer["correspondent"] = "Gasworks"
    assert "no correspondent called 'Gasworks'" in ask(workspace, write="correspondent")["kept"]["correspondent"]
    assert ask(workspace, write="correspondent", create=True, dry_run=True)["written"] == {"correspondent": "Gasworks"}
    assert fake.writes == []
    assert ask(workspace, write="correspondent", create=True)["written"] == {"correspondent": "Gasworks"}
    made = next(c for c in fake.lookups["correspondents"] if c["name"] == "Gasworks")
    assert wire(fake)["correspondent"] == made["id"]


def test_the_webhook_of_our_own_write_does_not_ask_again(
    workspace: Workspace, fake: FakePaperless, model: Model
) -> None:
    first = ask(workspace, write="amount type")
    again = ask(workspace, write="amount type")  # as the workflow's webhook for "updated" would
    assert (first["asked"], again["asked"]) == (True, False)
    assert (len(model.asked), again["id"], again["written"]) == (1, first["id"], {})
    fake.edit(1, content=TEXT + "\nsecond page")
    assert ask(workspace)["asked"]


def test_a_refused_write_is_told_and_leaves_no_trace(workspace: Workspace, fake: FakePaperless, model: Model) -> None:
    model.answer["amount"] = "a lot"
    done = ask(workspace, write="amount type")
    assert "no amount of money" in done["kept"]["amount"]
    assert done["written"] == {"type": "invoice"}
    with pytest.raises(BadInput, match="does not answer a field 'total'"):
        ask(workspace, write="total")


def test_a_paperless_that_stops_during_a_write_makes_no_correction_of_it(
    workspace: Workspace, fake: FakePaperless, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PaperlessClient.set_custom_fields

    def written_but_unanswered(self: PaperlessClient, *what: Any) -> None:
        real(self, *what)
        raise self._away("stopped in the middle of an answer", "paperless_cut_off")

    monkeypatch.setattr(PaperlessClient, "set_custom_fields", written_but_unanswered)
    with pytest.raises(Unavailable):
        ask(workspace, write="amount")
    monkeypatch.setattr(PaperlessClient, "set_custom_fields", real)
    sync(workspace)
    assert learnt(workspace) == []
    ask(workspace, write="amount")
    fake.edit(1, custom_fields=[{"field": 1, "value": "EUR13.30"}])
    sync(workspace)
    assert [d.provenance["corrected"] for d in learnt(workspace)] == [["amount"]]


@pytest.mark.parametrize("field", FIELDS, ids=lambda f: f["data_type"])
def test_every_type_of_custom_field_goes_there_and_back(fake: FakePaperless, field: dict[str, Any]) -> None:
    values: dict[str, Any] = {
        "monetary": "USD-12.30", "select": "a1", "date": "2025-01-31", "boolean": False, "documentlink": [2, 3],
        "integer": 3, "float": 1.5, "url": "https://a.example", "longtext": "x\ny", "string": "A1",
    }  # fmt: skip
    told = values[field["data_type"]]
    with PaperlessClient(fake.url, "secret") as client:
        kind = client.lookups().custom_fields[field["id"]]
        for value in (told, None):
            client.set_custom_fields(1, {field["id"]: value})
            read = client.document(1).custom_fields[field["name"]]
            assert kind.to_wire(read) == value
            if field["data_type"] == "monetary" and value:
                assert read == Money(Decimal("-12.30"), "USD")


@pytest.mark.parametrize(
    ("number", "value"), [(1, "much"), (2, "Boat"), (3, "soon"), (4, "yes"), (6, 1.5), (10, "x" * 129)]
)
def test_what_a_custom_field_cannot_hold_is_refused_before_it_is_sent(
    fake: FakePaperless, number: int, value: Any
) -> None:
    with PaperlessClient(fake.url, "secret") as client, pytest.raises(ValueError, match=r"."):
        client.lookups().custom_fields[number].to_wire(value)


# -- corrections ------------------------------------------------------------------------------------------------


def test_a_correction_becomes_one_weighted_row_and_one_pair_however_often_it_is_seen(
    workspace: Workspace, fake: FakePaperless, model: Model
) -> None:
    ask(workspace, write="amount date correspondent type")
    assert learnt(workspace) == []
    fake.edit(1, custom_fields=[{"field": 1, "value": "EUR13.30"}])
    assert sync(workspace).judged == 1
    for _ in range(3):
        sync(workspace)
        assert [d.provenance["corrected"] for d in learnt(workspace)] == [["amount"]]
    found = learnt(workspace)[0]
    row = Extraction().example(found)
    assert json.loads(row.answer) == {**ANSWER, "amount": "13.30"}
    assert (row.weight, row.provenance["weight"], row.provenance["suggested"]) == (3.0, 3.0, {"amount": "12.30"})
    pair = pairs(workspace)[0]
    assert len(pairs(workspace)) == 1
    assert (pair.document.values["amount"], pair.rejected.values["amount"]) == ("13.30", "12.30")


def test_a_second_thought_replaces_the_first(workspace: Workspace, fake: FakePaperless, model: Model) -> None:
    ask(workspace, write="amount")
    for amount, corrected in (("EUR13.30", ["amount"]), ("EUR14", ["amount"]), ("EUR12.30", None)):
        fake.edit(1, custom_fields=[{"field": 1, "value": amount}])
        sync(workspace)
        assert [d.provenance["corrected"] for d in learnt(workspace)] == ([corrected] if corrected else [])


def test_a_suggestion_that_was_not_written_is_judged_by_what_a_person_enters(
    workspace: Workspace, fake: FakePaperless, model: Model
) -> None:
    for number in (1, 2, 3):
        suggest.record(workspace, number, "extractor", ANSWER)
    fake.edit(1, document_type=1)  # as suggested
    fake.edit(2, document_type=2)  # otherwise
    sync(workspace)
    found = {d.id: d for d in learnt(workspace)}
    assert sorted(found) == ["1", "2"]
    assert (found["1"].weight, found["2"].weight) == (1.0, 3.0)
    assert found["2"].values["type"] == "Letter"
    assert [p.document.id for p in pairs(workspace)] == ["2"]


def test_an_emptied_value_is_a_correction_to_none(workspace: Workspace, fake: FakePaperless, model: Model) -> None:
    ask(workspace, write="amount")
    fake.edit(1, custom_fields=[])
    sync(workspace)
    assert learnt(workspace)[0].values["amount"] is None


def test_a_value_that_stays_counts_as_confirmed_after_a_while(
    workspace: Workspace, fake: FakePaperless, model: Model
) -> None:
    done = ask(workspace, write="amount")
    assert learnt(workspace) == []
    with workspace.database.write() as session:
        session.get_one(Suggestion, done["id"]).created_at -= 15 * suggestions.DAY
    found = learnt(workspace)[0]
    assert (found.weight, found.provenance["corrected"]) == (1.0, [])
    assert list(suggestions.corrections(workspace.database, "extractor", confirmed_after_days=None)) == []
    assert pairs(workspace) == []


def test_a_correction_survives_the_deletion_of_its_document(
    workspace: Workspace, fake: FakePaperless, model: Model
) -> None:
    ask(workspace, write="amount")
    fake.edit(1, custom_fields=[{"field": 1, "value": "EUR13.30"}])
    sync(workspace)
    fake.documents[:] = fake.documents[1:]
    assert sync(workspace).deleted == 1
    assert [d.id for d in learnt(workspace)] == ["1"]


def test_another_document_under_the_same_id_is_no_correction(
    workspace: Workspace, fake: FakePaperless, model: Model
) -> None:
    ask(workspace, write="amount")
    sync(workspace)
    fake.documents[0] = bare(1, added="2026-01-01T00:00:00Z", custom_fields=[{"field": 1, "value": "7"}])
    fake.edit(1)
    sync(workspace)
    assert learnt(workspace) == []


def test_the_same_answer_recorded_twice_is_one_suggestion(workspace: Workspace, fake: FakePaperless) -> None:
    first = suggest.record(workspace, 1, "extractor", ANSWER)
    assert suggest.record(workspace, 1, "extractor", ANSWER)["id"] == first["id"]


def test_a_model_that_answers_no_object_stores_nothing(
    workspace: Workspace, fake: FakePaperless, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggest, "complete", lambda *_: "I think it is an invoice.")
    with pytest.raises(Unavailable, match="in its format"):
        ask(workspace, write="amount")
    assert fake.writes == []
    with workspace.database.read() as session:
        assert session.query(Suggestion).count() == 0


def test_place_of_a_field() -> None:
    with FakePaperless(lines()) as server, PaperlessClient(server.url, "secret") as client:
        lookups = client.lookups()
    found = {n: suggestions.place_of(n, {"day": "created", "kind": "type"}, lookups) for n in
             ("day", "kind", "amount", "TOTAL", "date", "nowhere")}  # fmt: skip
    assert found == {
        "day": "created", "kind": "document_type", "amount": "custom_field/Total", "TOTAL": "custom_field/Total",
        "date": "created", "nowhere": None,
    }  # fmt: skip
