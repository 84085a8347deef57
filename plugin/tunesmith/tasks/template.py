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
        groups = ["(.*)" if name == "content" else ".*?" for name in self._places]
        pattern = "".join(re.escape(p) + g for p, g in zip(self._parts, [*groups, ""], strict=True))
        self._pattern = re.compile(pattern, re.DOTALL)

    def filled(self, values: Mapping[str, str]) -> str:
        """The prompt; what is not in `values` stays empty."""
        places = [neutral(values.get(name, "")) for name in self._places]
        return "".join(p + v for p, v in zip(self._parts, [*places, ""], strict=True)).strip()

    def with_fixed(self, values: Mapping[str, str]) -> str:
        """The template's text with some places filled for good."""
        places = [values.get(name, f"{{{name}}}") for name in self._places]
        return "".join(p + v for p, v in zip(self._parts, [*places, ""], strict=True))

    def content_of(self, message: str) -> str:
        """The document inside a message that was made so; any other message is its own document."""
        match = self._pattern.fullmatch(message)
        return match[1] if match else message


_HINT = "Places: {content}, {filename}, {title}, {created}, {document_type}, {language}, {custom_fields}."
