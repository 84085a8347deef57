"""The database that a question is about: tables, columns and sample rows, read from the statements in its prompt.

Nothing in a prompt is executed; statements are parsed, and what they say is kept as data.
"""

import logging
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tunesmith.errors import BadInput

OPEN, CLOSE = "<schema>\n", "\n</schema>"
_START = re.compile(r"\b(CREATE\s+(?:TEMP\w*\s+)?TABLE|INSERT\s+INTO)\b", re.IGNORECASE)
MAX_ROWS = 1000  # sample rows of one prompt


@dataclass(frozen=True)
class Column:
    name: str
    type: str  # as the schema writes it
    key: bool = False  # alone the primary key
    nullable: bool = True
    refers_to: str = ""  # the table that a foreign key points at


@dataclass
class Database:
    """Tables by the name that the dialect knows them under; `rows` are the samples that the prompt shows."""

    dialect: str
    tables: dict[str, list[Column]] = field(default_factory=dict)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, Any]:
        """As sqlglot takes it: table → column → type."""
        return {name: {c.name: c.type for c in columns} for name, columns in self.tables.items()}


def dialect_named(name: Any) -> str:
    """The name if sqlglot knows it. Raises BadInput."""
    import sqlglot

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of statements that are refused anyway
    known = sorted(d.value for d in sqlglot.Dialects if d.value)
    if name not in known:
        raise BadInput(
            f"No SQL dialect is called {name!r}.", param="task.dialect", hint=f"Use one of: {', '.join(known)}."
        )
    return str(name)


@lru_cache(maxsize=256)
def read_database(text: str, dialect: str) -> Database:
    """The database of a prompt's CREATE TABLE and INSERT statements (shared: do not change it).

    Raises BadInput for a statement that does not parse, a table or column that comes twice, and when there is no
    table.
    """
    database = Database(dialect)
    for statement in statements(text):
        try:
            _read(database, statement)
        except BadInput:
            raise
        except Exception as error:  # sqlglot also raises whatever its rules stumble over, as AssertionError
            raise BadInput(
                f"The schema does not parse as {dialect}: {statement[:80]!r}.",
                code="invalid_schema",
                hint="Correct the CREATE TABLE statement, or set task.dialect.",
            ) from error
    if not database.tables:
        raise BadInput(
            "The prompt shows no CREATE TABLE statement.",
            code="no_schema",
            hint="Put the tables into the prompt, or into the recipe as task.ddl.",
        )
    return database


def _read(database: Database, statement: str) -> None:
    from sqlglot import exp, parse_one

    tree = parse_one(statement, dialect=database.dialect)
    if isinstance(tree, exp.Create) and isinstance(tree.this, exp.Schema):
        _add_table(database, tree.this)
    elif isinstance(tree, exp.Insert):
        _add_rows(database, tree)


def statements(text: str) -> list[str]:
    """The CREATE TABLE and INSERT statements of a text, whatever stands between them."""
    found, at = [], 0
    while match := _START.search(text, at):
        end = _end_of(text, match.end(), match[1][:1] in "cC")
        found.append(text[match.start() : end].strip())
        at = max(end, match.end())
    return found


def _end_of(text: str, at: int, create: bool) -> int:
    """Where a statement ends: at a semicolon; a CREATE also with its last bracket, an INSERT with its line."""
    depth, quote, opened, last = 0, "", False, ""
    for place in range(at, len(text)):
        c = text[place]
        before, last = last, last if c.isspace() else c  # the last character that is no white space
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"`":
            quote = c
        elif c == "(":
            depth, opened = depth + 1, True
        elif c == ")":
            depth -= 1
            if depth <= 0 and create and opened:
                return place + 1
        elif depth <= 0 and (c == ";" or (c == "\n" and opened and before != ",")):
            return place
    return len(text)


def normal_name(identifier: Any, dialect: str) -> str:
    """An identifier as the dialect compares it: lower case where it does not matter."""
    from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

    return str(normalize_identifiers(identifier.copy(), dialect=dialect).name)


def _add_table(database: Database, schema: Any) -> None:
    from sqlglot import exp

    name = normal_name(schema.this.this, database.dialect)
    if name in database.tables:
        raise BadInput(f"The schema has the table {name!r} twice.", code="invalid_schema", hint="Name it once.")
    keys = [e.expressions for e in schema.expressions if isinstance(e, exp.PrimaryKey)]
    alone = (
        {normal_name(k.find(exp.Identifier), database.dialect) for k in keys[0]} if keys and len(keys[0]) == 1 else {}
    )
    foreign = dict(_foreign_keys(schema, database.dialect))
    columns = []
    for definition in schema.expressions:
        if not isinstance(definition, exp.ColumnDef):
            continue
        column = normal_name(definition.this, database.dialect)
        kind = definition.args.get("kind")
        key = column in alone or definition.find(exp.PrimaryKeyColumnConstraint) is not None
        nullable = not key and definition.find(exp.NotNullColumnConstraint) is None
        reference = definition.find(exp.Reference)
        target = reference.find(exp.Table) if reference else None
        refers_to = normal_name(target.this, database.dialect) if target else foreign.get(column, "")
        columns.append(Column(column, kind.sql(database.dialect) if kind else "", key, nullable, refers_to))
    # SQLite compares even quoted names without their case, and the answers are compared in it.
    named = Counter(c.name.casefold() if database.dialect == "sqlite" else c.name for c in columns)
    if twice := [column for column, times in named.items() if times > 1]:
        raise BadInput(
            f"The table {name!r} has the column {twice[0]!r} twice.", code="invalid_schema", hint="Name it once."
        )
    if not columns:
        raise BadInput(f"The table {name!r} has no columns.", code="invalid_schema", hint="List its columns.")
    database.tables[name] = columns


def _foreign_keys(schema: Any, dialect: str) -> list[tuple[str, str]]:
    from sqlglot import exp

    found = []
    for key in schema.expressions:
        key = key.find(exp.ForeignKey)
        target = key.args["reference"].find(exp.Table) if key and key.args.get("reference") else None
        if target is not None and len(key.expressions) == 1:
            found.append((normal_name(key.expressions[0], dialect), normal_name(target.this, dialect)))
    return found


def _add_rows(database: Database, insert: Any) -> None:
    from sqlglot import exp

    table, names = insert.this, None
    if isinstance(table, exp.Schema):
        names = [normal_name(c, database.dialect) for c in table.expressions]
        table = table.this
    name = normal_name(table.this, database.dialect)
    values = insert.expression
    if name not in database.tables or not isinstance(values, exp.Values):
        return
    names = names or [c.name for c in database.tables[name]]
    known = {c.name for c in database.tables[name]}
    kept = database.rows.setdefault(name, [])
    for row in values.expressions[:MAX_ROWS]:
        cells = dict(zip(names, map(_value, row.expressions), strict=False))
        if shown := {column: value for column, value in cells.items() if column in known}:
            kept.append(shown)


def _value(node: Any) -> Any:
    """The value of a literal; anything that would have to be computed counts as null."""
    from sqlglot import exp

    if isinstance(node, exp.Neg):
        inner = _value(node.this)
        return -inner if isinstance(inner, int | float) else None
    if isinstance(node, exp.Boolean):
        return int(node.this)
    if not isinstance(node, exp.Literal):
        return None
    if node.is_string:
        return str(node.this)
    return number(node.this)


def number(text: str) -> int | float | None:
    """The value of a numeric literal, as SQLite takes it: beyond 64 bits a float. None when it is none, as `1e`."""
    for kind in (int, float):
        with suppress(ValueError):  # int: also one of more than 4300 digits
            value = kind(text)
            if isinstance(value, float) or -(2**63) <= value < 2**63:
                return value
    return None
