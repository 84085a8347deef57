"""How a task asks about a document: short (every token costs training time), with the document delimited as data."""

from collections.abc import Sequence

from tunesmith.tasks.control import COMMON, neutralise
from tunesmith.tasks.schema import Field

_ASK = "Extract the key fields from this document:\n<document>\n"
CLASSIFY = "Classify this document:\n<document>\n"
_END = "\n</document>"
_OMITTED = "\n[…]\n"
_FORMATS = {"date": "YYYY-MM-DD", "money": "0.00", "integer": "integer", "number": "number", "boolean": "true/false"}


def system_prompt(fields: Sequence[Field]) -> str:
    described = []
    for f in fields:
        detail = "|".join(map(str, f.choices)) if f.kind == "enum" else _FORMATS.get(f.kind, "")
        described.append(f"{f.name} ({detail})" if detail else f.name)
    return f"Answer with one JSON object: {', '.join(described)}. A missing value is null."


def user_prompt(text: str, limit: int, ask: str = _ASK) -> str:
    """The document, delimited as data, below what is asked of it."""
    return ask + neutral(shorten(text.strip(), limit)) + _END


def shorten(text: str, limit: int) -> str:
    """At most `limit` characters (plus a mark): two thirds from the head, the rest from the tail."""
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    return text[:head] + _OMITTED + text[-(limit - head) :]


def neutral(text: str) -> str:
    """The text unable to end its delimiter or to write the control tokens of well-known chat templates; those of the
    base model itself are put apart where it is known, see `control`."""
    return neutralise(text.replace("\x00", ""), ("</document>", *COMMON))


def document_of(message: str) -> str:
    """The document inside a message that `user_prompt` made; any other message is its own document."""
    if message.startswith(_ASK) and message.endswith(_END):
        return message[len(_ASK) : -len(_END)]
    return message
