"""JSON from a file, a line or an array element at a time: never more than one of them in memory."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from tunesmith.datasets.formats.base import Record, Refused, Wrong
from tunesmith.errors import BadInput

MAX_LINE = 16 * 1024 * 1024  # bytes of one row
_BLOCK = 1 << 20
BOM = b"\xef\xbb\xbf"
_NOT_UTF8 = re.compile(r"[\udc80-\udcff]")  # what a wrong byte becomes under surrogateescape
_GAP = re.compile(r"[\s,]*")
_JSON_HINT = "Each line is one JSON object."


class _Twice(ValueError):
    """A key that an object has twice: one of its values would be lost."""


def numbered_lines(source: Path | Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """(line number from 1, text) of every line that is not blank. Raises BadInput on bytes that are no text."""
    for item in text_lines(source):
        if isinstance(item, Refused):
            raise strict(item)
        yield item


def strict(refused: Refused) -> BadInput:
    """The error of an upload that is taken whole or not at all: one stable code for any wrong line."""
    return BadInput(refused.error.message, code="bad_line", hint=refused.error.hint, param="file")


def text_lines(source: Path | Iterable[bytes]) -> Iterator[tuple[int, str] | Refused]:
    """As `numbered_lines`; a line that is too long or no text is refused, and reading goes on after it."""
    if isinstance(source, Path):
        with source.open("rb") as stream:
            yield from text_lines(bounded(stream))
        return
    for number, raw in enumerate(source, start=1):
        try:
            text = _decode(raw.removeprefix(BOM) if number == 1 else raw)
        except Wrong as wrong:
            yield Refused(number, wrong.at(number))
            continue
        if text.strip():
            yield number, text


def bounded(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines of a binary stream. Of one that is longer than the limit, only the start: the rest is passed over."""
    while raw := stream.readline(MAX_LINE + 1):
        if len(raw) > MAX_LINE:
            end = raw
            while end and not end.endswith(b"\n"):
                end = stream.readline(_BLOCK)
        yield raw


def _decode(raw: bytes) -> str:
    if len(raw) > MAX_LINE:
        raise too_long()
    if b"\x00" in raw:
        raise _nul()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Wrong(f"is not UTF-8 at byte {error.start}", "Save the file as UTF-8.", "not_utf8") from error


def too_long() -> Wrong:
    return Wrong(f"is longer than {MAX_LINE / 2**20:.0f} MB", "Is this JSONL? One JSON object a line.", "too_long")


def _nul() -> Wrong:
    return Wrong("holds a NUL byte", "Save the file as UTF-8 (not UTF-16), without binary data.", "nul_byte")


def check_text(text: str) -> None:
    """For text decoded with surrogateescape. Raises Wrong for what `text_lines` would refuse."""
    if len(text) > MAX_LINE:
        raise too_long()
    if "\x00" in text:
        raise _nul()
    if _NOT_UTF8.search(text):
        raise Wrong("is not UTF-8", "Save the file as UTF-8.", "not_utf8")


def json_lines(source: Path | Iterable[bytes]) -> Iterator[Record | Refused]:
    """One JSON object a line."""
    for item in text_lines(source):
        if isinstance(item, Refused):
            yield item
            continue
        number, text = item
        try:
            yield Record(number, _object(_parse(text)))
        except Wrong as wrong:
            yield Refused(number, wrong.at(number))


def _parse(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except _Twice as error:
        raise _twice(error) from error
    except (ValueError, RecursionError) as error:
        if not text.endswith("\n"):
            hint = "The file ends in the middle of a row: upload it again."
            raise Wrong(f"is cut off ({error})", hint, "cut_off") from error
        raise Wrong(f"is not JSON ({error})", _JSON_HINT, "not_json") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice(first_twice(name for name, _ in pairs))
    return found


def first_twice(names: Iterable[str]) -> str | None:
    """The first name that comes again."""
    counts = Counter(names)  # in the order of their first coming
    return next((name for name, count in counts.items() if count > 1), None)


def _twice(error: _Twice) -> Wrong:
    return Wrong(f"has the key {str(error)!r} twice", "Which one counts? Keep one.", "duplicate_key")


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Wrong("is no object", _JSON_HINT, "not_an_object")
    return data


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, strict=False)
_PLAIN = json.JSONDecoder(strict=False)


def json_array(path: Path) -> Iterator[Record | Refused]:
    """The objects of one JSON array. After an element that is no JSON nothing can be told apart: reading ends there."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        window = _Window(stream)
        window.skip(_GAP)
        window.step()  # over the bracket
        while True:
            window.skip(_GAP)
            if not window.rest():
                yield Refused(window.line, _cut_off().at(window.line))
                return
            if window.rest() == "]":
                return
            line = window.line
            try:
                yield Record(line, _object(window.element()))
            except _Broken as broken:
                yield Refused(line, broken.at(line))
                return
            except Wrong as wrong:
                yield Refused(line, wrong.at(line))


class _Broken(Wrong):
    """Nothing after this can be read."""


def _cut_off() -> _Broken:
    return _Broken("is cut off: the array does not end", "Upload the whole file again.", "cut_off")


class _Window:
    """A stretch of a text stream, moved on as its start is used up."""

    def __init__(self, stream: IO[str]):
        self._stream, self._text, self._at = stream, "", 0
        self.line = 1

    def rest(self) -> str:
        """The next character; empty at the end of the stream."""
        return self._text[self._at : self._at + 1]

    def skip(self, pattern: re.Pattern[str]) -> None:
        """Move on over what matches, and on while nothing else is left to look at."""
        while True:
            found = pattern.match(self._text, self._at)
            if found:
                self._move(found.end())
            if self.rest() or not self._more():
                return

    def step(self) -> None:
        self._move(self._at + 1)

    def element(self) -> Any:
        """The JSON value at the start. Raises Wrong for one that is refused, _Broken when its end cannot be told."""
        while True:
            start = self._at
            try:
                value, end = self._decoded()
            except (ValueError, RecursionError) as error:
                if isinstance(error, RecursionError):
                    raise _Broken(f"is not JSON ({error})", "What follows was not read.", "not_json") from error
                if len(self._text) - start > MAX_LINE:
                    raise _Broken(f"{too_long().what}, or a bracket is missing", "Mend it.", "too_long") from error
                if self._more():
                    continue
                raise self._broken(error) from error
            if end == len(self._text) and not isinstance(value, dict | _Twice) and self._more():
                continue  # a number may go on
            text = self._text[start:end]
            self._move(end)
            check_text(text)
            if isinstance(value, _Twice):
                raise _twice(value)
            return value

    def _decoded(self) -> tuple[Any, int]:
        try:
            return _STRICT.raw_decode(self._text, self._at)
        except _Twice as twice:
            return twice, _PLAIN.raw_decode(self._text, self._at)[1]

    def _broken(self, error: ValueError) -> _Broken:
        at_end = getattr(error, "pos", 0) >= len(self._text.rstrip()) or "Unterminated" in str(error)
        return _cut_off() if at_end else _Broken(f"is not JSON ({error})", "What follows was not read.", "not_json")

    def _move(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        """Read on, at least as much as is unread; False at the end of the stream."""
        chunk = self._stream.read(max(_BLOCK, len(self._text) - self._at))
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)
