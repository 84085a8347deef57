"""Questions over a database, each with its query: templates over tables and columns, in several wordings."""

from collections.abc import Callable
from random import Random

from text_to_sql.databases import Column, Schema, Table

Pair = tuple[str, str]
TEMPLATES: list[Callable[[Schema, Table, Random], Pair]] = []


def _template(write: Callable[[Schema, Table, Random], Pair]) -> Callable[[Schema, Table, Random], Pair]:
    TEMPLATES.append(write)
    return write


def _column(table: Table, kind: str, rng: Random) -> Column:
    found = [c for c in table.columns if c.kind == kind]
    return rng.choice(found) if found else table.label


def _value(column: Column, rng: Random) -> str:
    return str(rng.choice([v for v in column.values if isinstance(v, str)]))


def _bound(column: Column, rng: Random) -> int:
    low, high = (int(v) for v in column.values)
    step = 1 if high < 100 else 5 if high < 1000 else 100
    return max(low + 1, round(rng.randint(low, high) / step) * step)


@_template
def count_all(schema: Schema, table: Table, rng: Random) -> Pair:
    ask = rng.choice(["How many {m} are there?", "Count all {m}.", "What is the number of {m}?"])
    return ask.format(m=table.many), f"SELECT COUNT(*) FROM {table.name}"


@_template
def list_all(schema: Schema, table: Table, rng: Random) -> Pair:
    column = rng.choice(table.columns)
    ask = rng.choice(["List the {l} and the {c} of all {m}.", "Show every {o} with its {l} and {c}."])
    question = ask.format(l=table.label.words, c=column.words, m=table.many, o=table.one)
    return question, f"SELECT {table.label.name}, {column.name} FROM {table.name}"


@_template
def with_text(schema: Schema, table: Table, rng: Random) -> Pair:
    column = _column(table, "text", rng)
    value = _value(column, rng)
    ask = rng.choice(["Which {m} have the {c} {v}?", "Show the {m} whose {c} is {v}.", "{M} with {c} {v}?"])
    question = ask.format(m=table.many, M=table.many.capitalize(), c=column.words, v=value)
    return question, f"SELECT {table.label.name} FROM {table.name} WHERE {column.name} = '{value}'"


@_template
def how_many_with(schema: Schema, table: Table, rng: Random) -> Pair:
    column = _column(table, "text", rng)
    value = _value(column, rng)
    ask = rng.choice(["How many {m} have the {c} {v}?", "Count the {m} whose {c} is {v}."])
    question = ask.format(m=table.many, c=column.words, v=value)
    return question, f"SELECT COUNT(*) FROM {table.name} WHERE {column.name} = '{value}'"


@_template
def above(schema: Schema, table: Table, rng: Random) -> Pair:
    column = _column(schema.child, "number", rng)
    table, bound = schema.child, _bound(column, rng)
    sign, word = rng.choice([(">", "more than"), ("<", "less than"), (">=", "at least"), ("<=", "at most")])
    ask = rng.choice(["Which {m} have a {c} of {w} {b}?", "List the {m} with a {c} of {w} {b}."])
    question = ask.format(m=table.many, c=column.words, w=word, b=bound)
    return question, f"SELECT {table.label.name} FROM {table.name} WHERE {column.name} {sign} {bound}"


@_template
def aggregate(schema: Schema, table: Table, rng: Random) -> Pair:
    table = schema.child
    column = _column(table, "number", rng)
    function, word = rng.choice([("SUM", "total"), ("AVG", "average"), ("MAX", "highest"), ("MIN", "lowest")])
    ask = rng.choice(["What is the {w} {c} of all {m}?", "Give me the {w} {c} of the {m}."])
    question = ask.format(w=word, c=column.words, m=table.many)
    return question, f"SELECT {function}({column.name}) FROM {table.name}"


@_template
def aggregate_with(schema: Schema, table: Table, rng: Random) -> Pair:
    table = schema.child
    number, text = _column(table, "number", rng), _column(table, "text", rng)
    value = _value(text, rng)
    function, word = rng.choice([("SUM", "total"), ("AVG", "average")])
    question = f"What is the {word} {number.words} of the {table.many} with the {text.words} {value}?"
    return question, f"SELECT {function}({number.name}) FROM {table.name} WHERE {text.name} = '{value}'"


@_template
def per_group(schema: Schema, table: Table, rng: Random) -> Pair:
    column = _column(table, "text", rng)
    ask = rng.choice(["How many {m} are there for each {c}?", "Count the {m} by {c}."])
    question = ask.format(m=table.many, c=column.words)
    return question, f"SELECT {column.name}, COUNT(*) FROM {table.name} GROUP BY {column.name}"


@_template
def top(schema: Schema, table: Table, rng: Random) -> Pair:
    table, n = schema.child, rng.randint(2, 5)
    column = _column(table, "number", rng)
    word, order = rng.choice([("highest", " DESC"), ("lowest", "")])
    ask = rng.choice(["Which {n} {m} have the {w} {c}?", "Show the {n} {m} with the {w} {c}."])
    question = ask.format(n=n, m=table.many, w=word, c=column.words)
    return question, f"SELECT {table.label.name} FROM {table.name} ORDER BY {column.name}{order} LIMIT {n}"


@_template
def in_time(schema: Schema, table: Table, rng: Random) -> Pair:
    table = schema.child
    column = _column(table, "date", rng)
    day = f"{rng.randint(2021, 2025)}-{rng.randint(1, 12):02}-{rng.choice([1, 10, 15, 28]):02}"
    sign, word = rng.choice([("<", "before"), (">", "after")])
    question = f"Which {table.many} have a {column.words} {word} {day}?"
    return question, f"SELECT {table.label.name} FROM {table.name} WHERE {column.name} {sign} '{day}'"


@_template
def missing(schema: Schema, table: Table, rng: Random) -> Pair:
    table = schema.child
    column = rng.choice(table.columns)
    ask = rng.choice(["Which {m} have no {c}?", "List the {m} without a {c}."])
    question = ask.format(m=table.many, c=column.words)
    return question, f"SELECT {table.label.name} FROM {table.name} WHERE {column.name} IS NULL"


def _joined(schema: Schema) -> str:
    return f"{schema.child.name} AS c JOIN {schema.parent.name} AS p ON c.{schema.key} = p.id"


@_template
def of_parent(schema: Schema, table: Table, rng: Random) -> Pair:
    parent, child = schema.parent, schema.child
    column = rng.choice([parent.label, _column(parent, "text", rng)])
    value, shown = _value(column, rng), rng.choice([child.label, *child.columns])
    ask = rng.choice(
        ["Show the {s} of the {m} of the {o} with {c} {v}.", "For the {o} with {c} {v}: the {s} of its {m}?"]
    )
    question = ask.format(s=shown.words, m=child.many, o=parent.one, c=column.words, v=value)
    return question, f"SELECT c.{shown.name} FROM {_joined(schema)} WHERE p.{column.name} = '{value}'"


@_template
def per_parent(schema: Schema, table: Table, rng: Random) -> Pair:
    parent, child = schema.parent, schema.child
    column = _column(child, "number", rng)
    function, word = rng.choice([("SUM", "total"), ("AVG", "average"), ("MAX", "highest")])
    ask = rng.choice(["What is the {w} {c} of the {m} for each {p}?", "Give the {w} {c} of {m} by {p}."])
    question = ask.format(w=word, c=column.words, m=child.many, p=f"{parent.label.words} of the {parent.one}")
    label = parent.label.name
    return question, f"SELECT p.{label}, {function}(c.{column.name}) FROM {_joined(schema)} GROUP BY p.{label}"


@_template
def without_children(schema: Schema, table: Table, rng: Random) -> Pair:
    parent, child = schema.parent, schema.child
    ask = rng.choice(["Which {p} have no {m}?", "List the {p} that have no {m} at all."])
    known = f"SELECT {schema.key} FROM {child.name} WHERE {schema.key} IS NOT NULL"
    sql = f"SELECT {parent.label.name} FROM {parent.name} WHERE id NOT IN ({known})"
    return ask.format(p=parent.many, m=child.many), sql


@_template
def many_children(schema: Schema, table: Table, rng: Random) -> Pair:
    parent, child, n = schema.parent, schema.child, rng.randint(1, 9)
    question = f"Which {parent.many} have more than {n} {child.many if n > 1 else child.one}?"
    sql = f"SELECT p.{parent.label.name} FROM {_joined(schema)} GROUP BY p.id, p.{parent.label.name}"
    return question, f"{sql} HAVING COUNT(*) > {n}"
