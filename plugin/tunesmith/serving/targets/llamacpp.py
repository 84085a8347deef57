"""The embedded target: llama.cpp's server in a child process. Needs nothing beside Tunesmith itself."""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from tunesmith.serving import gguf_file, tool_template
from tunesmith.serving.parity import ParityReport, Reply, check_conversations, check_metadata
from tunesmith.serving.targets.base import Candidate, Check, Deployment, Endpoint, Route, has_own_format
from tunesmith.serving.targets.llamacpp_process import LlamaServer
from tunesmith.serving.tool_parity import check_tools
from tunesmith.settings import Settings
from tunesmith.tasks.base import Constraint
from tunesmith.tasks.conversation import Message
from tunesmith.tasks.native_tools import Conversation


class LlamaCppTarget:
    name: ClassVar[str] = "llamacpp"

    def __init__(self, settings: Settings):
        self.settings = settings

    def check(self) -> Check:
        if importlib.util.find_spec("xllamacpp") is None:
            return Check(False, "xllamacpp is not installed", "pip install 'tunesmith[serve]'")
        return Check(True, "embedded llama.cpp is installed")

    def ready_for(self, hf_dir: Path) -> None:
        """llama.cpp renders every template that the converter puts into a GGUF."""

    def foreign(self, name: str) -> None:
        """Nobody else publishes here."""

    def deploy(self, candidate: Candidate) -> Deployment:
        """Nothing is copied: the export is served where it lies."""
        seal = gguf_file.read_seal(candidate.gguf)
        return Deployment.of(
            candidate, target=self.name, model=f"{candidate.name}:{candidate.version}", digest=seal.digest
        )

    @contextmanager
    def serve(self, deployment: Deployment) -> Iterator[Endpoint]:
        with start(deployment) as server:
            yield server.endpoint

    def parity(self, deployment: Deployment) -> ParityReport:
        gguf, hf_dir = Path(deployment.gguf), Path(deployment.hf_dir)
        report = ParityReport(self.name)
        check_metadata(report, gguf, hf_dir)
        with start(deployment) as server:
            # The server renders the model's own template, default system prompt included.
            check_conversations(report, _Served(server), hf_dir, None)
            check_tools(report, _Served(server), hf_dir)
        return report

    def promote(self, deployment: Deployment) -> None:
        """Which version is live stands in our books; the file must still be the one that was measured."""
        gguf_file.read_seal(Path(deployment.gguf))

    def remove(self, deployment: Deployment) -> None:
        """Nothing was copied here."""

    def routes(self, deployment: Deployment) -> list[Route]:
        """Nobody else reaches the embedded server."""
        return []

    def body(self, request: dict[str, Any], constraint: Constraint | None) -> dict[str, Any]:
        body = {**request, "cache_prompt": True}
        if constraint is not None and not has_own_format(request):
            if constraint.grammar:
                body["grammar"] = constraint.grammar
            elif constraint.json_schema:
                body["json_schema"] = constraint.json_schema
        return body


def start(deployment: Deployment) -> LlamaServer:
    """A server of its own for a deployment. Raises ParityError for a file that is not our export, Unavailable."""
    gguf = Path(deployment.gguf)
    gguf_file.read_seal(gguf, verify=False)
    form = tool_template.form_at(deployment.hf_dir)
    return LlamaServer(gguf, deployment.model, num_ctx=deployment.num_ctx, tool_form=form)


class _Served:
    """What the server's model is given, from its own renderer and tokenizer."""

    def __init__(self, server: LlamaServer):
        self.server = server

    def token_ids(self, messages: Sequence[Message]) -> list[int]:
        return self._ids({"messages": list(messages)})

    def _ids(self, sent: dict[str, Any]) -> list[int]:
        prompt = self.server.post("/apply-template", sent)["prompt"]
        asked = {"content": prompt, "add_special": True, "parse_special": True}  # as its chat endpoint does
        return list(self.server.post("/tokenize", asked)["tokens"])

    def rendered(self, messages: Sequence[Message]) -> None:
        """Its tokens say more."""

    def chat(self, messages: Sequence[Message]) -> Reply:
        body = {"messages": list(messages), "max_tokens": 4, "temperature": 0}
        answer = self.server.post("/v1/chat/completions", body)
        return Reply(int(answer["usage"]["prompt_tokens"]), str(answer["choices"][0]["message"]["content"] or ""))

    def tool_ids(self, conversation: Conversation) -> list[int]:
        return self._ids(conversation.as_sent())

    def tool_text(self, conversation: Conversation) -> None:
        """Its tokens say more."""

    def tool_count(self, conversation: Conversation) -> int:
        # Without a call of its own to read: an answer that is cut off is no fault of the prompt.
        body = {**conversation.as_sent(), "tool_choice": "none", "max_tokens": 1, "temperature": 0}
        return int(self.server.post("/v1/chat/completions", body)["usage"]["prompt_tokens"])

    def raw(self, prompt: str) -> None:
        """The ids themselves were compared: nothing is left to prove."""
