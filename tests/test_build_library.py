"""The build stage reads through the library, learns from corrections, and writes what presets ask for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from fakes.paperless import FakePaperless
from releases import record
from test_paperless import document, lines
from tunesmith.datasets.build import version_id
from tunesmith.datasets.report import DatasetReport
from tunesmith.errors import Unavailable
from tunesmith.jobs import events
from tunesmith.recipes import suggest
from tunesmith.recipes.context import Context
from tunesmith.recipes.models import Release
from tunesmith.recipes.schema import Recipe
from tunesmith.recipes.stages import build
from tunesmith.settings import Settings
from tunesmith.store.tables import Job, Run, Suggestion
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.conversation import Row, read_rows
from tunesmith.tasks.extraction import Extraction

COUNT = 60


@pytest.fixture
def fake() -> Iterator[FakePaperless]:
    names = [{"id": n, "name": f"Shop {n}"} for n in range(1, 21)]
    many = [
        document(
            n,
            content=f"Shop {1 + n % 20}\nInvoice {n}\nTotal {n}.50 EUR",
            correspondent=1 + n % 20,
            custom_fields=[{"field": 1, "value": f"EUR{n}.50"}],
        )
        for n in range(1, COUNT + 1)
    ]
    wire = [line if line.get("kind") != "correspondents" else {**line, "results": names} for line in lines(*many)]
    with FakePaperless(wire) as server:
        yield server


@pytest.fixture
def workspace(tmp_path: Path, fake: FakePaperless, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    settings = Settings(home=tmp_path / "home", paperless_url=fake.url, paperless_token=SecretStr("secret"))
    opened = Workspace.open(settings)
    task = {"name": "extraction", "spec": Extraction().spec}
    record(opened, Release("shops", "run-0", "run-0", "base", "0" * 16, task, {}, {}))
    yield opened
    opened.close()


class Built:
    """One run of the stage: its outcome, its rows by document, what it said."""

    def __init__(self, workspace: Workspace, number: int, **recipe: Any):
        spec = Recipe.model_validate({"name": "shops", "sources": [{"paperless": {}}], **recipe})
        run = Run(id=f"run-{number}", recipe_name="shops", recipe=spec.document(), model_name="shops")
        job = Job(id=f"job-{number}", run_id=run.id, kind="build")
        with workspace.database.write() as session:
            session.add(run)
            session.add(job)
        self.outcome = build.run(Context(workspace, run, job))
        self.folder = workspace.artifacts.dataset(self.outcome["version"])
        self.said = [event.message for event in events.read(workspace.database, run.id)]

    def rows(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for split in ("train", "validation", "test"):
            for row in read_rows(self.folder / f"{split}.jsonl"):
                found.setdefault(row.provenance["document"], []).append(row)
        return found


def test_the_first_run_fetches_all_the_next_only_what_changed(workspace: Workspace, fake: FakePaperless) -> None:
    first = Built(workspace, 1)
    assert (first.outcome["library"]["new"], len(first.rows())) == (COUNT, COUNT)
    fake.edit(5, custom_fields=[{"field": 1, "value": "EUR77.00"}])
    fake.documents[:] = [d for d in fake.documents if d["id"] != 9]
    second = Built(workspace, 2)
    assert {k: second.outcome["library"][k] for k in ("new", "changed", "deleted")} == {
        "new": 0, "changed": 1, "deleted": 1,
    }  # fmt: skip
    assert "Paperless: 0 new, 1 changed, 1 deleted; 59 documents." in second.said
    rows = second.rows()
    assert "9" not in rows
    assert json.loads(rows["5"][0].answer)["amount"] == "77.00"


def test_a_corrected_document_is_one_weighted_row_and_one_pair(workspace: Workspace, fake: FakePaperless) -> None:
    for number in range(1, 13):
        suggest.record(workspace, number, "shops", {"amount": "1.00", "correspondent": f"Shop {1 + number % 20}"})
        fake.edit(number, custom_fields=[{"field": 1, "value": f"EUR{number}.75"}])
    sources = [{"paperless": {}}, {"corrections": {"model": "shops", "weight": 5}}]
    built = Built(workspace, 1, sources=sources, task={"schema": {"correspondent": "string", "amount": "money"}})
    again = Built(workspace, 2, sources=sources, task={"schema": {"correspondent": "string", "amount": "money"}})
    assert again.outcome["version"] == built.outcome["version"]
    rows = built.rows()
    assert len(rows) == COUNT
    assert all(len(found) == 1 for found in rows.values())
    assert {number for number, found in rows.items() if found[0].weight == 5.0} == {str(n) for n in range(1, 13)}
    assert json.loads(rows["3"][0].answer) == {"correspondent": "Shop 4", "amount": "3.75"}
    pairs = [json.loads(line) for line in (built.folder / "preferences.jsonl").read_text().splitlines()]
    trained = {row.provenance["document"] for row in read_rows(built.folder / "train.jsonl")}
    assert {p["provenance"]["document"] for p in pairs} == trained & {str(n) for n in range(1, 13)}
    assert built.outcome["preferences"] == len(pairs) > 0
    pair = pairs[0]
    assert json.loads(pair["non_preferred_output"][0]["content"])["amount"] == "1.00"
    assert json.loads(pair["preferred_output"][0]["content"])["amount"].endswith(".75")
    assert [m["role"] for m in pair["input"]["messages"]] == ["system", "user"]


def test_another_rejected_answer_is_another_version(workspace: Workspace, fake: FakePaperless) -> None:
    """Pairs were not hashed: a version with the same rows and other pairs took the place of the first, or was lost."""
    spec: dict[str, Any] = {
        "sources": [{"paperless": {}}, {"corrections": {"model": "shops"}}],
        "task": {"schema": {"amount": "money"}},
    }
    plain = Built(workspace, 1, **{**spec, "sources": [{"paperless": {}}]})
    assert not (plain.folder / "preferences.jsonl").exists()
    for number in range(1, 13):
        suggest.record(workspace, number, "shops", {"amount": "1.00"})
        fake.edit(number, custom_fields=[{"field": 1, "value": f"EUR{number}.75"}])
    first = Built(workspace, 2, **spec)
    with workspace.database.write() as session:  # an earlier answer to the same documents, which was wrong, too
        for known in list(session.scalars(select(Suggestion))):
            values = {c.name: getattr(known, c.name) for c in Suggestion.__table__.columns}
            earlier = {"id": f"{known.id}-0", "answer": {"amount": "2.00"}, "created_at": known.created_at - 60}
            session.add(Suggestion(**{**values, **earlier}))
    second = Built(workspace, 3, **spec)
    assert (first.folder / "train.jsonl").read_bytes() == (second.folder / "train.jsonl").read_bytes()
    assert second.outcome["version"] != first.outcome["version"]
    assert second.outcome["preferences"] == 2 * first.outcome["preferences"] > 0
    for built in (first, second):
        pairs = (built.folder / "preferences.jsonl").read_text().splitlines()
        assert len(pairs) == built.outcome["preferences"] == built.outcome["report"]["preference_pairs"]
        assert version_id(built.folder) == built.outcome["version"]
        assert json.loads((built.folder / "report.json").read_text())["version"] == built.outcome["version"]


def test_a_version_from_before_keeps_its_name_and_is_read(workspace: Workspace, fake: FakePaperless) -> None:
    """Its pairs are not in its name: nothing computes the name anew."""
    built = Built(workspace, 1)
    (built.folder / "preferences.jsonl").write_text('{"input": {"messages": []}}\n')
    again = Built(workspace, 2, sources=[{"dataset": "shops"}], task={})
    assert again.outcome["version"] == built.outcome["version"]
    report = json.loads((built.folder / "report.json").read_text())
    for new in ("hard_negatives", "general", "preference_pairs"):
        del report[new]
    assert DatasetReport.model_validate(report).version == built.outcome["version"]


def test_a_corrected_document_of_the_held_out_set_is_not_trained_on(workspace: Workspace, fake: FakePaperless) -> None:
    suggest.record(workspace, 3, "shops", {"amount": "1.00"})
    fake.edit(3, tags=[1, 2], custom_fields=[{"field": 1, "value": "EUR3.75"}])
    sources = [{"paperless": {}}, {"corrections": {"model": "shops"}}]
    built = Built(workspace, 1, sources=sources, split={"held_out": ["private"]})
    held_out = {row.provenance["document"] for row in read_rows(built.folder / "test.jsonl")}
    assert held_out == {"3"}
    assert built.outcome["preferences"] == 0


def test_a_preset_takes_its_fields_from_the_server(workspace: Workspace, fake: FakePaperless) -> None:
    built = Built(workspace, 1, task={"preset": "custom_fields", "custom_fields": ["Total"]})
    assert json.loads(built.rows()["7"][0].answer) == {"Total": "7.50"}
    gpt = Built(workspace, 2, task={"preset": "paperless_gpt", "prompt": "{content}\n{custom_fields}"})
    assert json.loads(gpt.rows()["7"][0].answer) == [{"field": "Total", "value": "7.50"}]


def test_odd_documents_become_rows_and_a_long_one_is_cut_in_the_middle(
    workspace: Workspace, fake: FakePaperless
) -> None:
    odd = {1: "\x00 Total 1.50 EUR", 2: "סך הכול \u202b2.50\u202c EUR", 3: "Total 3.50 EUR\n" + "x y " * 1_250_000}
    for number, content in odd.items():
        fake.edit(number, content=content)
    built = Built(workspace, 1)
    rows = built.rows()
    assert len(rows) == COUNT
    assert odd[2] in rows["2"][0].prompt[-1]["content"]
    assert json.loads(rows["3"][0].answer)["amount"] == "3.50"
    assert rows["3"][0].provenance["cut_characters"] > 4_900_000
    assert built.outcome["report"]["cut_documents"] == 1
    assert (built.folder / "train.jsonl").stat().st_size < 1_000_000


def test_an_interrupted_build_goes_on_where_the_library_stopped(workspace: Workspace, fake: FakePaperless) -> None:
    fake.cut = [True] * 5
    with pytest.raises(Unavailable) as caught:
        Built(workspace, 1)
    assert caught.value.retryable
    assert len(Built(workspace, 2).rows()) == COUNT
