"""Judges, self-correction and dialogues about tools, answered by scripts."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fakes.teacher import Script
from test_synthetic import Bench, bench, documents, good, words  # noqa: F401  the fixture
from tunesmith.datasets.synthetic import dialogues, judge
from tunesmith.datasets.synthetic.dialogues import tools_from
from tunesmith.errors import BadInput
from tunesmith.tasks.base import TASKS
from tunesmith.tasks.document import Document

TOOLS = [
    {
        "name": "set_light",
        "description": "Switch a light.",
        "inputSchema": {
            "type": "object",
            "properties": {"room": {"type": "string"}, "on": {"type": "boolean"}},
            "required": ["room", "on"],
        },
    },
    {"name": "get_weather", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}},
]


# -- judge -------------------------------------------------------------------------------------------------------------


def test_rows_that_the_judge_puts_little_on_are_dropped_and_agreement_is_told(bench: Bench) -> None:  # noqa: F811
    def script(question: str) -> str | int:
        if "Judge this example" not in question:
            return good(question)
        number = question.count("a") % 4
        answer_first = question.index("<answer>\n") < question.index("<document>\n")
        if number == 0:
            return "I like it"  # no judgement
        marks = {1: (5, 5), 2: (2, 1), 3: (5, 2)}[number]
        return json.dumps({"reason": "…", "score": marks[answer_first]})

    report = bench.build(script, kinds=["layout"], rows=40, judge={"minimum": 4})
    figures = report.judge
    assert figures is not None
    assert figures.models == ["big", "big"]
    assert figures.judged + figures.unjudged == report.kinds["layout"]["attempts"] - sum(report.refused.values())
    assert min(figures.unjudged, figures.dropped, report.kept) > 0
    assert report.made == figures.judged - figures.dropped
    assert figures.agreement is not None
    assert 0 < figures.agreement < 1
    assert figures.kappa is not None
    assert -1 <= figures.kappa < figures.agreement


@pytest.mark.parametrize(
    ("votes", "kappa"),
    [
        ([(True, True), (False, False)], 1.0),
        ([(True, False), (False, True)], -1.0),
        # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: the textbook's example
        ([(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15, 0.4),
        ([(True, True)] * 9, None),
        ([], None),
    ],
)
def test_kappa(votes: list[tuple[bool, bool]], kappa: float | None) -> None:
    assert judge.kappa(votes) == kappa


@pytest.mark.parametrize("said", ['{"score": 6}', '{"score": "5"}', '{"score": true}', "5", "", '{"mark": 5}'])
def test_what_is_no_judgement(said: str) -> None:
    assert judge.score(judge.Reply(said)) is None


# -- self-correction ---------------------------------------------------------------------------------------------------


def unlabelled(count: int) -> list[Document]:
    found = documents(40 + count)[40:]
    return [Document(f"u{d.id}", d.text, {}, f"u{d.group}", provenance=d.provenance) for d in found]


def right(question: str) -> str:
    """The answer that the document of a question supports."""
    lines = question.split("<document>\n", 1)[1].splitlines()
    date = next(line for line in lines if line.startswith("Date: ")).removeprefix("Date: ")
    return json.dumps({"type": "letter", "date": date, "correspondent": lines[0]})


def corrected(question: str) -> str:
    return json.dumps({"values": json.loads(right(question))})


def test_a_corrected_answer_is_a_row_and_a_pair(bench: Bench) -> None:  # noqa: F811
    wrong = '{"type": "letter", "date": null, "correspondent": "Nobody"}'
    given = [*documents(40), *unlabelled(5)]
    report = bench.build(corrected, base=lambda _: wrong, kinds=["correct"], rows=5, given=given)
    assert (report.kept, report.pairs) == (5, 5)
    assert report.used.requests == 5  # the base model's answers are not paid for
    for row, pair in zip(bench.synthetic(), bench.made.pairs, strict=True):
        assert row.provenance["generator"] == "correct"
        assert row.provenance["seed"].startswith("u")
        assert json.loads(row.answer) == json.loads(right(row.prompt[-1]["content"]))
        assert (pair.answer, pair.rejected) == (row.answer, wrong)
        assert row.rejected is None


def test_a_right_answer_of_the_base_makes_a_row_but_no_pair(bench: Bench) -> None:  # noqa: F811
    given = [*documents(40), *unlabelled(4)]
    report = bench.build(corrected, base=right, kinds=["correct"], rows=4, given=given)
    assert (report.kept, report.pairs) == (4, 0)


def test_a_label_of_a_person_is_the_correction(bench: Bench) -> None:  # noqa: F811
    report = bench.build(lambda _: 500, base=lambda _: "no idea", kinds=["correct"], rows=6)
    assert (report.kept, report.pairs, report.used.requests) == (0, 6, 0)
    trained = {row.provenance["document"]: row for row in bench.rows()}
    for pair in bench.made.pairs:
        assert pair.answer == trained[pair.provenance["document"]].answer
        assert pair.rejected == "no idea"


def test_documents_of_a_tested_group_are_not_labelled(bench: Bench) -> None:  # noqa: F811
    given = [*documents(40), *unlabelled(12)]
    bench.build(corrected, base=lambda _: "?", kinds=["correct"], rows=1, given=given)
    tested = {row.provenance["group"] for row in bench.rows("test")}
    for document in given[40:]:
        document.group = sorted(tested)[0]
    bench.folder = bench.folder / "again"
    bench.folder.mkdir()
    report = bench.build(corrected, base=lambda _: "?", kinds=["correct"], rows=3, given=given)
    assert report.kept == 0
    assert all(not pair.provenance["document"].startswith("u") for pair in bench.made.pairs)


def test_a_teacher_that_invents_a_value_is_refused(bench: Bench) -> None:  # noqa: F811
    def invents(question: str) -> str:
        return json.dumps({"values": {**json.loads(right(question)), "correspondent": "Nobody at all"}})

    given = [*documents(40), *unlabelled(3)]
    report = bench.build(invents, base=lambda _: "?", kinds=["correct"], rows=3, given=given)
    assert (report.kept, report.refused["unsupported_value"]) == (0, 3)


# -- dialogues ---------------------------------------------------------------------------------------------------------


def called(**arguments: Any) -> dict[str, Any]:
    return {"role": "assistant", "calls": [{"name": "set_light", "arguments": arguments}]}


ASKED = {"role": "user", "content": "Light on in the kitchen, please."}


def dialogue(*turns: dict[str, Any]) -> Script:
    def script(question: str) -> str:
        number = question.rsplit("(Example ", 1)[1].split(".)")[0]
        first = {**turns[0], "content": f"{turns[0]['content']} {words(Random(number), 20)}"}
        return json.dumps({"turns": [first, *turns[1:]]})

    return script


def build_dialogues(bench: Bench, script: Script) -> Any:  # noqa: F811
    task = TASKS.get("tool_use")({"tools": tools_from({"tools": TOOLS})[:1]})
    return bench.build(script, task=task, given=[], like="tools", rows=5)


def test_dialogues_that_fit_the_schemas_and_the_scene_become_rows(bench: Bench) -> None:  # noqa: F811
    result = {"role": "tool", "content": '{"ok": true}'}
    said = {"role": "assistant", "content": "The kitchen light is on."}
    report = build_dialogues(bench, dialogue(ASKED, called(room="kitchen", on=True), result, said))
    rows = bench.rows()
    assert report.kept == len(rows) >= 5
    assert report.refused["other_scene"] > 0  # a scene without calls, and one with two
    for row in rows:
        bench_task = TASKS.get("tool_use")({})
        bench_task.check(row)
    assert {bool(row.answer.startswith("<tool_call>")) for row in rows} == {True, False}


@pytest.mark.parametrize(
    ("turns", "code"),
    [
        ((ASKED, called(room="kitchen")), "invalid_call"),  # a required argument is missing
        ((ASKED, called(room="kitchen", on="yes")), "invalid_call"),
        ((ASKED, called(room="kitchen", on=True, colour="red")), "invalid_call"),
        ((ASKED, {"role": "assistant", "calls": [{"name": "open_door", "arguments": {}}]}), "invalid_call"),
        ((ASKED, called(room=1, on=True), {"role": "tool", "content": "ok"}, ASKED), "bad_turns"),
        ((ASKED, {"role": "assistant", "content": ""}), "bad_turns"),
        ((ASKED, {"role": "assistant", "calls": ["set_light"]}), "invalid_call"),
    ],
)
def test_a_dialogue_with_one_wrong_turn_is_dropped(
    bench: Bench,  # noqa: F811
    turns: tuple[dict[str, Any], ...],
    code: str,
) -> None:
    with pytest.raises(BadInput, match="No row is left to train on"):
        build_dialogues(bench, dialogue(*turns))
    tools = dialogues.read_tools(tools_from(TOOLS))
    with pytest.raises(BadInput) as caught:
        dialogues.read_dialogue(TASKS.get("tool_use")({}), tools, "call", list(turns))
    assert caught.value.error_code == code


def test_tools_of_our_own_openapi_document() -> None:
    document = json.loads((Path(__file__).parents[1] / "openapi" / "openapi.json").read_text(encoding="utf-8"))
    tools = {tool["name"]: tool["parameters"] for tool in tools_from(document)}
    assert tools["list_run_events"]["properties"]["limit"]["maximum"] == 1000
    assert tools["list_run_events"]["required"] == ["run_id"]
    assert tools["save_recipe"]["properties"]["split"]["properties"]["test"]["maximum"] == 0.5
    assert "$ref" not in json.dumps(tools)


def test_an_openapi_document_that_refers_to_itself_ends() -> None:
    node = {"type": "object", "properties": {"child": {"$ref": "#/components/schemas/Node"}}}
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}}}
    document = {"paths": {"/n": {"post": {"requestBody": body}}}, "components": {"schemas": {"Node": node}}}
    assert tools_from(document)[0]["name"] == "post_n"


@pytest.mark.parametrize("given", [[], {"paths": {}}, {"tools": []}])
def test_no_tools(given: Any) -> None:
    with pytest.raises(BadInput):
        tools_from(given)
