"""Text to SQL: a question and the database's schema in, one query that only reads out."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from tunesmith.errors import BadInput
from tunesmith.tasks.base import Constraint, Score, insert_turns
from tunesmith.tasks.conversation import Message, Row
from tunesmith.tasks.document import Document
from tunesmith.tasks.prompting import neutral
from tunesmith.tasks.sql_check import WrongQuery, parse_query, qualified, same_form
from tunesmith.tasks.sql_run import same_answers
from tunesmith.tasks.sql_schema import CLOSE, OPEN, Database, dialect_named, read_database, statements

GUESSES = ("sqlite", "postgres", "mysql", "duckdb")  # of a bare upload, in this order
MOST_WRONG = 0.1  # share of an upload's answers that may be no query
_NAMES = {"sqlite": "SQLite", "postgres": "PostgreSQL", "mysql": "MySQL", "duckdb": "DuckDB", "tsql": "SQL Server"}
_LOOKS = re.compile(r"\s*+\(*+\s*+(SELECT|WITH)\b", re.IGNORECASE)


class TextToSql:
    """`spec`: `dialect` (sqlglot's name; default sqlite), `ddl` (CREATE TABLE statements for rows whose prompt has
    none), `system`."""

    name: ClassVar[str] = "text_to_sql"
    minimum_examples: ClassVar[int] = 200
    has_format: ClassVar[bool] = True

    def __init__(self, spec: Mapping[str, Any] | None = None) -> None:
        given = dict(spec or {})
        unknown = sorted(set(given) - {"type", "dialect", "ddl", "system"})
        if unknown:
            raise BadInput(
                f"Text to SQL has no setting {unknown[0]!r}.",
                param="task",
                hint="Known settings: dialect, ddl, system.",
            )
        self.dialect = dialect_named(given.get("dialect", "sqlite"))
        self.ddl: str | None = given.get("ddl")
        self.system: str | None = given.get("system")
        if self.ddl:
            read_database(self.ddl, self.dialect)

    @property
    def spec(self) -> dict[str, Any]:
        optional = {"ddl": self.ddl, "system": self.system}
        return {"dialect": self.dialect, **{key: value for key, value in optional.items() if value}}

    @classmethod
    def infer(cls, rows: Sequence[Row]) -> Self | None:
        """Answers that are queries over tables of their prompt; in the first dialect that takes most of them."""
        some = rows[:: max(1, len(rows) // 100)]
        allowed = MOST_WRONG * len(some)
        if not some or sum(not (_LOOKS.match(r.answer) and statements(_text(r.prompt))) for r in some) > allowed:
            return None
        tasks = [cls({"dialect": name}) for name in GUESSES]
        wrong = [sum(not task._stands(row) for row in some) for task in tasks]
        best = wrong.index(min(wrong))
        return tasks[best] if wrong[best] <= allowed else None

    def fit(self, rows: Sequence[Row]) -> Self:
        return type(self)(self.spec)

    # -- examples -----------------------------------------------------------------------------------------------

    def prompt(self, text: str) -> list[Message]:
        """`text` is the question; the schema is the recipe's."""
        return self._ask(text, self.ddl or "")

    def _ask(self, question: str, ddl: str) -> list[Message]:
        dialect = _NAMES.get(self.dialect, self.dialect)
        system = f"Write one {dialect} query that answers the question from the tables of the schema. Answer with SQL."
        data = neutral(ddl.strip()).replace("</schema>", "< /schema>")
        return [
            {"role": "system", "content": self.system or system},
            {"role": "user", "content": f"{OPEN}{data}{CLOSE}\n{neutral(question.strip())}"},
        ]

    def example(self, document: Document) -> Row:
        """`text` is the question; `values` are `sql` and, unless the recipe has it, `schema` (CREATE TABLE, INSERT)."""
        sql, ddl = str(document.values.get("sql") or ""), str(document.values.get("schema") or self.ddl or "")
        if not document.text.strip() or not sql.strip():
            raise BadInput("There is no question or no query.", code="no_labels", hint="Give a text and values.sql.")
        messages = self._ask(document.text, ddl)
        messages.append({"role": "assistant", "content": sql.strip().rstrip(";").rstrip()})
        provenance = {**document.provenance, "document": document.id}
        if document.group:
            provenance["group"] = document.group
        row = Row(messages, provenance)
        self.check(row)
        return row

    def check(self, row: Row) -> None:
        """The prompt shows a schema, and the answer is one reading query over it."""
        qualified(parse_query(row.answer, self.dialect), self._database(row.prompt))

    def _stands(self, row: Row) -> bool:
        try:
            self.check(row)
        except BadInput:
            return False
        return True

    def few_shot(self, rows: Sequence[Row], messages: list[Message]) -> list[Message]:
        return insert_turns(rows, messages)

    # -- answers ------------------------------------------------------------------------------------------------

    def constraint(self, messages: list[Message]) -> Constraint | None:
        """None: a grammar of SQL that knows scopes would be wrong more often than the model."""
        return None

    def score(self, answer: str, expected: str, messages: list[Message]) -> Score:
        """`format_ok`: one reading query over what the schema has. `ungrounded`: names that the schema lacks."""
        try:
            database = self._database(messages)
            tree = qualified(parse_query(answer, self.dialect), database)
        except BadInput as error:
            names = error.names if isinstance(error, WrongQuery) else []
            return Score(False, False, {"query": False}, ungrounded=names)
        exact = self._same(tree, answer, expected, database)
        return Score(True, exact, {"query": exact})

    def _same(self, tree: Any, answer: str, expected: str, database: Database) -> bool:
        """Equal in their normal form, or (SQLite) in what they find, with the order of rows kept where it was asked."""
        try:
            right = qualified(parse_query(expected, self.dialect), database)
        except WrongQuery:
            return " ".join(answer.split()).casefold() == " ".join(expected.split()).casefold()
        if same_form(tree, right, database):
            return True
        if self.dialect != "sqlite" or bool(right.args.get("order")) != bool(tree.args.get("order")):
            return False
        return same_answers(database, tree, right) is True

    def quality(self, rows: Sequence[Row]) -> dict[str, float]:
        """Share of rows whose query the schema does not bear out, and of the most frequent query."""
        if not rows:
            return {}
        some = rows[:: max(1, len(rows) // 500)]
        common = Counter(" ".join(row.answer.split()) for row in rows).most_common(1)[0][1]
        wrong = sum(not self._stands(row) for row in some) / len(some)
        return {"largest_label": common / len(rows), "ungrounded_targets": wrong}

    def _database(self, messages: Sequence[Message]) -> Database:
        """Of the last message that shows one: earlier turns may be examples over other tables."""
        shown = next((m["content"] for m in reversed(messages) if statements(m["content"])), None)
        return read_database(shown or self.ddl or "", self.dialect)


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(m["content"] for m in messages)
