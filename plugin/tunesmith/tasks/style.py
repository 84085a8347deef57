"""How the training answers write their JSON: spacing, indentation, escapes, a code fence. One style, kept exactly."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tunesmith import json_safely

_NUMBER = re.compile(r'("(?:[^"\\]|\\[\s\S])*(?:"|\\?\Z))|-?\d[\d.eE+-]*')
_FENCE = re.compile(r"\A```[A-Za-z]*\n(.*?)\n?```\Z", re.DOTALL)


@dataclass(frozen=True)
class Style:
    item: str = ", "
    key: str = ": "
    indent: str | None = None
    ascii: bool = False  # non-ASCII characters written as \uXXXX
    fence: str | None = None  # the first line of a code fence, such as ```json

    def dump(self, value: Any) -> str:
        body = json.dumps(
            value, ensure_ascii=self.ascii, indent=self.indent, separators=(self.item, self.key), allow_nan=False
        )
        return f"{self.fence}\n{body}\n```" if self.fence else body

    def plain(self, value: Any) -> str:
        """A bare value, such as a key or a choice."""
        return json.dumps(value, ensure_ascii=self.ascii)

    def text(self, value: str) -> str:
        """The inside of a JSON string."""
        return self.plain(value)[1:-1]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


_PLAIN = [
    *(Style(item, key) for item, key in ((", ", ": "), (",", ":"), (", ", ":"), (",", ": "))),
    *(Style(",", key, indent) for indent in ("  ", "    ", "\t", " ") for key in (": ", ":")),
    Style(",", ": ", ""),
]


def parse_object(answer: str, fenced: bool = False) -> dict[str, Any] | None:
    """The one JSON object that the answer is, else None. With `fenced`, a code fence around it is fine."""
    value = _parse(answer, fenced)
    return value if isinstance(value, dict) else None


def parse_pairs(answer: str, fenced: bool = False) -> dict[str, Any] | None:
    """The same for an array of {field, value}, each field once."""
    value = _parse(answer, fenced)
    if not isinstance(value, list) or not all(isinstance(v, dict) and set(v) == {"field", "value"} for v in value):
        return None
    found = {str(item["field"]): item["value"] for item in value}
    return found if len(found) == len(value) else None


def _parse(answer: str, fenced: bool) -> Any:
    text = answer.strip()
    if fenced and (match := _FENCE.match(text)):
        text = match[1]
    try:
        return json_safely.loads(text, largest=json_safely.ANY_INTEGER)
    except json_safely.NotJson:
        return None


def find_style(answers: Sequence[str]) -> tuple[Style, float]:
    """The style that reproduces most answers, and the share of answers that it reproduces (0 to 1)."""
    sample = answers[:: max(1, len(answers) // 300)]
    fence = next((a.strip().split("\n", 1)[0] for a in sample if a.strip().startswith("```")), None)
    parsed = [(_even(a.strip()), o) for a in sample if (o := parse_object(a, fenced=True)) is not None]
    best, share = Style(), 0.0
    for style in _variants(fence):
        hits = sum(_even(style.dump(value)) == text for text, value in parsed) / max(1, len(sample))
        if hits > share:
            best, share = style, hits
    return best, share


def _even(text: str) -> str:
    """JSON with every number alike: 10.50 is no matter of style, and is lost in reading."""
    return _NUMBER.sub(lambda match: match[1] or "0", text)


def _variants(fence: str | None) -> Iterable[Style]:
    for plain in _PLAIN:
        for ascii_ in (False, True):
            yield Style(plain.item, plain.key, plain.indent, ascii_, fence)
