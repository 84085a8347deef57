"""A model of one number, made to ask Ollama something: which template it renders, or to let go of a file.

It costs a few milliseconds, and is gone afterwards.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tunesmith.errors import BadInput, ParityError
from tunesmith.serving import go_template, own_template
from tunesmith.serving.gguf_file import smallest
from tunesmith.serving.hf_folder import HfFolder
from tunesmith_connectors.ollama import Ollama, OllamaError

# Ollama renders these by code of its own, whatever their template says.
_RENDERED_BY_OLLAMA = ("gemma4", "laguna", "nemotron_h")


def require(ollama: Ollama, folder: HfFolder) -> None:
    """Raises BadInput when Ollama can render neither the folder's own template nor a translation of it."""
    own, kind = own_template.carried(folder), str(folder.config.get("model_type") or "")
    with _model(ollama, smallest({"tokenizer.chat_template": own})) as name:
        rendered = (ollama.show(name) or {}).get("template") == own
    if rendered and not kind.startswith(_RENDERED_BY_OLLAMA):
        return
    with suppress(ParityError):
        if not rendered:
            go_template.derive(folder, adds_bos=False)
            return
    reason = "has a renderer of its own for this family" if rendered else "does not render a model's own template"
    raise BadInput(
        f"{folder.path.name} cannot be served by this Ollama ({ollama.version()}): it {reason}.",
        code="template_not_expressible",
        hint="Update Ollama and leave OLLAMA_GO_TEMPLATE unset, or publish to the target llamacpp.",
        param="publish.target",
    )


def let_go(ollama: Ollama, digest: str) -> None:
    """Have Ollama delete an uploaded file unless a model uses it.

    It keeps what it made of the file, and the file itself until it is started again. But the files of a deleted model
    are deleted, so the file is made part of one. An Ollama that cannot do that keeps the file until its next start.
    """
    with suppress(OllamaError):
        if ollama.has(digest):
            with _model(ollama, smallest({}), digest):
                pass


@contextmanager
def _model(ollama: Ollama, gguf: bytes, *files: str) -> Iterator[str]:
    """A model for the time of the block. `files`: what is deleted with it, beside its own."""
    name = f"tunesmith-trial:{secrets.token_hex(8)}"
    uploaded = ollama.upload_bytes(gguf)
    drafts = {f"{place}.gguf": digest for place, digest in enumerate((uploaded, *files))}
    try:
        ollama.create(name, files={"trial.gguf": uploaded}, draft_files=drafts)
        yield name
    finally:
        with suppress(OllamaError):
            ollama.delete(name)
