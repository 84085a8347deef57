"""Text to SQL on rows that nobody can run: each is a wrong answer or a refused row, and never the end of a run."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.datasets.build import build
from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Message, Row
from tunesmith.tasks.text_to_sql import TextToSql

BAD_SCHEMAS = {
    "a column twice": "CREATE TABLE t (a INTEGER, b TEXT, a TEXT)",
    "a column twice but for its case": 'CREATE TABLE t (a INTEGER, "A" TEXT)',
}
ODD_SCHEMAS = {
    "a number beyond 64 bits": "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (9223372036854775808)",
    "its negative": "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (-9223372036854775809)",
    "half a number": "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1e)",
    "a number of 5000 digits": f"CREATE TABLE t (a INTEGER); INSERT INTO t VALUES ({'9' * 5000})",
    "a digit that is none": "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (²)",
    "a row without values": "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES ()",
    "a reserved table": "CREATE TABLE t (a INTEGER); CREATE TABLE sqlite_t (a INTEGER)",
    "more columns than SQLite has": f"CREATE TABLE t (a INTEGER, {', '.join(f'c{n} TEXT' for n in range(2100))})",
    "a lone surrogate": "CREATE TABLE t (a INTEGER, \ud800 TEXT)",
}
GOOD = "SELECT a FROM t WHERE a > 1"


def asked(ddl: str, answer: str = GOOD) -> Row:
    return Row([{"role": "user", "content": f"{ddl};\nWhich?"}, {"role": "assistant", "content": answer}])


@pytest.mark.parametrize("ddl", BAD_SCHEMAS.values(), ids=BAD_SCHEMAS)
def test_a_schema_that_no_database_has_is_refused(ddl: str) -> None:
    with pytest.raises(BadInput) as caught:
        TextToSql().check(asked(ddl))
    assert caught.value.error_code == "invalid_schema"
    assert "twice" in caught.value.message


@pytest.mark.parametrize("ddl", ODD_SCHEMAS.values(), ids=ODD_SCHEMAS)
def test_an_odd_schema_ends_no_run(ddl: str) -> None:
    task = TextToSql()
    with contextlib.suppress(BadInput):
        task.check(asked(ddl))
    messages: list[Message] = asked(ddl).prompt
    for answer in (GOOD, "SELECT a FROM t WHERE a >= 2", "SELECT a FROM t WHERE a > 1e", "SELECT 9e999 FROM t"):
        task.score(answer, "SELECT a FROM t WHERE 1 < a AND a > 1", messages)
    assert task.score("SELECT a FROM t WHERE a < 0", GOOD, messages).exact is False


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT DISTINCT (SELECT DISTINCT ('a' || 'b') FROM t AS x ORDER BY a DESC LIMIT 'x') GROUP BY 1",
        "SELECT a FROM t WHERE a = 1e",
        "SELECT a FROM t WHERE a = ²",
        f"SELECT a FROM t WHERE a = {'9' * 5000}",
        "SELECT a FROM t WHERE a = '\ud800'",
        "SELECT zeroblob(9223372036854775807) FROM t",
    ],
)
@pytest.mark.parametrize("dialect", ["sqlite", "mysql"])
def test_an_odd_answer_is_wrong_and_ends_no_run(sql: str, dialect: str) -> None:
    messages = asked("CREATE TABLE t (a INTEGER)").prompt
    assert TextToSql({"dialect": dialect}).score(sql, GOOD, messages).exact is False
    TextToSql({"dialect": dialect}).score(GOOD, sql, messages)


def test_bad_rows_are_refused_with_their_reason_and_the_rest_is_built(tmp_path: Path) -> None:
    good = [asked(f"CREATE TABLE t (a INTEGER, c{n} TEXT)") for n in range(12)]
    bad = [asked(ddl) for ddl in BAD_SCHEMAS.values()]
    report = build(TextToSql(), rows=[*good, *bad], out=tmp_path / "d")
    assert report.rejected_by_code == {"invalid_schema": len(bad)}
    assert all("twice" in item.reason for item in report.rejected)


WORDS = (
    "CREATE TABLE|INSERT INTO|VALUES|SELECT|FROM|WHERE|JOIN|USING|GROUP BY|ORDER BY|LIMIT|WITH|AS|UNION|CASE|WHEN|END|"
    "INTEGER|PRIMARY KEY|REFERENCES|NULL|IN|BETWEEN|COLLATE|OVER|PARTITION BY|count|cast|INTERVAL|PIVOT|UNNEST|LATERAL|"
    "t|u|a|b|\"A\"|`|(|)|,|;|*|.|'|'x'|1e|9223372036854775808|1e400|²|?|:x|->|--|/*|=|<>|\x00|\ud800|\n"
)
SQL = st.lists(st.sampled_from(WORDS.split("|")), max_size=25).map(" ".join)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(SQL, SQL, st.sampled_from(["sqlite", "postgres", "mysql"]))
def test_no_text_makes_text_to_sql_fail(ddl: str, answer: str, dialect: str) -> None:
    task = TextToSql({"dialect": dialect})
    for schema in (f"CREATE TABLE t (a INTEGER, b TEXT);\n{ddl}", f"CREATE TABLE t ({ddl})"):
        for query in (f"SELECT {answer}", f"SELECT a FROM t WHERE {answer}"):
            with contextlib.suppress(BadInput):
                task.check(asked(schema, query))
            task.score(query, GOOD, asked(schema).prompt)
