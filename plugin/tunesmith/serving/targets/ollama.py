"""Ollama as a target: the model's own template in its GGUF, and a tag per version; `name:latest` is the live one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from tunesmith.errors import Conflict, ParityError, TunesmithError, Unavailable
from tunesmith.serving import gguf_file, go_template, own_template, tool_template
from tunesmith.serving.hf_folder import HfFolder
from tunesmith.serving.parity import ParityReport, Reply, Step, check_conversations
from tunesmith.serving.targets import ollama_told, ollama_trial
from tunesmith.serving.targets.base import Candidate, Check, Deployment, Endpoint, Route, has_own_format, shown_url
from tunesmith.serving.targets.ollama_told import Told
from tunesmith.serving.tool_parity import check_tools
from tunesmith.settings import Settings
from tunesmith.tasks.base import Constraint
from tunesmith.tasks.conversation import Message
from tunesmith.tasks.native_tools import Conversation
from tunesmith_connectors.ollama import Answer, Ollama, OllamaError

_PROOF_TOKENS = (8, 4, 2, 1)  # of an answer, as many as can be read
_READABLE = {"type": "string", "enum": ["yes", "no"]}


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

    def ready_for(self, hf_dir: Path) -> None:
        with self._ollama() as ollama:
            ollama_trial.require(ollama, HfFolder(hf_dir))

    def foreign(self, name: str) -> str | None:
        with self._ollama() as ollama:
            return ollama_told.foreign(ollama, name)

    def deploy(self, candidate: Candidate) -> Deployment:
        """A candidate that Ollama does not take, or does not keep as it is, leaves nothing in it."""
        seal = gguf_file.read_seal(candidate.gguf)
        told = Told.of(candidate, seal)
        with self._ollama() as ollama:
            ollama_told.refuse_foreign(ollama, told.model, "Run the recipe again")
            shown = ollama.show(told.model)
            if shown is None or told.differences(shown):
                try:
                    ollama.upload(candidate.gguf, seal.digest)
                    self._create(ollama, told)
                except BaseException:
                    with suppress(OllamaError):
                        ollama.delete(told.model)
                    raise
                finally:
                    ollama_trial.let_go(ollama, seal.digest)
            digest = ollama.tags()[told.model]
        return Deployment.of(candidate, target=self.name, model=told.model, digest=digest)

    def _create(self, ollama: Ollama, told: Told) -> None:
        told.create(ollama, None)
        shown = ollama.show(told.model) or {}
        if shown.get("template") != told.template:  # it renders nothing but its own language
            told.create(ollama, told.translated())
            shown = ollama.show(told.model) or {}
        if differences := told.differences(shown):
            raise ParityError(
                f"Ollama did not keep what it was given: {'; '.join(differences)}.",
                hint="Update Ollama, or serve with the target llamacpp.",
            )

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
            metadata = shown.get("model_info") or {}  # without the template, which stands beside it
            differences = [*folder.differences(metadata), *_template_differences(shown, folder, metadata)]
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
            ollama_told.refuse_foreign(ollama, live, "Publish under another name")
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
            tags = ollama.tags()
            same = [
                tag for tag, digest in tags.items() if digest == deployment.digest and _base(tag) == deployment.name
            ]
            if live in same and not set(same) - {live, deployment.model}:  # no equal version that may be the live one
                ollama.delete(live)
            if ollama_told.is_ours(ollama, deployment.model):
                ollama.delete(deployment.model)
            if uploaded := gguf_file.sealed_digest(Path(deployment.gguf)):  # it may have no tag yet
                ollama_trial.let_go(ollama, uploaded)

    def routes(self, deployment: Deployment) -> list[Route]:
        """Whoever reaches Ollama asks the model as it is set up: Open WebUI, n8n's Ollama node, Paperless."""
        url = shown_url(self._url())
        bare = Route(
            "ollama",
            "Ollama alone",
            url=f"{url}/api/chat",
            api="ollama",
            note="Send model and messages only: options of your own replace what was measured.",
        )
        openai = Route(
            "ollama_v1",
            "Ollama's /v1",
            url=f"{url}/v1",
            api="ollama",
            same_as=bare.name,
            send={"temperature": 0},
            note="Where a caller names no temperature, Ollama's /v1 sets 1, and answers are drawn at random.",
        )
        return [bare, openai]

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


def _template_differences(shown: dict[str, Any], folder: HfFolder, metadata: dict[str, Any]) -> list[str]:
    if own_template.is_of(shown.get("template"), folder):
        return []
    adds_bos = bool(metadata.get("tokenizer.ggml.add_bos_token"))
    return ollama_told.template_differences(
        shown, own_template.carried(folder), lambda: go_template.derive(folder, adds_bos=adds_bos)
    )


class _Served:
    """Ollama shows no tokens: its text, their number, and the greedy answer to the rendered prompt are compared.

    Everything is asked twice. The first time a prompt is computed as one batch, the second time all but its end comes
    from a cache, and what is likely then differs by more than it may.
    """

    def __init__(self, ollama: Ollama, model: str, bos: str | None):
        self.ollama = ollama
        self.model = model
        self.bos = bos

    def token_ids(self, messages: Sequence[Message]) -> None:
        """There is no tokenize endpoint."""

    def rendered(self, messages: Sequence[Message]) -> str | None:
        return self.ollama.rendered(self.model, _plain(messages))

    def chat(self, messages: Sequence[Message]) -> Reply:
        plain = _plain(messages)
        try:
            return _readable(partial(self.ollama.chat, self.model, plain))
        except OllamaError:
            rendered = self.rendered(messages)
            if rendered is None:
                raise
            return replace(self.raw(rendered), text=None)

    def tool_ids(self, conversation: Conversation) -> None:
        """There is no tokenize endpoint."""

    def tool_text(self, conversation: Conversation) -> str | None:
        return self.ollama.rendered(self.model, conversation.messages, conversation.tools)

    def tool_count(self, conversation: Conversation) -> int | None:
        return self.ollama.chat(self.model, conversation.messages, tokens=1, tools=conversation.tools).prompt_tokens

    def raw(self, prompt: str) -> Reply:
        text = prompt.removeprefix(self.bos) if self.bos else prompt
        return _readable(partial(self.ollama.raw, self.model, text))


def _readable(ask: Callable[..., Answer]) -> Reply:
    """What is answered at the second asking. Ollama breaks off at what it cannot read, such as half a character: then
    less is asked for, and at last only how long the prompt was."""
    broken = OllamaError("Ollama finished no answer.", retryable=True)
    for tokens, schema in (*((tokens, None) for tokens in _PROOF_TOKENS), (_PROOF_TOKENS[0], _READABLE)):
        try:
            ask(tokens=tokens, schema=schema)
            answer = ask(tokens=tokens, schema=schema)
        except OllamaError as error:
            if error.status != 500:
                raise
            broken = error
            continue
        if answer.prompt_tokens is not None:
            steps = [Step(token, likely) for token, likely in answer.steps]
            return Reply(answer.prompt_tokens, None if schema else answer.text, steps, answer.ended)
    raise broken


def _base(tag: str) -> str:
    return tag.rpartition(":")[0]


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": m["role"], "content": m["content"]} for m in messages]
