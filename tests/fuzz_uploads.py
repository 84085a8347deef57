"""Whatever is uploaded, its reader takes it or says what is wrong with it, within its time.

Run by `test_fuzz_uploads.py`, each property in a process of its own: `python fuzz_uploads.py NAME EXAMPLES`.
"""

import csv
import io
import json
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tunesmith.datasets import reading
from tunesmith.datasets.formats.columns import KEYS
from tunesmith.errors import BadInput, TooLarge, TunesmithError
from tunesmith.tasks.conversation import read_rows
from tunesmith.tasks.tools import read_answer, read_tools

MEMORY = 1536 * 2**20  # of the process, with pyarrow and numpy in it
SECONDS = 10.0  # of the processor, for one file
SUFFIXES = ("jsonl", "json", "csv", "tsv", "parquet", "txt")

# -- what is sent ---------------------------------------------------------------------------------------------------

WORDS = (
    *KEYS, "from", "value", "role", "content", "human", "gpt", "user", "assistant", "tool", "tools",
    "tool_calls", "name", "function", "arguments", "parameters", "type", "text", "provenance", "unlearnt",
    "preferred_output", "non_preferred_output", "group", "label", "kind", "results", "documents", "id",
    "created", "custom_fields", "field", "pattern", "$ref", "properties", "object", "additionalProperties",
    "patternProperties", "anyOf", "#", "^(a+)+$", "2024-01-31",
)  # fmt: skip
PIECES = (  # what a pattern or a parser may stumble over, many times over
    "<tools>\n", "\n</tools>", "<tool_call>\n", "{", "[", '"', "\\", "\\\"", "a-", "://", "a:b@",
    "eyJaaaaaaaa", ".", "sk-a-", "-----BEGIN A ", "Tel. ", "+491", " (", "password", ": ", "1,", "1.",
    "20.01.", "€", "\n", " ", "\t", "```", "é", "\ud800", "CREATE TABLE t (", "INSERT INTO t VALUES (1",
    "),(", "SELECT ", "CASE WHEN ", "a@a.", "DE89 ", "0", "\x00", "\u202e", ",",
)  # fmt: skip
long_texts = st.builds(
    lambda pieces, times: ("".join(pieces) * times)[:40_000],
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4),
    st.sampled_from([1, 30, 3000, 40_000]),
)
texts = st.one_of(st.sampled_from(WORDS), st.text(max_size=20), long_texts)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.just(10**400), texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.sampled_from(WORDS), st.text(max_size=5)), inner)
    ),
    max_leaves=12,
)


def either(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what belongs there, so that the reader comes further than to the first check."""
    return st.one_of(good, good, good, good, values)


turns = st.fixed_dictionaries(
    {
        "role": either(st.sampled_from(["system", "user", "assistant", "tool"])),
        "content": either(texts),
    },
    optional={"weight": values, "tool_calls": values},
)
messages = st.builds(lambda said, end: [*said, end], st.lists(turns, max_size=4), turns)
rows = st.one_of(
    st.fixed_dictionaries({"messages": either(messages)}, optional={"tools": values, "weight": values}),
    st.fixed_dictionaries({"prompt": either(texts), "completion": either(texts)}, optional={"provenance": values}),
    st.fixed_dictionaries({"instruction": texts, "output": texts}, optional={"history": values, "input": values}),
    st.fixed_dictionaries({"prompt": either(messages), "chosen": either(texts), "rejected": either(texts)}),
    st.fixed_dictionaries(
        {"conversations": either(st.lists(st.fixed_dictionaries({"from": texts, "value": texts}), max_size=3))}
    ),
    st.dictionaries(st.sampled_from(WORDS), values, max_size=6),
)
documents = st.one_of(
    st.fixed_dictionaries({"kind": st.sampled_from(["tags", "custom_fields", "correspondents"]), "results": values}),
    st.fixed_dictionaries(
        {"id": either(st.integers()), "content": either(texts)},
        optional=dict.fromkeys(("created", "added", "tags", "custom_fields", "correspondent", "document_type"), values),
    ),
    values,
)


# What Python's JSON does not write of itself.
LINES = st.sampled_from(
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"id": 1e400}',
        b'{"id": NaN}',
        b"9" * 5000,
        b'"\\ud800"',
        b"",
        b"{}",
        b"\xff",
    ]
)


def lines_of(given_values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    written = given_values.map(lambda value: json.dumps(value).encode())
    return st.lists(st.one_of(written, written, written, LINES), min_size=1, max_size=8).map(b"\n".join)


def mutated(good: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """A stretch of a good file replaced by something else."""

    def changed(content: bytes, at: float, length: int, by: bytes) -> bytes:
        start = int(at * len(content))
        return content[:start] + by + content[start + length :]

    return st.builds(changed, good, st.floats(0, 1), st.integers(0, 40), st.binary(max_size=40))


def as_csv(table: list[list[str]], delimiter: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(table)
    return out.getvalue().encode("utf-8", "replace")


def as_parquet(table: list[tuple[str, Any]]) -> bytes:
    out = io.BytesIO()
    try:
        parquet.write_table(pyarrow.table({name: pyarrow.array(column) for name, column in table}), out)
    except (pyarrow.ArrowException, ValueError, TypeError, OverflowError, UnicodeError):
        return b"PAR1"
    return out.getvalue()


cells = st.lists(st.lists(st.one_of(st.sampled_from(KEYS), texts), min_size=1, max_size=4), min_size=1, max_size=5)
tables = st.builds(as_csv, cells, st.sampled_from(",;\t|"))
columns = st.lists(
    st.tuples(st.sampled_from(KEYS), st.lists(st.one_of(texts, st.none()), min_size=3, max_size=3)),
    min_size=1, max_size=4, unique_by=lambda column: column[0],
)  # fmt: skip
structs = st.lists(st.tuples(st.just("messages"), st.lists(st.lists(turns), min_size=2, max_size=2)), max_size=1)
packed = st.builds(as_parquet, st.one_of(columns, structs))

arrays = st.lists(rows, max_size=5).map(lambda found: json.dumps(found).encode())

# -- what must hold -------------------------------------------------------------------------------------------------


def _ended(_signal: int, _frame: FrameType | None) -> None:
    raise AssertionError(f"a file took more than {SECONDS:.0f} s")


@contextmanager
def in_time() -> Iterator[None]:
    signal.signal(signal.SIGVTALRM, _ended)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def check(content: bytes, suffix: str) -> None:
    """Both ways in take the file, or say what is wrong with it in words that can be sent."""
    with tempfile.TemporaryDirectory() as folder, in_time():
        path, out = Path(folder, "upload"), Path(folder, "dataset")
        path.write_bytes(content)
        for purpose in ("fine-tune", "documents"):
            try:
                json.dumps(reading.read_upload(str(path), purpose)).encode()
            except BadInput as error:
                told(error)
        try:
            report = reading.read_import(str(path), f"rows.{suffix}", None, [], str(out))
        except (BadInput, TooLarge) as error:
            told(error)
            return
        json.dumps(report).encode()
        kept = sum(len(list(read_rows(out / f"{split}.jsonl"))) for split in report["splits"])
        assert kept == report["rows_kept"] == sum(report["splits"].values())


def told(error: TunesmithError) -> None:
    assert 400 <= error.status < 500
    assert error.hint
    assert len(error.message.encode()) < 5000


PROPERTIES: dict[str, tuple[Callable[..., None], dict[str, st.SearchStrategy[Any]]]] = {
    "bytes": (check, {"content": st.binary(max_size=300), "suffix": st.sampled_from(SUFFIXES)}),
    "rows": (check, {"content": lines_of(rows), "suffix": st.just("jsonl")}),
    "broken rows": (check, {"content": mutated(lines_of(rows)), "suffix": st.sampled_from(SUFFIXES)}),
    "arrays": (check, {"content": arrays, "suffix": st.just("json")}),
    "documents": (check, {"content": lines_of(documents), "suffix": st.just("jsonl")}),
    "tables": (check, {"content": st.one_of(tables, mutated(tables)), "suffix": st.sampled_from(["csv", "tsv"])}),
    "parquet": (check, {"content": st.one_of(packed, mutated(packed)), "suffix": st.just("parquet")}),
}  # fmt: skip


def tools(given_tools: Any, answer: str, arguments: Any) -> None:
    """Schemas of callers, and calls held to them."""
    with in_time():
        try:
            known = read_tools(given_tools)
        except BadInput as error:
            told(error)
            return
        read_answer(answer, known)
        for tool in known:
            tool.problem(arguments)


schemas = st.dictionaries(st.sampled_from(["parameters", "inputSchema"]), values, max_size=1)
functions = st.builds(lambda name, rest: {"name": name, **rest}, st.sampled_from(["f", "g", "h.i"]), schemas)
PROPERTIES["tools"] = (
    tools,
    {
        "given_tools": either(st.lists(functions, max_size=3)),
        "answer": texts,
        "arguments": st.dictionaries(st.sampled_from(WORDS), values, max_size=4),
    },
)


def main(name: str, examples: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    function, strategies = PROPERTIES[name]
    quiet = settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    quiet(given(**strategies)(function))()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
