"""A prompt in another program's own words: a text with places, as that program fills them in.

`{content}` and `{filename}` as in Python, or `{{ .Content }}` as in Go: the text that Paperless-ngx prints, or the file
that paperless-gpt reads, is taken as it is.
"""

import re
from collections.abc import Mapping

from tunesmith.errors import BadInput
from tunesmith.tasks.prompting import neutral

_PLACE = re.compile(r"\{\{-?\s*\.(\w+)\s*-?\}\}|\{(\w+)\}")
_NAMES = {
    "content": "content",
    "filename": "filename",
    "title": "title",
    "createddate": "created",
    "created": "created",
    "documenttype": "document_type",
    "language": "language",
    "customfieldsxml": "custom_fields",
    "customfields": "custom_fields",
}


class Template:
    """`text` has exactly one place for the content. Raises BadInput for one without, or with a place nobody knows."""

    def __init__(self, text: str):
        self.text = text.strip()
        self._parts: list[str] = []
        self._places: list[str] = []
        start = 0
        for match in _PLACE.finditer(self.text):
            name = _NAMES.get((match[1] or match[2]).replace("_", "").casefold())
            if name is None and match[2]:
                continue  # braces of an example
            if name is None:
                raise BadInput(f"The prompt has a place {match[0]} that is not known.", param="task.prompt", hint=_HINT)
            self._parts.append(self.text[start : match.start()])
            self._places.append(name)
            start = match.end()
        self._parts.append(self.text[start:])
        if self._places.count("content") != 1:
            raise BadInput("The prompt needs one place for the document's text.", param="task.prompt", hint=_HINT)
        self._content = self._places.index("content")

    def filled(self, values: Mapping[str, str]) -> str:
        """The prompt; what is not in `values` stays empty."""
        places = [neutral(values.get(name, "")) for name in self._places]
        return "".join(p + v for p, v in zip(self._parts, [*places, ""], strict=True)).strip()

    def with_fixed(self, values: Mapping[str, str]) -> str:
        """The template's text with some places filled for good."""
        places = [values.get(name, f"{{{name}}}") for name in self._places]
        return "".join(p + v for p, v in zip(self._parts, [*places, ""], strict=True))

    def content_of(self, message: str) -> str:
        """The document inside a message that was made so; any other message is its own document.

        What stands before it is looked for from the start, what stands after it from the end: a pattern would try every
        way to share the text among the places.
        """
        before, after = self._parts[: self._content + 1], self._parts[self._content + 1 :]
        if not message.startswith(before[0]) or not message.endswith(after[-1]):
            return message
        start, end = len(before[0]), len(message) - len(after[-1])
        for part in before[1:]:
            found = message.find(part, start)
            if found < 0:
                return message
            start = found + len(part)
        for part in reversed(after[:-1]):
            end = message.rfind(part, 0, max(end, 0))
            if end < 0:
                return message
        return message[start:end] if start <= end else message


_HINT = "Places: {content}, {filename}, {title}, {created}, {document_type}, {language}, {custom_fields}."
