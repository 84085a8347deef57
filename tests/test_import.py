"""Import: whatever the file, good rows are kept, bad ones are named by line and reason, and nothing is half-stored."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith.datasets.formats import FORMATS, lines
from tunesmith.datasets.formats.columns import parse_mapping
from tunesmith.errors import BadInput, NotFound
from tunesmith.recipes import datasets
from tunesmith.store.workspace import Workspace
from tunesmith.tasks.conversation import Row, read_rows

pytestmark = pytest.mark.usefixtures("read_here")

CHAT = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}'
ASKED = [{"role": "user", "content": "q"}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "a"}]
WORSE = [{"role": "assistant", "content": "b"}]
BE = {"role": "system", "content": "be"}


def different(n: int) -> str:
    """Text that is like no other."""
    return hashlib.sha256(str(n).encode()).hexdigest()


def put(workspace: Workspace, content: str | bytes, filename: str = "rows.jsonl", **more: Any) -> dict[str, Any]:
    path = workspace.settings.home.parent / "upload"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return datasets.import_file(workspace, "letters", path, filename=filename, **more)


def kept(workspace: Workspace, report: dict[str, Any]) -> list[Row]:
    folder = workspace.artifacts.dataset(report["version"])
    return [row for split in report["splits"] for row in read_rows(folder / f"{split}.jsonl")]


def why(report: dict[str, Any]) -> list[tuple[int, str]]:
    return [(item["line"], item["code"]) for item in report["rejected"]]


def assert_nothing_is_stored(workspace: Workspace) -> None:
    assert datasets.list_datasets(workspace) == []
    for noun in ("datasets", "cache/scratch"):
        folder = workspace.artifacts.home / noun
        assert not folder.exists() or list(folder.iterdir()) == []


# -- formats ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "name", "messages"),
    [
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, "sharegpt", ANSWERED),
        (
            {"system": "be", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            "sharegpt",
            [BE, *ANSWERED],
        ),
        ({"messages": ANSWERED}, "messages", ANSWERED),
        ({"instruction": "q", "input": "", "output": "a"}, "alpaca", ANSWERED),
        ({"instruction": "q", "output": "a", "system": "be"}, "alpaca", [BE, *ANSWERED]),
        ({"instruction": "q", "output": "a", "history": [["q", "a"]]}, "alpaca", [*ANSWERED, *ANSWERED]),
        (
            {"instruction": "do", "input": "it", "output": "a"},
            "alpaca",
            [{"role": "user", "content": "do\nit"}, ANSWERED[1]],
        ),
        ({"prompt": "q", "completion": "a"}, "prompt_completion", ANSWERED),
        ({"prompt": ASKED, "completion": ANSWERED[1:]}, "prompt_completion", ANSWERED),
    ],
)
def test_every_format_is_detected(workspace: Workspace, data: Any, name: str, messages: Any) -> None:
    report = put(workspace, json.dumps(data))
    row = kept(workspace, report)[0]
    assert row.messages == messages
    assert row.provenance == {"file": "rows.jsonl", "line": 1, "format": name}
    assert (report["rows_in"], report["rows_kept"], report["rejected"]) == (1, 1, [])


@pytest.mark.parametrize(
    "data",
    [
        {"input": {"messages": ASKED}, "preferred_output": ANSWERED[1:], "non_preferred_output": WORSE},
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": ASKED, "chosen": ANSWERED[1:], "rejected": WORSE},
        {"prompt": "q", "chosen": ANSWERED, "rejected": [*ASKED, *WORSE]},
        {"chosen": ANSWERED, "rejected": [*ASKED, *WORSE]},
        {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"},
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"},
        },
    ],
)  # fmt: skip
def test_preference_pairs_teach_the_chosen_answer_and_keep_the_other(workspace: Workspace, data: Any) -> None:
    row = kept(workspace, put(workspace, json.dumps(data)))[0]
    assert (row.messages, row.rejected) == (ANSWERED, "b")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "no_preference"),
        ({"prompt": "q", "chosen": "a", "rejected": [BE]}, "bad_turn"),
        ({"chosen": ANSWERED, "rejected": [BE, *ANSWERED]}, "bad_turn"),
        ({"input": "q", "preferred_output": ANSWERED[1:], "non_preferred_output": ANSWERED[1:]}, "no_turns"),
        ({"instruction": "", "output": "a"}, "no_prompt"),
        ({"instruction": "q", "output": 7}, "not_text"),
        ({"instruction": "q", "output": "a", "history": "old"}, "bad_turn"),
        ({"prompt": "q", "completion": " "}, "empty_answer"),
        ({"messages": [{"role": "bot", "content": "q"}]}, "wrong_role"),
        ({"messages": [BE, BE, *ANSWERED]}, "two_system_prompts"),
        ({"messages": [*ASKED, BE, ANSWERED[1]]}, "wrong_order"),
        ({"messages": [*ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]}, "tool_calls"),
        ({"messages": [*ASKED, {"role": "assistant", "content": {"a": 1}}]}, "not_text"),
        ({"messages": [*ASKED, {"role": "assistant", "content": "a\0"}]}, "nul_byte"),
        ({"conversations": [{"from": "human", "value": "q"}]}, "no_answer"),
        ({"question": "q"}, "unknown_format"),
    ],
)
def test_a_row_that_cannot_be_learnt_is_listed_and_the_others_are_kept(
    workspace: Workspace, data: Any, code: str
) -> None:
    good = next(
        (f.write(Row(list(ANSWERED), rejected="b")) for f in FORMATS.values() if f.matches(data)), json.loads(CHAT)
    )
    report = put(workspace, "\n".join(map(json.dumps, [good, data])))
    assert why(report) == [(2, code)]
    assert report["rejected"][0]["reason"].startswith("Line 2 ")
    assert (report["rows_in"], report["rows_kept"]) == (2, 1)


def test_tool_turns_are_kept(workspace: Workspace) -> None:
    said = [*ASKED, {"role": "assistant", "content": "look()"}, {"role": "tool", "content": "7"}, ANSWERED[1]]
    assert kept(workspace, put(workspace, json.dumps({"messages": said})))[0].messages == said


# -- bad input, by name -----------------------------------------------------------------------------------------


def test_openais_rows_with_tools_teach_tool_use(workspace: Workspace) -> None:
    tool = {"type": "function", "function": {"name": "light", "parameters": {"type": "object", "properties": {}}}}
    call = {"id": "c", "type": "function", "function": {"name": "light", "arguments": "{}"}}
    lines = [
        {
            "messages": [
                {"role": "user", "content": different(n)},
                {"role": "assistant", "content": None, "tool_calls": [call]},
            ],
            "tools": [tool],
        }
        for n in range(30)
    ]
    report = put(workspace, "\n".join(map(json.dumps, lines)))
    assert (report["task"], report["rejected"]) == ("tool_use", [])
    assert all("<tool_call>" in row.answer and '"light"' in row.prompt[0]["content"] for row in kept(workspace, report))


def test_a_truncated_upload_keeps_the_whole_rows(workspace: Workspace) -> None:
    report = put(workspace, f"{CHAT}\n{CHAT[:40]}")
    assert why(report) == [(2, "cut_off")]


def test_a_line_of_any_length_is_refused_without_being_held_in_memory(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 200)
    report = put(workspace, CHAT + "\n" + "x" * 5000 + "\n" + CHAT.replace("q", "r") + "\n" + "y" * 201)
    assert why(report) == [(2, "too_long"), (4, "too_long")]
    assert report["rows_kept"] == 2


def test_a_mixed_file_stores_nothing(workspace: Workspace) -> None:
    with pytest.raises(BadInput, match="Line 2 is prompt_completion, but the lines before are messages") as caught:
        put(workspace, f'{CHAT}\n{{"prompt": "q", "completion": "a"}}')
    assert caught.value.error_code == "mixed_formats"
    assert_nothing_is_stored(workspace)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"\n \r\n", "empty_file"),
        (b"[]", "empty_file"),
        (b"hello\nworld", "nothing_readable"),
        (b"\x00\x01\x02", "nothing_readable"),
        (CHAT.encode("utf-16"), "unreadable_file"),
        (b"PK\x03\x04rest", "unreadable_file"),
        (b"PAR1 but not for long", "not_parquet"),
        (b'{"prompt": "q"}', "nothing_readable"),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_an_error(workspace: Workspace, content: bytes, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        put(workspace, content)
    assert caught.value.error_code == code
    assert caught.value.hint
    assert_nothing_is_stored(workspace)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (CHAT.encode().replace(b'"q"', b'"\xff"'), "not_utf8"),
        (CHAT.encode().replace(b'"q"', b'"\x00"'), "nul_byte"),
        (b'{"messages": [], "messages": []}', "duplicate_key"),
        (b'{"messages": [{"role": "user", "role": "user", "content": "q"}]}', "duplicate_key"),
        (b"[" * 100_000, "not_json"),
        (b"7", "not_an_object"),
        (b'{"weight": 1e999, ' + CHAT.encode()[1:], "bad_weight"),
    ],
)
@pytest.mark.parametrize("array", [False, True])
def test_a_line_that_is_no_record_is_named_alike_in_jsonl_and_in_an_array(
    workspace: Workspace, line: bytes, code: str, array: bool
) -> None:
    parts = [CHAT.encode(), line, CHAT.replace("q", "r").encode()]
    report = put(workspace, b"[" + b",\n".join(parts) + b"]" if array else b"\n".join(parts))
    assert why(report) == [(2, code)]
    assert report["rows_kept"] == (1 if array and code == "not_json" else 2)  # brackets cannot be told apart any more


def test_a_byte_order_mark_crlf_and_blank_lines_are_fine(workspace: Workspace) -> None:
    report = put(workspace, b"\xef\xbb\xbf" + f"{CHAT}\r\n\r\n \t\r\n{CHAT.replace('q', 'r')}\r\n".encode())
    assert (report["rows_kept"], report["rejected"]) == (2, [])
    assert [row.provenance["line"] for row in kept(workspace, report)] == [1, 4]


def test_right_to_left_text_and_emoji_stay_as_they_are(workspace: Workspace) -> None:
    text = "\u202bשלום עולם\u202c مرحبا 😀 e\u0301 \u2028 \ufeff"
    report = put(workspace, json.dumps({"prompt": text, "completion": text}, ensure_ascii=False))
    assert [m["content"] for m in kept(workspace, report)[0].messages] == [text, text]


def test_a_document_of_5_mb_is_a_row(workspace: Workspace) -> None:
    text = "Straße " * 700_000
    report = put(workspace, json.dumps({"prompt": text, "completion": "a"}, ensure_ascii=False))
    assert kept(workspace, report)[0].messages[0]["content"] == text


def test_a_reason_quotes_little_of_a_long_value_and_can_always_be_shown(workspace: Workspace) -> None:
    bad = json.dumps({"messages": [{"role": "\ud800" * 10_000, "content": "q"}]})
    reason = put(workspace, f"{CHAT}\n{bad}")["rejected"][0]["reason"]
    assert len(reason) < 400
    reason.encode()


# -- arrays and tables ------------------------------------------------------------------------------------------


def test_a_json_array_over_many_lines(workspace: Workspace) -> None:
    data = [{"prompt": different(n), "completion": "a"} for n in range(30)]
    report = put(workspace, json.dumps(data, indent=2), "rows.json")
    assert report["rows_kept"] == 30
    assert sorted(row.provenance["line"] for row in kept(workspace, report)) == list(range(2, 122, 4))


def test_a_json_array_is_read_in_pieces(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_BLOCK", 7)
    data = [{"prompt": f"ü {different(n)}", "completion": '[{]}\\"'} for n in range(1, 40)]
    report = put(workspace, json.dumps([*data, 12345], ensure_ascii=False))
    assert (report["rows_kept"], why(report)) == (39, [(1, "not_an_object")])


@pytest.mark.parametrize("end", ["", ",", ', {"prompt": "q', ', {"prompt": '])
def test_a_truncated_array_keeps_the_whole_rows(workspace: Workspace, end: str) -> None:
    report = put(workspace, '[{"prompt": "q",\n "completion": "a"}' + end)
    assert why(report) == [(2, "cut_off")]
    assert report["rows_kept"] == 1


def test_an_array_element_that_is_too_long_is_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 200)
    monkeypatch.setattr(lines, "_BLOCK", 50)
    report = put(workspace, f'[{CHAT},\n{{"messages": "{"x" * 9000}"}}]')
    assert why(report) == [(2, "too_long")]


@pytest.mark.parametrize(
    ("header", "mapping"),
    [
        ("prompt,completion", []),
        ("Question;Answer", []),
        ("text\tlabel", []),
        ("instruction,output", []),
        ("a,b", ["prompt=a", "completion=b"]),
        ("a,b", ['{"prompt": "a", "completion": "b"}']),
    ],
)
def test_csv_by_usual_names_or_by_a_mapping(workspace: Workspace, header: str, mapping: list[str]) -> None:
    text = header + "\n" + ("q", "a")[0] + header[next(i for i, c in enumerate(header) if c in ",;\t")] + "a\n"
    report = put(workspace, text, "rows.csv", mapping=parse_mapping(mapping))
    assert kept(workspace, report)[0].messages == ANSWERED


def test_csv_with_a_context_keeps_all_of_the_question(workspace: Workspace) -> None:
    report = put(workspace, "instruction,context,response\ndo,it,a\nq,,a\n", "rows.csv")
    assert [row.messages[0]["content"] for row in kept(workspace, report)] == ["do\nit", "q"]


def test_csv_rows_are_named_by_the_line_where_they_begin(workspace: Workspace, monkeypatch: Any) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 100)
    text = 'prompt,completion\n"one\ntwo","a ""quoted"", b"\n\nonly one\nq,\n' + "x" * 300 + ',a\nz,a\n"open,a\n'
    report = put(workspace, text, "rows.csv")
    assert why(report) == [(5, "wrong_columns"), (6, "empty_cell"), (7, "too_long"), (9, "not_csv")]
    rows = kept(workspace, report)
    assert [(row.messages[0]["content"], row.provenance["line"]) for row in rows] == [("one\ntwo", 2), ("z", 8)]
    assert rows[0].answer == 'a "quoted", b'


def test_csv_that_is_not_utf8_or_holds_nul_is_refused_by_line(workspace: Workspace) -> None:
    report = put(workspace, b"prompt,completion\nq,a\n\xe4,a\nq\x00,a\n", "rows.csv")
    assert why(report) == [(3, "not_utf8"), (4, "nul_byte")]


def test_optional_columns_may_be_empty(workspace: Workspace) -> None:
    report = put(workspace, "system,instruction,input,output,weight\n,q,,a,\nbe,q,,a,0.5\n", "rows.csv")
    rows = kept(workspace, report)
    assert [row.messages for row in rows] == [ANSWERED, [BE, *ANSWERED]]
    assert [row.weight for row in rows] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("content", "code"),
    [("a,b\nq,a\n", "unknown_columns"), ("prompt,prompt\nq,a\n", "bad_header"), ("prompt,completion\n", "empty_file")],
)
def test_a_table_that_means_nothing_is_an_error(workspace: Workspace, content: str, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        put(workspace, content, "rows.csv")
    assert caught.value.error_code == code
    assert_nothing_is_stored(workspace)


@pytest.mark.parametrize("given", [["prompt"], ["promt=a"], '{"prompt": 1}', "[1]", "{"])
def test_a_wrong_mapping_is_an_error(given: Any) -> None:
    with pytest.raises(BadInput) as caught:
        parse_mapping(given)
    assert caught.value.hint


def test_parquet(workspace: Workspace) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = workspace.settings.home.parent / "rows.parquet"
    table = {"messages": [ANSWERED, [BE, *ANSWERED], None], "weight": [None, 0.5, None]}
    parquet.write_table(arrow.table(table), path)
    report = put(workspace, path.read_bytes(), "rows.parquet")
    assert [row.messages for row in kept(workspace, report)] == [ANSWERED, [BE, *ANSWERED]]
    assert report["rejected"][0]["reason"].startswith("Row 3 ")
    table = {"question": ["q", "r"], "answer": [1, 2]}
    parquet.write_table(arrow.table(table), path)
    assert [row.answer for row in kept(workspace, put(workspace, path.read_bytes(), "rows.parquet"))] == ["1", "2"]
    with pytest.raises(BadInput, match="cut off"):
        put(workspace, path.read_bytes()[:-20], "rows.parquet")


# -- versions ---------------------------------------------------------------------------------------------------


def test_the_same_file_gives_the_same_version_once(workspace: Workspace) -> None:
    first, again = put(workspace, CHAT), put(workspace, CHAT)
    assert first["version"] == again["version"]
    assert [row.version for row in datasets.list_versions(workspace, "letters")] == [first["version"]]
    other = put(workspace, CHAT.replace("q", "r"))
    assert datasets.get_version(workspace, "letters").version == other["version"]
    assert datasets.get_version(workspace, "letters", first["version"][:8]).version == first["version"]
    put(workspace, CHAT)
    assert datasets.get_version(workspace, "letters").version == first["version"], "what was imported last is newest"
    assert len(datasets.list_versions(workspace, "letters")) == 2


def test_unknown_names_and_versions_say_what_there_is(workspace: Workspace) -> None:
    version = put(workspace, CHAT)["version"]
    with pytest.raises(NotFound) as name:
        datasets.get_version(workspace, "leters")
    assert "letters" in str(name.value.hint)
    with pytest.raises(NotFound) as missing:
        datasets.get_version(workspace, "letters", "x")
    assert version in str(missing.value.hint)
    with pytest.raises(BadInput):
        datasets.import_file(workspace, "../etc", Path("/dev/null"))


def test_a_csv_round_trips_through_python_csv(workspace: Workspace, tmp_path: Path) -> None:
    texts = ['comma, "quote"', "line\nbreak", "tab\t", "ü"]
    with (tmp_path / "x.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("prompt", "completion"), *((text, text) for text in texts)])
    rows = kept(workspace, put(workspace, (tmp_path / "x.csv").read_bytes(), "x.csv"))
    assert [row.answer for row in rows] == texts
