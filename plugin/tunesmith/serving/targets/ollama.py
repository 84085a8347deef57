"""Ollama as a target: GGUF blobs, an explicit template, and a tag per version; `name:latest` is the live one."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tunesmith.errors import Conflict, ParityError, TunesmithError, Unavailable
from tunesmith.serving import gguf_file, go_template, tool_template
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.parity import ParityReport, check_conversations
from tunesmith.serving.targets.base import Candidate, Check, Deployment, Endpoint, has_own_format
from tunesmith.serving.tool_parity import check_tools
from tunesmith.settings import Settings
from tunesmith.tasks.base import Constraint
from tunesmith.tasks.conversation import Message
from tunesmith.tasks.native_tools import Conversation
from tunesmith_connectors.ollama import Ollama, OllamaError

# Our names → Ollama's, for what it can make itself from a float GGUF.
_QUANTIZE = {"q4_k_m": "q4_K_M", "q4_k_s": "q4_K_S", "q8_0": "q8_0"}
_FLOAT = ("f32", "f16", "bf16")
_PROOF_TOKENS = 8


class OllamaTarget:
    name: ClassVar[str] = "ollama"

    def __init__(self, settings: Settings):
        self.settings = settings

    def check(self) -> Check:
        if not self.settings.ollama_url:
            return Check(False, "no URL is set", "Set TUNESMITH_OLLAMA_URL, for example http://127.0.0.1:11434.")
        try:
            with self._ollama() as ollama:
                return Check(True, f"Ollama {ollama.version()} at {ollama.url}")
        except TunesmithError as error:
            return Check(False, error.message, error.hint)

    def deploy(self, candidate: Candidate) -> Deployment:
        seal = gguf_file.read_seal(candidate.gguf)
        wanted = _Wanted.of(candidate, seal)
        with self._ollama() as ollama:
            shown = ollama.show(wanted.model)
            if shown is None or wanted.differences(shown):
                ollama.upload(candidate.gguf, seal.digest)
                ollama.create(
                    wanted.model,
                    files={candidate.gguf.name: seal.digest},
                    template=wanted.template,
                    system=wanted.system,
                    # Ollama would draw answers at random; what was measured are the most likely ones.
                    parameters={"stop": wanted.stop, "num_ctx": wanted.num_ctx, "temperature": 0},
                    license=wanted.license,
                    quantize=wanted.quantize,
                )
                differences = wanted.differences(ollama.show(wanted.model) or {})
                if differences:
                    raise ParityError(
                        f"Ollama did not keep what it was given: {'; '.join(differences)}.",
                        hint="Update Ollama, or serve with the target llamacpp.",
                    )
            digest = ollama.tags()[wanted.model]
        return Deployment.of(candidate, target=self.name, model=wanted.model, digest=digest)

    @contextmanager
    def serve(self, deployment: Deployment) -> Iterator[Endpoint]:
        form = tool_template.form_at(deployment.hf_dir)
        yield Endpoint(f"{self._url()}/v1", deployment.model, tool_form=form)

    def parity(self, deployment: Deployment) -> ParityReport:
        report = ParityReport(self.name)
        hf_dir = Path(deployment.hf_dir)
        folder = HfFolder(hf_dir)
        with self._ollama() as ollama:
            shown = ollama.show(deployment.model)
            if shown is None:
                report.add("deployed", False, f"Ollama has no {deployment.model}")
                return report
            metadata = shown.get("model_info") or {}
            differences = folder.differences(metadata)
            report.add("metadata", not differences, "; ".join(differences))
            bos = folder.token("bos") if metadata.get("tokenizer.ggml.add_bos_token") else None
            check_conversations(report, _Served(ollama, deployment.model, bos), hf_dir, deployment.system)
            check_tools(report, _Served(ollama, deployment.model, bos), hf_dir)
        return report

    def promote(self, deployment: Deployment) -> None:
        """`name:latest` becomes this version. Doing it again changes nothing."""
        live = f"{deployment.name}:latest"
        with self._ollama() as ollama:
            before = ollama.tags()
            if before.get(deployment.model) != deployment.digest:
                raise Conflict(
                    f"{deployment.model} in Ollama is not the version that was measured.",
                    hint="Somebody replaced it there. Run the recipe again.",
                )
            if before.get(live) != deployment.digest:
                self._replace(ollama, before, deployment.model, live)
                if ollama.tags().get(live) != deployment.digest:
                    raise Unavailable(f"Ollama did not make {deployment.model} live.", hint="Try again.")
            ollama.preload(live)

    def _replace(self, ollama: Ollama, before: dict[str, str], model: str, live: str) -> None:
        """Copy over the live tag, and unload the old weights: they would go on answering until they are idle.

        A loaded model is found by its weights, so after the copy only another tag of the old version reaches it.
        """
        old = [tag for tag, digest in before.items() if digest == before.get(live) and tag != live]
        if live in before and not old:
            ollama.unload(live)
        ollama.copy(model, live)
        for tag in old[:1]:
            ollama.unload(tag)

    def remove(self, deployment: Deployment) -> None:
        live = f"{deployment.name}:latest"
        with self._ollama() as ollama:
            if ollama.tags().get(live) == deployment.digest:
                ollama.delete(live)
            ollama.delete(deployment.model)

    def body(self, request: dict[str, Any], constraint: Constraint | None) -> dict[str, Any]:
        """Ollama knows no grammars: the answer is held to the JSON Schema."""
        if constraint is None or constraint.json_schema is None or has_own_format(request):
            return dict(request)
        schema = {"name": "answer", "schema": constraint.json_schema}
        return {**request, "response_format": {"type": "json_schema", "json_schema": schema}}

    def _url(self) -> str:
        if not self.settings.ollama_url:
            raise Unavailable(
                "No Ollama is configured.", code="ollama_missing", hint="Set TUNESMITH_OLLAMA_URL.", retryable=False
            )
        return self.settings.ollama_url.rstrip("/")

    @contextmanager
    def _ollama(self) -> Iterator[Ollama]:
        ollama = Ollama(self._url())
        try:
            yield ollama
        except OllamaError as error:
            hint = "Is it running?" if error.status == 0 else "See Ollama's log."
            raise Unavailable(str(error), code="ollama_failed", hint=hint, retryable=error.retryable) from error
        finally:
            ollama.close()


@dataclass(frozen=True)
class _Wanted:
    """What Ollama is told, and must show afterwards."""

    model: str
    template: str
    system: str | None
    stop: list[str]
    num_ctx: int
    quantize: str | None
    license: str

    @classmethod
    def of(cls, candidate: Candidate, seal: gguf_file.Seal) -> "_Wanted":
        adds_bos = bool(gguf_file.read_metadata(candidate.gguf).get("tokenizer.ggml.add_bos_token"))
        wanted = candidate.quantization if seal.quantization in _FLOAT else seal.quantization
        return cls(
            model=f"{candidate.name}:{candidate.version}",
            template=go_template.derive(HfFolder(candidate.hf_dir), adds_bos=adds_bos),
            system=candidate.system,
            stop=candidate.stop,
            num_ctx=candidate.num_ctx,
            quantize=_QUANTIZE.get(wanted) if wanted != seal.quantization else None,
            # The only free text that a model carries: it says which export this is.
            license=f"Exported by Tunesmith from {seal.digest}",
        )

    def differences(self, shown: dict[str, Any]) -> list[str]:
        parameters = _parameters(str(shown.get("parameters") or ""))
        license = shown.get("license") or ""
        pairs = {
            "template": (shown.get("template"), self.template),
            "system": (shown.get("system") or None, self.system),
            "stop": (sorted(parameters.get("stop", [])), sorted(self.stop)),
            "num_ctx": ([int(float(v)) for v in parameters.get("num_ctx", [])], [self.num_ctx]),
            "temperature": ([float(v) for v in parameters.get("temperature", [])], [0.0]),
            "export": (self.license in license, True),
        }
        return [f"{key} is {said!r}, not {wanted!r}" for key, (said, wanted) in pairs.items() if said != wanted]


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


class _Served:
    """Ollama shows no tokens; their number, and the greedy answer to the rendered prompt, are compared instead."""

    def __init__(self, ollama: Ollama, model: str, bos: str | None):
        self.ollama = ollama
        self.model = model
        self.bos = bos

    def token_ids(self, messages: Sequence[Message]) -> None:
        """There is no tokenize endpoint."""

    def chat(self, messages: Sequence[Message]) -> tuple[int, str]:
        plain = [{"role": m["role"], "content": m["content"]} for m in messages]
        return self.ollama.chat(self.model, plain, tokens=_PROOF_TOKENS)

    def tool_ids(self, conversation: Conversation) -> None:
        """There is no tokenize endpoint."""

    def tool_count(self, conversation: Conversation) -> int:
        return self.ollama.chat(self.model, conversation.messages, tokens=1, tools=conversation.tools)[0]

    def raw(self, prompt: str) -> tuple[int, str]:
        text = prompt.removeprefix(self.bos) if self.bos else prompt
        return self.ollama.raw(self.model, text, tokens=_PROOF_TOKENS)
