"""Text to SQL: only what reads, only what the schema has, and never a model's text on anything but made-up rows."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tunesmith.datasets.build import build
from tunesmith.errors import BadInput
from tunesmith.tasks import sql_run
from tunesmith.tasks.base import infer_task
from tunesmith.tasks.conversation import Message, Row
from tunesmith.tasks.document import Document
from tunesmith.tasks.sql_check import parse_query
from tunesmith.tasks.sql_schema import read_database, statements
from tunesmith.tasks.text_to_sql import TextToSql

DDL = """CREATE TABLE bills (id INTEGER PRIMARY KEY, vendor_id INTEGER REFERENCES vendors(id), amount REAL,
  due_date TEXT, note TEXT);
CREATE TABLE vendors (id INTEGER PRIMARY KEY, name TEXT NOT NULL)"""
EXPECTED = "SELECT b.amount FROM bills AS b JOIN vendors v ON b.vendor_id = v.id WHERE v.name = 'Ada' AND b.amount > 10"


def asked(question: str = "Which amounts?", ddl: str = DDL, dialect: str = "sqlite") -> list[Message]:
    return TextToSql({"dialect": dialect, "ddl": ddl}).prompt(question)


def score(answer: str, expected: str = EXPECTED, dialect: str = "sqlite", ddl: str = DDL) -> tuple[bool, bool]:
    found = TextToSql({"dialect": dialect}).score(answer, expected, asked(ddl=ddl, dialect=dialect))
    assert found.fields == {"query": found.exact}
    return found.format_ok, found.exact


def test_a_question_becomes_a_prompt_with_its_schema() -> None:
    document = Document("3", "How much is due?", {"sql": "SELECT SUM(amount) FROM bills;", "schema": DDL}, "home")
    row = TextToSql().example(document)
    assert row.messages[0]["content"].startswith("Write one SQLite query")
    assert row.messages[1]["content"] == f"<schema>\n{DDL}\n</schema>\nHow much is due?"
    assert row.answer == "SELECT SUM(amount) FROM bills"
    assert row.provenance == {"document": "3", "group": "home"}


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT amount FROM", "sql_does_not_parse"),
        ("Sure! SELECT amount FROM bills", "sql_does_not_parse"),
        ("```sql\nSELECT amount FROM bills\n```", "sql_does_not_parse"),
        ("SELECT amount FROM bills; DROP TABLE bills", "sql_not_one_query"),
        ("SELECT 1; SELECT 2", "sql_not_one_query"),
        ("DROP TABLE bills", "sql_not_read_only"),
        ("DELETE FROM bills", "sql_not_read_only"),
        ("PRAGMA writable_schema = 1", "sql_not_read_only"),
        ("ATTACH 'other.db' AS other", "sql_not_read_only"),
        ("WITH gone AS (DELETE FROM bills RETURNING id) SELECT id FROM gone", "sql_not_read_only"),
        ("SELECT amount INTO stolen FROM bills", "sql_not_read_only"),
        ("SELECT amount FROM bills FOR UPDATE", "sql_not_read_only"),
        ("SELECT load_extension('evil.so')", "sql_not_read_only"),
        ("SELECT pg_read_file('/etc/passwd')", "sql_not_read_only"),
        ("SELECT amount FROM invoices", "unknown_identifier"),
        ("SELECT total FROM bills", "unknown_identifier"),
        ("SELECT b.name FROM bills b JOIN vendors v ON v.id = b.vendor_id", "unknown_identifier"),
        ("SELECT id FROM bills, vendors", "unknown_identifier"),
        ("SELECT sql FROM sqlite_master", "unknown_identifier"),
        ("SELECT * FROM pragma_table_info('bills')", "unknown_identifier"),
        ("SELECT * FROM read_csv('/etc/passwd')", "unknown_identifier"),
        ("SELECT amount FROM other.bills", "unknown_identifier"),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "sql_does_not_parse"),
    ],
)
@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_what_may_not_stand_is_refused_with_a_reason(sql: str, code: str, dialect: str) -> None:
    task = TextToSql({"dialect": dialect})
    with pytest.raises(BadInput) as caught:
        task.example(Document("1", "question", {"sql": sql, "schema": DDL}))
    if not (dialect == "postgres" and sql.startswith("ATTACH")):  # no statement there at all
        assert caught.value.error_code == code
    assert score(sql, dialect=dialect) == (False, False)


@pytest.mark.parametrize(
    ("ddl", "code"),
    [
        ("", "no_schema"),
        ("the bills table", "no_schema"),
        ("CREATE TABLE bills (id INTEGER", "invalid_schema"),
        ("CREATE TABLE bills (id INTEGER); CREATE TABLE Bills (id INTEGER)", "invalid_schema"),
    ],
)
def test_a_wrong_schema_is_refused(ddl: str, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        TextToSql().example(Document("1", "question", {"sql": "SELECT id FROM bills", "schema": ddl}))
    assert caught.value.error_code == code


def test_wrong_settings() -> None:
    for spec in ({"dialect": "klingon"}, {"ddl": "CREATE TABLE ("}, {"colour": "red"}):
        with pytest.raises(BadInput):
            TextToSql(spec)


def test_names_that_the_schema_lacks_are_told() -> None:
    found = TextToSql().score("SELECT total, amount FROM bills", EXPECTED, asked())
    assert found.ungrounded == ["total"]
    assert TextToSql().score("SELECT 1 FROM invoices", EXPECTED, asked()).ungrounded == ["invoices"]


@pytest.mark.parametrize("dialect", ["sqlite", "postgres", "mysql", "duckdb"])
@pytest.mark.parametrize(
    "answer",
    [
        EXPECTED.lower().replace("'ada'", "'Ada'"),
        "SELECT amount FROM bills INNER JOIN vendors ON vendors.id = vendor_id WHERE 10 < amount AND name = 'Ada'",
        "SELECT x.amount AS money FROM bills x JOIN vendors y ON (x.vendor_id = y.id) "
        "WHERE (y.name = 'Ada') AND (x.amount > 10);",
    ],
)
def test_case_aliases_quoting_and_order_of_conditions_do_not_matter(dialect: str, answer: str) -> None:
    assert score(answer, dialect=dialect) == (True, True)


@pytest.mark.parametrize(
    "answer",
    [
        EXPECTED.replace("> 10", ">= 10"),
        EXPECTED.replace("'Ada'", "'ada'"),
        EXPECTED.replace("AND", "OR"),
        EXPECTED.replace("b.amount FROM", "b.id FROM"),
        EXPECTED.replace("SELECT", "SELECT DISTINCT"),
        EXPECTED + " LIMIT 1",
        "SELECT amount FROM bills",
    ],
)
@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_another_question_answered_is_not_exact(dialect: str, answer: str) -> None:
    assert score(answer, dialect=dialect) == (True, False)


@pytest.mark.parametrize(
    ("answer", "expected", "exact"),
    [
        ("SELECT amount FROM bills WHERE vendor_id IN (SELECT id FROM vendors WHERE name = 'Ada') AND amount > 10",
         EXPECTED, True),
        ("SELECT MAX(amount) FROM bills", "SELECT amount FROM bills ORDER BY amount DESC LIMIT 1", False),
        ("SELECT note FROM bills WHERE note LIKE 'a%'", "SELECT note FROM bills WHERE substr(note, 1, 1) IN ('a','A')",
         True),
        ("SELECT COUNT(*) FROM bills", "SELECT COUNT(note) FROM bills", False),
        ("SELECT id FROM bills", "SELECT id FROM bills ORDER BY amount", False),
        ("SELECT id FROM bills WHERE due_date < '2024-05-01'", "SELECT id FROM bills WHERE due_date <= '2024-05-01'",
         False),
        ("SELECT id FROM bills WHERE amount > 1 LIMIT 0", "SELECT id FROM bills WHERE 1 = 2", False),
    ],
)  # fmt: skip
def test_sqlite_answers_are_compared_on_rows(answer: str, expected: str, exact: bool) -> None:
    assert score(answer, expected) == (True, exact)


def test_sample_rows_of_the_prompt_are_used() -> None:
    rows = "\nINSERT INTO vendors VALUES (1, 'Ada'), (2, 'Bob''s');\nINSERT INTO vendors (name, id) VALUES ('Cy', 3);"
    database = read_database(DDL + ";" + rows, "sqlite")
    assert database.rows == {"vendors": [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Bob's"}, {"name": "Cy", "id": 3}]}
    assert [c.key for c in database.tables["bills"]] == [True, False, False, False, False]
    assert database.tables["bills"][1].refers_to == "vendors"
    text = f"Given\n{DDL};{rows}\nwho is there?"
    assert len(statements(text)) == 4
    assert TextToSql().score("SELECT name FROM vendors WHERE id < 2", "SELECT 'Ada' FROM vendors WHERE id = 1",
                             [{"role": "user", "content": text}]).exact is False  # fmt: skip


@pytest.mark.parametrize(
    "endless",
    [
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n",
        "SELECT COUNT(*) FROM " + ", ".join(f"bills b{i}" for i in range(12)),
        "SELECT hex(zeroblob(1000000000)) FROM bills",
        "SELECT randomblob(2000000) FROM bills",
    ],
)
def test_a_query_without_end_is_stopped(endless: str) -> None:
    start = time.monotonic()
    assert score(endless) == (True, False)
    assert time.monotonic() - start < 20 * sql_run.SECONDS


def test_a_models_query_can_neither_write_nor_reach_a_file(tmp_path: Path) -> None:
    """Even what would get past the parser: the database itself allows reading its tables and nothing else."""
    database = read_database(DDL, "sqlite")
    with closing(sql_run._made(database, {"vendors": [{"id": 1, "name": "Ada"}]})) as connection:
        for query in (
            "DELETE FROM vendors",
            "DROP TABLE vendors",
            f"ATTACH '{tmp_path}/x.db' AS x",
            f"VACUUM INTO '{tmp_path}/x.db'",
            "PRAGMA user_version = 3",
            "SELECT sql FROM sqlite_master",
            "SELECT load_extension('x')",
            "SELECT name FROM vendors; DELETE FROM vendors",
        ):
            assert sql_run.run(connection, query) is None, query
        assert sql_run.run(connection, "SELECT name FROM vendors") == {("Ada",): 1}
    assert list(tmp_path.iterdir()) == []


def test_a_schema_is_data_and_is_never_executed() -> None:
    ddl = """CREATE TABLE bills (id INTEGER DEFAULT (abs(-1)), "a""; DROP" TEXT CHECK (length("a""; DROP") > 900000))"""
    database = read_database(ddl, "sqlite")
    query = parse_query("SELECT id FROM bills", "sqlite")
    assert sql_run.same_answers(database, query, query.copy()) is True


def test_a_bare_upload_shows_its_dialect() -> None:
    def row(n: int, sql: str) -> Row:
        return Row([{"role": "user", "content": f"{DDL}\nWhich {n}?"}, {"role": "assistant", "content": sql}])

    rows = [row(n, f"SELECT amount FROM bills WHERE id = {n}") for n in range(12)]
    task = infer_task(rows)
    assert isinstance(task, TextToSql)
    assert task.dialect == "sqlite"
    quoted = infer_task([row(n, f'SELECT amount FROM bills WHERE note = "No. {n}"') for n in range(12)])
    assert isinstance(quoted, TextToSql)
    assert quoted.dialect == "mysql", "where double quotes are for text"
    assert task.constraint(rows[0].prompt) is None
    assert task.few_shot(rows[:2], rows[2].prompt)[1]["content"] == rows[0].answer
    bare = [Row([{"role": "user", "content": f"q {n}"}, rows[n].messages[-1]]) for n in range(12)]
    assert infer_task(bare).name == "chat", "no schema in the prompt"


def test_uploaded_rows_that_may_not_stand_are_left_out(tmp_path: Path) -> None:
    def row(n: int, sql: str) -> Row:
        return Row([*asked(f"Question {'abcdefghij'[n % 10] * (1 + n // 10)}?"), {"role": "assistant", "content": sql}])

    rows = [row(n, f"SELECT amount FROM bills WHERE id = {n}") for n in range(40)]
    rows += [row(41, "DELETE FROM bills"), row(42, "SELECT total FROM bills")]
    report = build(TextToSql(), rows=rows, out=tmp_path)
    assert {r.where: r.code for r in report.rejected} == {
        "row 41": "sql_not_read_only",
        "row 42": "unknown_identifier",
    }
    assert {gate.name: gate.value for gate in report.gates}["ungrounded_targets"] == 0
    assert TextToSql().quality([rows[0], rows[41]])["ungrounded_targets"] == 0.5
    assert TextToSql(report.spec).spec == json.loads(json.dumps(report.spec))


def test_limits_do_not_depend_on_the_caller(monkeypatch: Any) -> None:
    monkeypatch.setattr(sql_run, "MAX_ROWS", 5)
    connection = sqlite3.connect(":memory:")
    with closing(connection):
        many = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 6) SELECT x FROM n"
        assert sql_run.run(connection, many) is None
        assert sql_run.run(connection, many.replace("< 6", "< 5")) is not None
