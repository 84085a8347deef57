"""Uploads: what is read, and what is said about a wrong line."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith.datasets.formats import FORMATS, FileReport, parse_upload, validate_file
from tunesmith.datasets.formats import lines as format_lines
from tunesmith.errors import BadInput


def chat(*turns: tuple[str, Any], **more: Any) -> str:
    return json.dumps({"messages": [{"role": r, "content": c} for r, c in turns], **more})


GOOD = chat(("user", "q"), ("assistant", "a"))
SHAREGPT = '{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}'


def rows(*lines: str | bytes) -> list[Any]:
    return list(parse_upload([(x.encode() if isinstance(x, str) else x) + b"\n" for x in lines]))


def test_both_forms_give_the_same_rows() -> None:
    assert rows(GOOD)[0].messages == rows(SHAREGPT)[0].messages == [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    ]  # fmt: skip


def test_what_openai_allows() -> None:
    row = rows(chat(("developer", "s"), ("user", [{"type": "text", "text": "q"}]), ("assistant", "a"), weight=0.5))[0]
    assert row.messages[0] == {"role": "system", "content": "s"}
    assert row.messages[1]["content"] == "q"
    assert row.weight == 0.5


def test_blank_lines_a_byte_order_mark_and_no_last_newline_are_fine() -> None:
    assert len(list(parse_upload([b"\xef\xbb\xbf" + GOOD.encode() + b"\n", b"\n", b"  \r\n", GOOD.encode()]))) == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("not json", "is not JSON"),
        ("[1]", "no object"),
        ('{"prompt": "x", "completion": "y"}', "prompt, completion"),
        ('{"messages": []}', "no list of turns"),
        ('{"messages": "x"}', "no list of turns"),
        (chat(("user", "q")), "ends with a turn of 'user'"),
        (chat(("user", "q"), ("assistant", " ")), "empty answer"),
        (chat(("assistant", "a")), "no user turn"),
        (chat(("bot", "q"), ("assistant", "a")), "'bot'"),
        (chat(("user", None), ("assistant", "a")), "not text"),
        (chat(("user", [{"type": "image_url"}]), ("assistant", "a")), "not text"),
        (chat(("system", "a"), ("system", "b"), ("user", "q"), ("assistant", "a")), "two system prompts"),
        (chat(("user", "q"), ("system", "b"), ("assistant", "a")), "in the middle"),
        ('{"messages": [{"role": "user"}]}', "lacks 'role' or 'content'"),
        (SHAREGPT, "is sharegpt, but the lines before are messages"),
        (chat(("user", "q"), ("assistant", "a"), weight="much"), "weight"),
        (b"\xff\xfe{", "not UTF-8 at byte 0"),
        (GOOD[:20].encode() + b"\x00" + GOOD[20:].encode(), "NUL"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_wrong_line_is_named(line: str | bytes, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        rows(GOOD, GOOD, line)
    assert "Line 3 " in caught.value.message
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"conversations": [{"from": "gpt"}]}', "turn 1 lacks 'from' or 'value'"),
        ('{"conversations": [{"from": "bot", "value": "x"}]}', "'bot'"),
    ],
)
def test_a_wrong_sharegpt_line_is_named(line: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        rows(SHAREGPT, line)
    assert says in caught.value.message


def test_a_file_that_was_cut_off() -> None:
    with pytest.raises(BadInput, match="Line 2 is cut off"):
        list(parse_upload([GOOD.encode() + b"\n", GOOD[:30].encode()]))


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("\n\n")
    with pytest.raises(BadInput) as caught:
        validate_file(tmp_path / "x.jsonl")
    assert caught.value.error_code == "empty_file"


def test_a_line_without_end_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(format_lines, "MAX_LINE", 1000)
    (tmp_path / "x.jsonl").write_bytes(b"x" * 5_000)
    with pytest.raises(BadInput, match="longer than"):
        validate_file(tmp_path / "x.jsonl")


def test_the_report_of_a_file(tmp_path: Path) -> None:
    lines = [GOOD, chat(("system", "be"), ("user", "long question"), ("assistant", "a"))]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    assert validate_file(tmp_path / "x.jsonl") == FileReport(2, "messages", 1, 16)


def test_reading_is_streaming(tmp_path: Path) -> None:
    with (tmp_path / "x.jsonl").open("w") as out:
        for _ in range(3):
            out.write(GOOD + "\n")
        out.write("broken\n")
    stream = parse_upload(tmp_path / "x.jsonl")
    assert [next(stream).answer for _ in range(3)] == ["a", "a", "a"]  # the broken line has not been looked at


def test_openais_weight_0_marks_answers_that_are_only_read() -> None:
    turns = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e"), ("assistant", "f")]
    line = json.loads(chat(*turns))
    line["messages"][1]["weight"] = line["messages"][5]["weight"] = 0
    (row,) = rows(json.dumps(line))
    assert [m["content"] for m in row.messages] == ["a", "b", "c", "d"]
    assert row.unlearnt == [1]
    for known in ("sharegpt", "messages"):
        assert rows(json.dumps(FORMATS[known].write(row)))[0].unlearnt == [1]
    line["messages"][3]["weight"] = 0
    with pytest.raises(BadInput, match="weight 0 on every answer"):
        rows(json.dumps(line))
