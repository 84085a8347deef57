"""The sample rows of text_to_sql and tool_use: up to date, enough, right, and held-out means unseen."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLES = Path(__file__).parent.parent / "examples"
sys.path.insert(0, str(EXAMPLES))

import generate_sql  # noqa: E402
import generate_tools  # noqa: E402
from fakes.gbnf import Gbnf  # noqa: E402
from tunesmith.datasets.build import build  # noqa: E402
from tunesmith.datasets.formats import parse_upload, validate_file  # noqa: E402
from tunesmith.recipes.schema import Recipe  # noqa: E402
from tunesmith.tasks.base import TASKS, infer_task  # noqa: E402
from tunesmith.tasks.conversation import Row, read_rows  # noqa: E402
from tunesmith.tasks.sql_check import parse_query  # noqa: E402
from tunesmith.tasks.sql_run import same_answers  # noqa: E402
from tunesmith.tasks.sql_schema import read_database  # noqa: E402
from tunesmith.tasks.tools import read_answer, tools_of  # noqa: E402

SQL, TOOLS = EXAMPLES / "text_to_sql" / "household.jsonl", EXAMPLES / "tool_use" / "home.jsonl"
SQL_ROWS, TOOL_ROWS = list(parse_upload(SQL)), list(parse_upload(TOOLS))


def test_the_files_are_up_to_date() -> None:
    assert generate_sql.generate() == SQL.read_text(encoding="utf-8").splitlines()
    assert generate_tools.generate() == TOOLS.read_text(encoding="utf-8").splitlines()
    assert max(SQL.stat().st_size, TOOLS.stat().st_size) < 1_000_000


@pytest.mark.parametrize(("path", "task"), [(SQL, "text_to_sql"), (TOOLS, "tool_use")])
def test_enough_rows_of_the_task_that_they_show(path: Path, task: str) -> None:
    assert validate_file(path).rows >= 500
    rows = list(parse_upload(path))
    assert infer_task(rows).name == task
    assert infer_task(rows[:60]).name == task


@pytest.mark.parametrize("name", ["household-sql", "home-tools"])
def test_the_recipes_build(name: str, tmp_path: Path) -> None:
    recipe = Recipe.model_validate(yaml.safe_load((EXAMPLES / "recipes" / f"{name}.yaml").read_text()))
    task = TASKS.get(recipe.task.type or "")(recipe.task.model_dump(by_alias=True, exclude_none=True, exclude={"type"}))
    path = (EXAMPLES / "recipes" / str(recipe.sources[0].file)).resolve()
    report = build(task, rows=parse_upload(path), out=tmp_path)
    assert report.passed
    assert report.rejected == []
    assert report.splits["train"] >= 400
    assert report.splits["test"] >= 90
    gates = {gate.name: gate.value for gate in report.gates}
    assert gates["ungrounded_targets"] == 0
    assert gates["largest_label"] < 0.3
    assert all(row.provenance["held_out"] for row in read_rows(tmp_path / "test.jsonl"))
    fitted = TASKS.get(report.task)(report.spec)
    for row in list(read_rows(tmp_path / "test.jsonl"))[::5]:
        score = fitted.score(row.answer, row.answer, row.prompt)
        assert (score.format_ok, score.exact) == (True, True)


def _tables(row: Row) -> frozenset[str]:
    return frozenset(read_database(row.messages[1]["content"], "sqlite").tables)


def _called(row: Row) -> frozenset[str]:
    return frozenset(call.name for call in read_answer(row.answer, tools_of(row.prompt)).calls)


@pytest.mark.parametrize(("rows", "names"), [(SQL_ROWS, _tables), (TOOL_ROWS, _called)])
def test_held_out_databases_and_tools_are_unseen(rows: list[Row], names: Any) -> None:
    sides: dict[bool, set[str]] = {True: set(), False: set()}
    for row in rows:
        sides["held_out" in row.provenance] |= names(row)
    offered_in_training = {t.name for row in rows if "held_out" not in row.provenance for t in tools_of(row.prompt)}
    held_out_tools = {sample.name for sample in generate_tools.SAMPLES if sample.held_out}
    assert len(sides[True]) >= 4
    assert not offered_in_training & held_out_tools
    if names is _tables:
        assert not sides[True] & sides[False]


def test_queries_find_something_and_are_of_many_kinds() -> None:
    words = {"JOIN", "GROUP BY", "HAVING", "LIMIT", "NOT IN", "IS NULL", "SUM(", "WHERE"}
    assert all(any(word in row.answer for row in SQL_ROWS) for word in words)
    telling = 0
    for row in SQL_ROWS:
        query = parse_query(row.answer, "sqlite")
        telling += same_answers(read_database(row.messages[1]["content"], "sqlite"), query, query.copy()) is True
    assert telling > 0.95 * len(SQL_ROWS), "so that a wrong query is seen to be wrong"


def test_tool_rows_call_decline_and_ask_back() -> None:
    answers = [read_answer(row.answer, tools_of(row.prompt)) for row in TOOL_ROWS]
    assert all(answer.problem is None for answer in answers)
    declined = sum(answer.text in generate_tools.DECLINES for answer in answers)
    asked_back = sum(not answer.calls for answer in answers) - declined
    assert 0.1 * len(answers) < declined < 0.25 * len(answers)
    assert asked_back > 0.04 * len(answers)
    assert sum(len(answer.calls) == 2 for answer in answers) > 15
    assert all(2 <= len(tools_of(row.prompt)) <= 5 for row in TOOL_ROWS)


def test_every_sample_answer_is_one_that_serving_admits() -> None:
    task = TASKS.get("tool_use")().fit(TOOL_ROWS)
    for row in TOOL_ROWS[::9]:
        constraint = task.constraint(row.prompt)
        assert constraint is not None
        assert Gbnf(constraint.grammar or "").admits(row.answer), json.dumps(row.messages)
