"""No single request stops everything: work and memory are bounded, whatever a caller or an upload asks for.

The bounds below tell minutes from moments; nothing is measured.
"""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastapi.testclient import TestClient

from tunesmith.api import keys, limits
from tunesmith.app import create_app
from tunesmith.datasets import formats, reading
from tunesmith.datasets.formats import lines, tables
from tunesmith.datasets.privacy import Guard, find
from tunesmith.datasets.synthetic.dialogues import tools_from
from tunesmith.errors import BadInput, TooLarge, TunesmithError
from tunesmith.jobs import limited
from tunesmith.recipes import datasets, files
from tunesmith.settings import Settings
from tunesmith.store.workspace import Workspace
from tunesmith.tasks import json_schema
from tunesmith.tasks.conversation import Message, Row
from tunesmith.tasks.extraction import Extraction
from tunesmith.tasks.sql_schema import statements
from tunesmith.tasks.template import Template
from tunesmith.tasks.tools import read_tools, tools_of

KEY = "admin-key"
CHAT = b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n'
CATASTROPHE = "^(a+)+$"
VICTIM = "a" * 60 + "!"  # 2^60 ways to share it between the two pluses


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(home=tmp_path / "home", admin_key=KEY, min_free_disk_mb=0, parts=tmp_path / "parts")
    workspace = Workspace.open(settings)
    keys.ensure_first_key(workspace)
    with TestClient(create_app(workspace=workspace), headers={"Authorization": f"Bearer {KEY}"}) as client:
        yield client


@contextmanager
def ends(seconds: float = 20) -> Iterator[None]:
    """A bound on time of the processor: what it guards against would need hours."""

    def stop(*_: Any) -> None:
        raise AssertionError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def tool(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", **parameters}}}]


# -- callers' patterns and schemas ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parameters",
    [
        {"additionalProperties": True, "patternProperties": {CATASTROPHE: {"type": "string"}}},
        {"additionalProperties": {"type": "integer"}, "patternProperties": {CATASTROPHE: {}}},
        {"additionalProperties": True, "unevaluatedProperties": False, "patternProperties": {CATASTROPHE: {}}},
        {"additionalProperties": True, "propertyNames": {"pattern": CATASTROPHE}},
        {"properties": {VICTIM: {"pattern": CATASTROPHE, "type": "string"}}},
        {"properties": {VICTIM: {"format": "regex"}}, "patternProperties": {CATASTROPHE: {}}},
    ],
)
def test_no_pattern_of_a_tool_is_run(parameters: dict[str, Any]) -> None:
    """One got through by way of `additionalProperties`: 22 characters took 0.25 s, and each more doubled it."""
    with ends():
        assert read_tools(tool(parameters))[0].problem({VICTIM: VICTIM}) is None


def test_no_pattern_of_a_recipe_is_run() -> None:
    schema = {
        "properties": {"a": {"type": "object", "additionalProperties": {"type": "string", "pattern": CATASTROPHE}}}
    }
    with ends():
        assert Extraction({"schema": schema}).score(json.dumps({"a": {VICTIM: VICTIM}}), "{}", []).format_ok


def test_our_own_patterns_still_count() -> None:
    task = Extraction({"schema": {"due": "date", "total": "money"}})
    assert task.score('{"due": "2024-01-31", "total": "3.50"}', "{}", []).format_ok
    assert not task.score('{"due": "31.01.2024", "total": "3.50"}', "{}", []).format_ok
    assert not task.score('{"due": "2024-01-31", "total": "3.5"}', "{}", []).format_ok


def test_what_is_additional_is_still_refused_where_no_pattern_says_otherwise() -> None:
    inner = {"type": "object", "properties": {"b": {}}, "additionalProperties": False}
    known = read_tools(tool({"properties": {"a": inner}}))[0]
    assert known.problem({"a": {"b": 1}}) is None
    assert "unexpected" in str(known.problem({"a": {"c": 1}}))


def chain(length: int) -> dict[str, Any]:
    """Each definition asks for the next twice: 2^length checks from a schema of a few lines."""
    twice = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(length)}
    return {"$defs": {**twice, f"a{length}": {}}, "$ref": "#/$defs/a0"}


def test_references_that_multiply_end_the_check() -> None:
    with ends():
        assert "too much work" in str(read_tools(tool(chain(60)))[0].problem({}))
        assert not json_schema.fits(json_schema.validator(chain(60)), {})
    assert json_schema.fits(json_schema.validator(chain(5)), {})


def test_nested_unevaluated_items_end_the_check() -> None:
    """Without any reference: each level is looked through twice by the one above."""
    schema: dict[str, Any] = {}
    for _ in range(60):
        schema = {"allOf": [schema], "unevaluatedItems": False}
    with ends():
        assert not json_schema.fits(json_schema.validator(schema), [])


def test_unique_items_are_compared_once() -> None:
    unique = json_schema.validator({"uniqueItems": True})
    with ends():
        assert json_schema.fits(unique, [{"n": n} for n in range(100_000)])
    assert not json_schema.fits(unique, [{"a": 1, "b": 2}, {"b": 2, "a": 1}])


def test_a_list_of_tools_has_a_size() -> None:
    many = {"properties": {f"p{n}": {"type": "string", "enum": ["a"]} for n in range(10_000)}}
    with ends(), pytest.raises(BadInput) as caught:
        read_tools(tool(many))
    assert caught.value.error_code == "invalid_tool"


def test_references_of_an_openapi_document_are_written_out_within_a_budget() -> None:
    """Six levels of twenty references each were 64 million nodes."""
    schemas = {
        f"S{level}": {"properties": {f"p{n}": {"$ref": f"#/components/schemas/S{level + 1}"} for n in range(20)}}
        for level in range(8)
    }
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/S0"}}}}
    with ends():
        [made] = tools_from({"paths": {"/n": {"post": {"requestBody": body}}}, "components": {"schemas": schemas}})
    assert len(json.dumps(made)) < 2**20
    assert made["parameters"]["properties"]["p0"]["properties"]["p0"]


# -- texts that were quadratic --------------------------------------------------------------------------------------


def test_openings_of_a_tool_list_without_an_end() -> None:
    system: Message = {"role": "system", "content": "<tools>\n" * 500_000}
    with ends():
        assert tools_of([system]) == []
    told: Message = {"role": "system", "content": '<tools>\n{"name": "f"}\n</tools> and more\n</tools>'}
    assert [found.name for found in tools_of([told])] == ["f"]


def test_a_template_with_many_places() -> None:
    place = "x{title}" * 20
    template = Template(f"A {place} B {{content}} C {place} D")
    with ends():
        assert template.content_of("A " + "x" * 200_000) == "A " + "x" * 200_000
        long = "A " + "x" * 100_000 + " B the text C " + "x" * 100_000 + " D"
        assert template.content_of(long) == "the text"


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ("T: t\nhello\nend", "hello"),
        ("T: \n\nend", ""),
        ("T: a\nb\nend\nc\nend", "b\nend\nc"),
        ("T: a\nend", "T: a\nend"),  # the line break cannot be both
        ("X: a\nb\nend", "X: a\nb\nend"),
        ("T: a\nb\nend.", "T: a\nb\nend."),
    ],
)
def test_a_template_takes_back_what_it_made(message: str, content: str) -> None:
    assert Template("T: {title}\n{content}\nend").content_of(message) == content


@pytest.mark.parametrize(
    "text", ["a-" * 100_000 + "://", "Tel." + " " * 200_000, "eyJaaaaaaaa-" * 20_000, "sk-a-" * 50_000]
)
def test_secrets_are_looked_for_in_linear_time(text: str) -> None:
    with ends():
        find(text)


def test_secrets_are_still_found() -> None:
    token = "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4"
    for text, kind in (
        (f"key-{token}", "token"),
        ("see my-scheme+x://me:hunter2@host", "url_password"),
        ("Tel.:  0170 1234567", "phone"),
        ("call +49 170 1234567 now", "phone"),
        ("sk-proj-abcdefghijklmnopqrstuv", "api_key"),
    ):
        assert kind in find(text), text
    row = Row([{"role": "user", "content": f"x {token}"}, {"role": "assistant", "content": "a"}])
    assert "[token]" in Guard().check(row).messages[0]["content"]


def test_keys_and_columns_that_come_twice_are_told_in_linear_time(tmp_path: Path) -> None:
    names = [f"k{n}" for n in range(100_000)]
    line = "{" + ", ".join(f'"{name}": 1' for name in [*names, "k99999"]) + "}\n"
    (tmp_path / "rows.csv").write_text(",".join([*names, "k99999"]) + "\n1\n", encoding="utf-8")
    with ends():
        [refused] = lines.json_lines([line.encode()])
        assert isinstance(refused, formats.Refused)
        assert "'k99999' twice" in refused.error.message
        with pytest.raises(BadInput, match="'k99999' twice"):
            list(tables.csv_records(tmp_path / "rows.csv"))


def test_an_insert_of_many_lines_ends_in_linear_time() -> None:
    rows = ",\n".join(f"({n})" for n in range(100_000))
    with ends():
        assert len(statements(f"INSERT INTO t VALUES\n{rows}\nThen a question?")) == 1
    assert statements("INSERT INTO t VALUES\n(1),\n \n(2)\nWhat?") == ["INSERT INTO t VALUES\n(1),\n \n(2)"]


# -- uploads --------------------------------------------------------------------------------------------------------


def bomb(path: Path, rows: int = 1000) -> Path:
    """A Parquet file of less than a kilobyte, with one text of a megabyte that every row shares."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    text = pyarrow.array(["x" * 2**20]).take(pyarrow.array([0] * rows))
    table = pyarrow.table({"prompt": text, "completion": pyarrow.array(["y"] * rows)})
    parquet.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 1000
    return path


def test_a_parquet_of_829_bytes_is_no_gigabyte(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="unpacks to more than 64 MB") as caught:
        datasets.import_file(workspace, "letters", bomb(tmp_path / "rows.parquet"))
    assert caught.value.error_code == "unpacks_too_large"
    assert list((workspace.artifacts.home / "cache" / "scratch").iterdir()) == []


def test_a_parquet_of_nothing_but_nulls_is_told_by_its_rows(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"prompt": pyarrow.nulls(20_000_000, pyarrow.string())}), path)
    with pytest.raises(TooLarge, match="unpacks"):
        list(formats.open_file(path, "rows.parquet"))


def test_a_reader_that_takes_too_much_memory_is_ended_and_its_file_refused(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": [' + b"{}," * 5_000_000 + b"{}]}\n")
    monkeypatch.setattr(reading, "_LEAST_MEMORY", 200 * 2**20)
    monkeypatch.setattr(reading, "_MEMORY_A_BYTE", 0)
    with pytest.raises(TooLarge) as caught:
        files.add_file(workspace, "rows.jsonl", "fine-tune", [path.read_bytes()])
    assert caught.value.error_code == "takes_too_much_memory"
    assert list((workspace.artifacts.home / "files").iterdir()) == []
    assert psutil.Process().children(recursive=True) == []


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("while True: pass", "takes_too_long"),
        ("found = bytearray(2**30)", "takes_too_much_memory"),
        ("import os; os.kill(os.getpid(), 11)", "unreadable_file"),
    ],
)
def test_a_reader_that_does_not_come_back_is_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, wanted: str
) -> None:
    (tmp_path / "stuck_reader.py").write_text(f"def read():\n    {code}\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    bounds = limited.Limits(0.5 if wanted == "takes_too_long" else 60, 400 * 2**20)
    with pytest.raises(TunesmithError) as caught:
        limited.run("stuck_reader:read", {}, folder=tmp_path, limits=bounds)
    assert caught.value.error_code == wanted
    assert 400 <= caught.value.status < 500
    assert psutil.Process().children(recursive=True) == []


def test_what_a_reader_says_comes_over_whole(workspace: Workspace) -> None:
    with pytest.raises(BadInput) as caught:
        files.add_file(workspace, "rows.jsonl", "fine-tune", [CHAT, b"{not json}\n"])
    error = caught.value
    assert (error.error_code, error.param, error.status) == ("bad_line", "file", 400)
    assert "Line 2" in error.message
    assert error.hint
    assert files.add_file(workspace, "rows.jsonl", "fine-tune", [CHAT]).report["rows"] == 1


# -- requests -------------------------------------------------------------------------------------------------------


def test_the_key_is_checked_before_the_body(client: TestClient) -> None:
    """4 MB of `{},` took 125 MB before anybody asked for a key."""

    def body() -> Iterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    for path in ("/v1/chat/completions", "/v1/files", "/v1/nothing", "/v1/tools/list_models", "/mcp"):
        response = client.post(path, content=body(), headers={"Authorization": "Bearer wrong"})
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
        openai = path in ("/v1/chat/completions", "/v1/files")
        code = response.json()["error"]["code"] if openai else response.json()["code"]
        assert code == "unauthorized"
    for path in limits.OPEN:  # open to be read, and no way around for what is sent
        response = client.post(path, content=body(), headers={"Authorization": ""})
        assert response.status_code == 401, path


def test_what_says_what_the_service_can_do_needs_no_key(client: TestClient) -> None:
    for path in (*limits.OPEN, "/openapi.json", "/docs", "/healthz"):
        assert client.get(path, headers={"Authorization": ""}).status_code == 200, path


@pytest.mark.parametrize("path", ["/v1/recipes", "/v1/chat/completions", "/mcp"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"[" + b"{}," * 150_000 + b"{}]", 413, "too_many_values"),
        (b'{"a": [' + b'"",' * 150_000 + b'""]}', 413, "too_many_values"),
        (b'{"a": ' * 300 + b"1" + b"}" * 300, 400, "too_deep"),
        (b"[" * 4_000_000, 413, "too_many_values"),
        (("[" + "{}," * 150_000 + "{}]").encode("utf-16"), 413, "too_many_values"),
        (b'{"name": "' + b"x" * (4 * 2**20) + b'"}', 413, "too_large"),
    ],
)
def test_json_is_weighed_before_it_is_parsed(
    client: TestClient, path: str, body: bytes, status: int, code: str
) -> None:
    response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    said = response.json()
    assert said.get("error", said)["code"] == code


@pytest.mark.parametrize(
    "value",
    [
        {"rows": json.dumps([{"a": "\\", "b": 'x"y,{[:'}] * 50_000)},  # a text of many marks is one value
        {"rows": '\\"' * 200_000},
        [[[1, "a"], {"b": None}]] * 1000,
        "",
    ],
)
def test_a_large_text_is_one_value(value: Any) -> None:
    limits.weigh(json.dumps(value).encode())


def test_a_form_has_one_file_and_small_fields(client: TestClient) -> None:
    """A thousand fields of a megabyte were held in memory."""
    file = ("file", ("rows.jsonl", CHAT))
    assert client.post("/v1/files", files=[file], data={"purpose": "fine-tune"}).status_code == 200
    for more in ({"files": [file, file]}, {"files": [file], "data": {"purpose": "x" * 2**17}}):
        assert client.post("/v1/files", **more).status_code == 400  # type: ignore[arg-type]


def test_an_upload_by_a_key_without_train_is_refused_before_it_is_read(client: TestClient) -> None:
    workspace = client.app.state.workspace  # type: ignore[attr-defined]
    headers = {"Authorization": f"Bearer {keys.create_key(workspace, 'reader', ['read'])}"}
    refused = client.post("/v1/files", files={"file": ("rows.jsonl", CHAT)}, headers=headers)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "forbidden"


def test_errors_of_limits_say_what_to_do() -> None:
    for error in (limits._too_large(2**20), limits._too_many(), limited._too_much_memory(2**20)):
        assert isinstance(error, TunesmithError)
        assert error.hint
