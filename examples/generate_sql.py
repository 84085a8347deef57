"""Writes questions about made-up household databases, each with its SQLite query, as ShareGPT rows.

    python examples/generate_sql.py [--out examples/text_to_sql/household.jsonl] [--seed 7]

Every row shows its database's schema. Rows of the databases that are marked held out in text_to_sql/databases.py carry
"held_out" in their provenance and make the test set: a figure measured on them tells about databases never seen.
"""

import argparse
import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parent))

from text_to_sql.databases import SCHEMAS, Schema, Table
from text_to_sql.questions import TEMPLATES
from tunesmith.tasks.conversation import row_to_json
from tunesmith.tasks.document import Document
from tunesmith.tasks.text_to_sql import TextToSql

PER_SCHEMA, PER_HELD_OUT = 64, 36


def generate(seed: int = 7) -> list[str]:
    """Lines of the file; the same for the same seed."""
    rng, task, lines = Random(seed), TextToSql(), []
    for schema in SCHEMAS:
        ddl, seen = _ddl(schema), set()
        wanted = PER_HELD_OUT if schema.held_out else PER_SCHEMA
        while len(seen) < wanted:
            write = TEMPLATES[len(seen) % len(TEMPLATES)] if rng.random() < 0.7 else rng.choice(TEMPLATES)
            question, sql = write(schema, rng.choice([schema.parent, schema.child]), rng)
            if question in seen:
                continue
            seen.add(question)
            held_out = {"held_out": True} if schema.held_out else {}
            document = Document(
                f"{schema.name}-{len(seen)}", question, {"sql": sql, "schema": ddl}, provenance=held_out
            )
            lines.append(row_to_json(task.example(document)))
    rng.shuffle(lines)
    return lines


def _ddl(schema: Schema) -> str:
    refers = f"  {schema.key} INTEGER REFERENCES {schema.parent.name}(id)"
    return "\n".join([_create(schema.parent, []), _create(schema.child, [refers])])


def _create(table: Table, more: list[str]) -> str:
    columns = [f"  {c.name} {c.type}" for c in (table.label, *table.columns)]
    return f"CREATE TABLE {table.name} (\n" + ",\n".join(["  id INTEGER PRIMARY KEY", *more, *columns]) + "\n);"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "text_to_sql" / "household.jsonl")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    arguments.out.write_text("".join(line + "\n" for line in generate(arguments.seed)), encoding="utf-8")


if __name__ == "__main__":
    main()
