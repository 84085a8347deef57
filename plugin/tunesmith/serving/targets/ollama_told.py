"""What Ollama is told of a model, and must show afterwards; and which models in it are ours."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tunesmith.errors import Conflict, ParityError
from tunesmith.serving import gguf_file, go_template
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.targets.base import Candidate
from tunesmith_connectors.ollama import Ollama

# Our names → Ollama's, for what it can make itself from a float GGUF.
_QUANTIZE = {"q4_k_m": "q4_K_M", "q4_k_s": "q4_K_S", "q8_0": "q8_0"}
_FLOAT = ("f32", "f16", "bf16")
# The only free text that a model carries in Ollama. It marks a tag as ours.
MARK = "Exported by Tunesmith from "


@dataclass(frozen=True)
class Told:
    """A candidate as Ollama gets it. `template`: the GGUF's own, which is never sent."""

    model: str
    template: str
    candidate: Candidate
    adds_bos: bool
    quantize: str | None
    license: str

    @classmethod
    def of(cls, candidate: Candidate, seal: gguf_file.Seal) -> "Told":
        metadata = gguf_file.read_metadata(candidate.gguf)
        wanted = candidate.quantization if seal.quantization in _FLOAT else seal.quantization
        return cls(
            model=f"{candidate.name}:{candidate.version}",
            template=str(metadata.get("tokenizer.chat_template") or ""),
            candidate=candidate,
            adds_bos=bool(metadata.get("tokenizer.ggml.add_bos_token")),
            quantize=_QUANTIZE.get(wanted) if wanted != seal.quantization else None,
            license=f"{MARK}{seal.digest}",
        )

    def translated(self) -> str:
        """The template in Ollama's own language, for one that cannot render the model's. Raises ParityError."""
        return go_template.derive(HfFolder(self.candidate.hf_dir), adds_bos=self.adds_bos)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Ollama would draw answers at random, where what was measured are the most likely ones, and would let an
        answer go on until the context is full."""
        given = {"stop": self.candidate.stop, "num_ctx": self.candidate.num_ctx, "temperature": 0}
        length = self.candidate.num_predict
        return given if length is None else {**given, "num_predict": length}

    def create(self, ollama: Ollama, template: str | None) -> None:
        ollama.create(
            self.model,
            files={self.candidate.gguf.name: self.license.removeprefix(MARK)},
            template=template,
            system=self.candidate.system,
            parameters=self.parameters,
            license=self.license,
            quantize=self.quantize,
        )

    def differences(self, shown: dict[str, Any]) -> list[str]:
        """What `/api/show` says differently; empty when all was kept."""
        said = _parameters(str(shown.get("parameters") or ""))
        license = shown.get("license") or ""
        length = self.candidate.num_predict
        pairs: dict[str, tuple[Any, Any]] = {
            "system": (shown.get("system") or None, self.candidate.system),
            "stop": (sorted(said.get("stop", [])), sorted(self.candidate.stop)),
            "num_ctx": (_numbers(said, "num_ctx"), [self.candidate.num_ctx]),
            "num_predict": (_numbers(said, "num_predict"), [] if length is None else [length]),
            "temperature": (_numbers(said, "temperature"), [0]),
            "export": (self.license in license, True),
        }
        found = [f"{key} is {said!r}, not {wanted!r}" for key, (said, wanted) in pairs.items() if said != wanted]
        return [*found, *template_differences(shown, self.template, self.translated)]


def template_differences(shown: dict[str, Any], own: str, translated: Any) -> list[str]:
    """Ollama shows the template that it renders: the GGUF's own, or a translation that says the same."""
    said = shown.get("template")
    if said == own:
        return []
    try:
        same = said == translated()
    except ParityError:
        same = False
    return [] if same else [f"template is {str(said)[:60]!r}, not the model's own"]


def foreign(ollama: Ollama, name: str) -> str | None:
    """The first tag `name:…` that does not carry our mark, in a sentence. Ollama knows no capitals in names."""
    for tag in sorted(ollama.tags()):
        if tag.rpartition(":")[0].casefold() == name.casefold() and not is_ours(ollama, tag):
            return f"Ollama has a model {tag} that Tunesmith did not make."
    return None


def is_ours(ollama: Ollama, tag: str) -> bool:
    """True for a tag that is not there, too: there is nothing of anybody's to lose."""
    shown = ollama.show(tag)
    return shown is None or MARK in str(shown.get("license") or "")


def refuse_foreign(ollama: Ollama, tag: str, instead: str) -> None:
    if not is_ours(ollama, tag):
        raise Conflict(
            f"Ollama has a model {tag} that Tunesmith did not make.",
            code="foreign_model",
            hint=f"{instead}, or delete that one in Ollama yourself.",
        )


def _numbers(parameters: dict[str, list[Any]], name: str) -> list[float]:
    return [float(value) for value in parameters.get(name, [])]


def _parameters(text: str) -> dict[str, list[Any]]:
    """`/api/show` lists one `name   value` a line, texts quoted."""
    found: dict[str, list[Any]] = {}
    for line in text.splitlines():
        name, _, value = line.strip().partition(" ")
        value = value.strip()
        try:
            found.setdefault(name, []).append(json.loads(value))
        except ValueError:
            found.setdefault(name, []).append(value)
    return found
