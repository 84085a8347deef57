"""Whether a query may stand: it parses, it only reads, it names what the schema has; and when two say the same."""

from typing import Any

from tunesmith.errors import BadInput
from tunesmith.tasks.sql_schema import Database, normal_name

MAX_LENGTH = 10_000  # characters of a query
# Queries come from models and uploads. Beside its own errors, sqlglot raises whatever its rules stumble over there
# (AssertionError, KeyError, RecursionError), so that what it is asked is caught as Exception: none may end a run.
# Functions that do something, or read what is no table. Their names differ; none is a part of a household's question.
_ACTING = {
    *("load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "load_file", "sleep", "benchmark"),
    *("nextval", "setval", "set_config", "query_to_xml", "getvariable", "xp_cmdshell", "openrowset"),
    *("read_text", "read_blob", "read_csv", "read_parquet"),
}
_ACTING_PREFIXES = ("pg_", "lo_", "dblink", "sqlite_", "sys_", "dbms_", "utl_")


class WrongQuery(BadInput):
    """A query that may not stand. `names`: identifiers that the schema lacks."""

    def __init__(self, message: str, code: str, names: list[str] | None = None):
        super().__init__(message, code=code, hint="Correct the query, or leave the row out.")
        self.names = names or []


def parse_query(sql: str, dialect: str) -> Any:
    """The tree of one reading query. Raises WrongQuery: sql_does_not_parse, sql_not_one_query, sql_not_read_only."""
    from sqlglot import exp, parse

    if len(sql) > MAX_LENGTH:
        raise WrongQuery(f"The query is longer than {MAX_LENGTH} characters.", "sql_does_not_parse")
    try:
        found = [tree for tree in parse(sql, dialect=dialect) if tree is not None]
    except Exception as error:
        raise WrongQuery(f"This is no {dialect} query: {sql[:80]!r}.", "sql_does_not_parse") from error
    if len(found) != 1:
        raise WrongQuery(f"There are {len(found)} statements, not one.", "sql_not_one_query")
    tree = found[0]
    # A tree of queries alone: anything that writes, locks, or is opaque to the parser is not for reading.
    writing = (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock, exp.Pragma, exp.Set, exp.Copy, exp.Attach)
    if isinstance(tree, exp.Condition | exp.Alias) and not isinstance(tree, exp.Query):
        raise WrongQuery(f"This is no query: {sql[:80]!r}.", "sql_does_not_parse")
    if not isinstance(tree, exp.Select | exp.SetOperation):
        raise WrongQuery(f"{tree.key.upper()} is no query that reads.", "sql_not_read_only")
    for node in tree.walk():
        if isinstance(node, writing) and not isinstance(node, exp.Query):
            raise WrongQuery(f"{node.key.upper()} does not only read.", "sql_not_read_only")
        name = node.name.casefold() if isinstance(node, exp.Anonymous) else ""
        if name in _ACTING or name.startswith(_ACTING_PREFIXES):
            raise WrongQuery(f"The function {name} does not only read.", "sql_not_read_only")
    return tree


def qualified(tree: Any, database: Database) -> Any:
    """A copy with every column's table written out. Raises WrongQuery (unknown_identifier)."""
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.schema import MappingSchema

    try:
        lacking = _unknown_tables(tree, database)
    except Exception as error:
        raise WrongQuery("The names of its tables cannot be read.", "unknown_identifier", ["tables"]) from error
    if lacking:
        raise WrongQuery(f"The schema has no table {lacking[0]!r}.", "unknown_identifier", lacking)
    try:
        schema = MappingSchema(database.columns, dialect=database.dialect, normalize=False)
        return qualify(
            tree.copy(), schema=schema, dialect=database.dialect, quote_identifiers=False, validate_qualify_columns=True
        )
    except Exception as error:
        names = _unknown_columns(tree, database)
        what = f"The schema has no column {names[0]!r}" if names else f"A column is not where the query says: {error}"
        raise WrongQuery(f"{what[:200]}.", "unknown_identifier", names or ["columns"]) from error


def _unknown_columns(tree: Any, database: Database) -> list[str]:
    """Columns that are neither in the schema nor named by the query; none when that cannot be told."""
    from sqlglot import exp

    known = {c.name for columns in database.tables.values() for c in columns}
    try:
        known |= {normal_name(a.args["alias"], database.dialect) for a in tree.find_all(exp.Alias)}
        used = [normal_name(c.this, database.dialect) for c in tree.find_all(exp.Column) if not c.is_star]
    except Exception:
        return []
    return [name for name in dict.fromkeys(used) if name not in known]


def _unknown_tables(tree: Any, database: Database) -> list[str]:
    """Tables that are neither in the schema nor defined by the query; table functions are among them."""
    from sqlglot import exp

    defined = {normal_name(cte.args["alias"].this, database.dialect) for cte in tree.find_all(exp.CTE)}
    lacking = []
    for table in tree.find_all(exp.Table):
        plain = isinstance(table.this, exp.Identifier) and not table.args.get("db")
        if not plain or normal_name(table.this, database.dialect) not in {*database.tables, *defined}:
            lacking.append(table.sql(database.dialect)[:80])
    return lacking


def same_form(answer: Any, expected: Any, database: Database) -> bool:
    """Whether both trees, as `qualified` made them, have the same normal form; False when one has none."""
    try:
        return normal_form(answer.copy(), database) == normal_form(expected.copy(), database)
    except Exception:
        return False


def normal_form(tree: Any, database: Database) -> str:
    """Equal for queries that differ only in case, aliases, quoting, the order of conditions, or the side of an operand.

    `tree` as `qualified` made it; it is changed.
    """
    _rename_tables(tree)
    _drop_output_names(tree)
    for node in reversed(list(tree.walk())):
        _even_out(node)
    return str(tree.sql(database.dialect, comments=False))


def _rename_tables(tree: Any) -> None:
    """Every alias of a table by its place in the query."""
    from sqlglot import exp
    from sqlglot.optimizer.scope import traverse_scope

    changes: list[tuple[Any, Any]] = []
    for scope in traverse_scope(tree):
        for alias, (node, _) in scope.selected_sources.items():
            name = exp.to_identifier(f"t{len({id(n) for n, _ in changes})}")
            changes.append((node, name))
            changes += [(column, name) for column in scope.columns if column.table == alias]
    for node, name in changes:
        if isinstance(node, exp.Column):
            node.set("table", name.copy())
        elif node.args.get("alias"):
            node.args["alias"].set("this", name.copy())


def _drop_output_names(tree: Any) -> None:
    """What the outermost query calls its columns says nothing; its ORDER BY gets the columns themselves."""
    from sqlglot import exp

    if not isinstance(tree, exp.Select):
        return
    named = {e.alias: e.this for e in tree.expressions if isinstance(e, exp.Alias)}
    order = tree.args.get("order")
    for column in list(order.find_all(exp.Column)) if order else []:
        if not column.table and column.name in named:
            column.replace(named[column.name].copy())
    tree.set("expressions", [e.unalias() for e in tree.expressions])


def _even_out(node: Any) -> None:
    from sqlglot import exp

    if isinstance(node, exp.And | exp.Or) and not isinstance(node.parent, type(node)):
        parts = {part.sql(): part for part in node.flatten()}
        if len(parts) > 1:
            join = exp.and_ if isinstance(node, exp.And) else exp.or_
            node.replace(join(*(parts[key].copy() for key in sorted(parts))))
    elif isinstance(node, exp.EQ | exp.NEQ):
        a, b = sorted((node.this, node.expression), key=lambda side: str(side.sql()))
        node.set("this", a.copy())
        node.set("expression", b.copy())
    elif isinstance(node, exp.GT | exp.GTE):
        turned = exp.LT if isinstance(node, exp.GT) else exp.LTE
        node.replace(turned(this=node.expression.copy(), expression=node.this.copy()))
    elif isinstance(node, exp.In) and node.expressions:
        node.set("expressions", sorted((e.copy() for e in node.expressions), key=lambda e: str(e.sql())))
    elif isinstance(node, exp.Join) and node.args.get("kind") == "INNER":
        node.set("kind", None)
    elif isinstance(node, exp.Identifier):
        node.set("quoted", False)
    elif isinstance(node, exp.Paren) and _needless(node):
        node.replace(node.this.copy())


def _needless(brackets: Any) -> bool:
    from sqlglot import exp

    inner, outer = brackets.this, brackets.parent
    if not isinstance(inner, exp.Binary) or isinstance(outer, exp.Where | exp.Having | exp.Join | exp.Paren):
        return True
    return isinstance(outer, exp.Connector) and (type(inner) is type(outer) or not isinstance(inner, exp.Connector))
