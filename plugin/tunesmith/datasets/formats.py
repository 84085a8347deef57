"""Uploaded conversations: ShareGPT and OpenAI chat JSONL, read a line at a time, with errors that name the line."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from tunesmith.errors import BadInput
from tunesmith.tasks.conversation import Message, Role, Row

MAX_LINE = 16 * 1024 * 1024  # bytes
Format = Literal["sharegpt", "messages"]
_SHAREGPT: dict[str, Role] = {
    "system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
    "tool": "tool", "observation": "tool",
}  # fmt: skip
_ROLES = ("system", "developer", "user", "assistant", "tool")
_HINTS: dict[Format, str] = {
    "sharegpt": '{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}',
    "messages": '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}',
}


@dataclass(frozen=True)
class FileReport:
    """What a checked file holds."""

    rows: int
    format: str  # sharegpt, messages or documents
    system_prompts: int  # rows with one
    longest: int  # characters of the longest row

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def numbered_lines(source: Path | Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """(line number from 1, text) of every line that is not blank. Raises BadInput on bytes that are no text."""
    if isinstance(source, Path):
        with source.open("rb") as stream:
            yield from numbered_lines(_bounded(stream))
        return
    for number, raw in enumerate(source, start=1):
        if len(raw) > MAX_LINE:
            raise _wrong(number, f"is longer than {MAX_LINE >> 20} MB", "Is this JSONL? One JSON object a line.")
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if b"\x00" in raw:
            raise _wrong(number, "holds a NUL byte", "Save the file as UTF-8 (not UTF-16), without binary data.")
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _wrong(number, f"is not UTF-8 at byte {error.start}", "Save the file as UTF-8.") from error
        if text.strip():
            yield number, text


def _bounded(stream: Any) -> Iterator[bytes]:
    """Lines of a binary stream; never more than one line limit in memory."""
    while raw := stream.readline(MAX_LINE + 1):
        yield raw


def parse_upload(source: Path | Iterable[bytes]) -> Iterator[Row]:
    """Rows of a ShareGPT or OpenAI chat file, in order, streaming. Raises BadInput at the first wrong line."""
    seen: Format | None = None
    for number, text in numbered_lines(source):
        data = _object(number, text)
        found: Format = "sharegpt" if "conversations" in data else "messages"
        if seen and found != seen:
            raise _wrong(number, f"is {found}, but the lines before are {seen}", f"Keep to one form: {_HINTS[seen]}.")
        seen = found
        yield _row(number, data, found)
    if seen is None:
        raise BadInput("The file holds no rows.", code="empty_file", hint=f"One line each: {_HINTS['messages']}.")


def validate_file(path: Path) -> FileReport:
    """Reads the whole file once. Raises BadInput naming the first wrong line."""
    count = systems = longest = 0
    for row in parse_upload(path):
        count += 1
        systems += row.messages[0]["role"] == "system"
        longest = max(longest, sum(len(m["content"]) for m in row.messages))
    with path.open("rb") as stream:
        first = next(text for _, text in numbered_lines(_bounded(stream)))
    return FileReport(count, "sharegpt" if "conversations" in json.loads(first) else "messages", systems, longest)


def _object(number: int, text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not text.endswith("\n"):
            raise _wrong(
                number, f"is cut off ({error})", "The file ends in the middle of a row: upload it again."
            ) from error
        raise _wrong(number, f"is not JSON ({error})", f"Each line is one object: {_HINTS['messages']}.") from error
    if not isinstance(data, dict) or not ({"conversations", "messages"} & set(data)):
        shown = f"an object with {', '.join(list(data)[:5]) or 'no keys'}" if isinstance(data, dict) else "no object"
        raise _wrong(number, f"is {shown}", f"Each line is {_HINTS['messages']} or {_HINTS['sharegpt']}.")
    return data


def _row(number: int, data: Mapping[str, Any], form: Format) -> Row:
    turns = data["conversations" if form == "sharegpt" else "messages"]
    if not isinstance(turns, list) or not turns:
        raise _wrong(number, "has no list of turns", f"Write {_HINTS[form]}.")
    messages = [_message(number, index, turn, form) for index, turn in enumerate(turns, start=1)]
    _check_order(number, messages)
    provenance = data.get("provenance")
    weight = data.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 100:
        raise _wrong(number, f"has the weight {weight!r}", "A weight is a number from 0 to 100.")
    return Row(messages, dict(provenance) if isinstance(provenance, Mapping) else {}, float(weight))


def _message(number: int, index: int, turn: Any, form: Format) -> Message:
    who, what = ("from", "value") if form == "sharegpt" else ("role", "content")
    if not isinstance(turn, Mapping) or who not in turn or what not in turn:
        raise _wrong(number, f"turn {index} lacks {who!r} or {what!r}", f"Write {_HINTS[form]}.")
    name, content = turn[who], turn[what]
    if isinstance(content, list) and all(isinstance(p, Mapping) and p.get("type") == "text" for p in content):
        content = "".join(str(p.get("text", "")) for p in content)
    if not isinstance(content, str):
        raise _wrong(
            number, f"turn {index}: {what!r} is {type(content).__name__}, not text", "Only text can be learnt."
        )
    known = _SHAREGPT if form == "sharegpt" else dict.fromkeys(_ROLES)
    if name not in known:
        raise _wrong(number, f"turn {index}: {who!r} is {name!r}", f"Use one of: {', '.join(known)}.")
    role = _SHAREGPT[name] if form == "sharegpt" else cast(Role, "system" if name == "developer" else name)
    return {"role": role, "content": content}


def _check_order(number: int, messages: list[Message]) -> None:
    roles = [m["role"] for m in messages]
    if "system" in roles[1:]:
        two = roles.count("system") > 1
        raise _wrong(
            number,
            "has two system prompts" if two else "has its system prompt in the middle",
            "At most one, as the first turn.",
        )
    if "user" not in roles:
        raise _wrong(number, "has no user turn", "A row is a question and its answer.")
    if roles[-1] != "assistant":
        raise _wrong(number, f"ends with a turn of {roles[-1]!r}", "The last turn is the answer that is learnt.")
    if not messages[-1]["content"].strip():
        raise _wrong(number, "has an empty answer", "Leave the row out, or write what the model should say.")


def _wrong(number: int, what: str, hint: str) -> BadInput:
    return BadInput(f"Line {number} {what}.", code="bad_line", hint=hint, param="file")
