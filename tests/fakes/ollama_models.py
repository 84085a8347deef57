"""What the stand-in for Ollama keeps: blobs, manifests, and which template of a model it renders."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fakes.go_template import TemplateError, render
from fakes.http_app import Refused
from tunesmith.serving.gguf_file import FILE_TYPES, read_metadata

# Templates that Ollama knows: Jinja that it looks for → what it renders instead, and the stop texts that come with it.
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
BARRED = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] + eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
KNOWN = {
    CHATML: (
        "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n",
        ["<|im_start|>", "<|im_end|>"],
    ),
    BARRED: (
        "{{- range .Messages }}<|{{ .Role }}|>\n{{ .Content }}<|endoftext|>\n{{ end }}<|assistant|>\n",
        ["<|endoftext|>"],
    ),
}
NEAR = 100  # edits
COPIED = b"\0" * 64  # stands behind what was written anew; a copy of a copy is the same
UNTEMPLATED = "{{ .Prompt }}"


@dataclass(frozen=True)
class Made:
    """A manifest: the same content is the same digest, under whatever name. `go`: None renders the GGUF's own."""

    weights: str
    go: str | None
    system: str
    license: str
    parameters: str = "{}"  # JSON
    drafts: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def blobs(self) -> set[str]:
        return {self.weights, *self.drafts}


class Blobs:
    """Files by digest. What no manifest names stays until the server is started again."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, digest: str) -> Path:
        return self.folder / digest.replace(":", "-")

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    def put(self, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.path(digest).write_bytes(content)
        return digest

    def all(self) -> set[str]:
        return {path.name.replace("-", ":") for path in self.folder.glob("sha256-*")}

    def drop(self, digests: Iterable[str]) -> None:
        for digest in digests:
            self.path(digest).unlink(missing_ok=True)

    def rewritten(self, digest: str, kind: str | None) -> str:
        """Ollama keeps no file as it came: it writes it anew by llama-quantize. Here only the header's word for what
        the numbers are is changed, so that answers stay what they were."""
        content = self.path(digest).read_bytes()
        if kind is not None:
            key = b"general.file_type" + (4).to_bytes(4, "little")
            place = content.index(key) + len(key)
            number = next(number for number, name in FILE_TYPES.items() if name == kind)
            content = content[:place] + number.to_bytes(4, "little") + content[place + 4 :]
        return self.put(content if content.endswith(COPIED) else content + COPIED)


Mode = Literal["new", "old"]


@dataclass(frozen=True)
class Templates:
    """`old`: an Ollama that renders nothing but Go. `go`: OLLAMA_GO_TEMPLATE, None where it is unset."""

    mode: Mode = "new"
    go: bool | None = None

    def chosen(self, sent: str | None, own: str) -> tuple[str | None, list[str]]:
        """(Go template, stop texts) of a model that is created: what was sent, or one whose Jinja lies near."""
        if sent:
            try:
                render(sent, {"Messages": [], "System": ""})
            except TemplateError as error:
                raise Refused(400, {"error": f"template error: {error}"}) from error
            return sent, []
        distances = {jinja: edits(own, jinja) for jinja in KNOWN} if own else {}
        nearest = min(distances, key=distances.__getitem__, default=None)
        if nearest is not None and distances[nearest] < NEAR:
            return KNOWN[nearest]
        return None, []

    def rendered(self, made: Made, metadata: dict[str, Any]) -> tuple[Literal["go", "jinja"], str]:
        """Which template answers, and how it reads. The GGUF's own wins where it can do more, such as tools."""
        own = str(metadata.get("tokenizer.chat_template") or "")
        if self.mode == "old":
            return "go", made.go or UNTEMPLATED
        if made.go is not None and self.go is not False:
            if self.go or len(capabilities(own)) <= ("{{ .Tools" in made.go):
                return "go", made.go
            return "jinja", own
        return ("jinja", own) if own else ("go", made.go or UNTEMPLATED)


def capabilities(template: str) -> list[str]:
    found = ["tools"] if "tools" in template or "tool_call" in template else []
    return [*found, "thinking"] if "<think>" in template and "</think>" in template else found


def edits(one: str, other: str) -> int:
    """Levenshtein's distance."""
    before = list(range(len(other) + 1))
    for row, a in enumerate(one, 1):
        now = [row]
        for column, b in enumerate(other, 1):
            now.append(min(before[column] + 1, now[-1] + 1, before[column - 1] + (a != b)))
        before = now
    return before[-1]


def shown_metadata(path: Path) -> dict[str, Any]:
    """As `/api/show` has it: without the template and the name, in verbose mode too."""
    metadata = read_metadata(path)
    return {key: metadata[key] for key in metadata if key not in ("tokenizer.chat_template", "general.name")}
