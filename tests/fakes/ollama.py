"""Ollama's API over real GGUF files: real tokens and real greedy answers, by llama.cpp underneath.

It does what Ollama does, the inconvenient things included: an error can arrive inside a 200 stream, a template that is
not sent is guessed, a model that is copied away under a name stays loaded, an unknown `from` would be pulled.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fakes.go_template import TemplateError, render
from fakes.http_app import Answer, HttpApp, Refused, parsed
from tunesmith.serving.gguf_file import FILE_TYPES, quantization_of, read_metadata

GUESSED = "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
_QUANTIZABLE = {"f32", "f16", "bf16"}
_QUANTIZATIONS = {"q4_k_s", "q4_k_m", "q8_0"}


@dataclass(frozen=True)
class Made:
    """A manifest: the same content is the same digest, under whatever name."""

    weights: str
    template: str
    system: str
    license: str
    quantization: str
    parameters: str = ""  # JSON

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass
class Faults:
    """What goes wrong. `create_error`: inside the 200 stream; `cut`: the stream ends before success."""

    create_error: str | None = None
    cut: bool = False
    loses: set[str] = field(default_factory=set)  # "template", "stop": taken, but not kept
    refuses_copy: bool = False


class FakeOllama(HttpApp):
    def __init__(self, folder: Path):
        self.folder = folder
        self.models: dict[str, Made] = {}
        self.faults = Faults()
        self.pulls: list[str] = []
        self.loaded: dict[str, Any] = {}  # weights → running llama.cpp
        super().__init__()

    def close(self) -> None:
        super().close()
        self.loaded.clear()

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> Answer:
        if path.startswith("/api/blobs/"):
            return self._blob(method, path.removeprefix("/api/blobs/"), body)
        routes = {
            ("GET", "/api/version"): lambda _: (200, {"version": "0.99.0-fake"}),
            ("GET", "/api/tags"): lambda _: self._tags(),
            ("POST", "/api/show"): self._show,
            ("POST", "/api/create"): self._create,
            ("POST", "/api/copy"): self._copy,
            ("DELETE", "/api/delete"): self._delete,
            ("POST", "/api/chat"): self._chat,
            ("POST", "/api/generate"): self._generate,
            ("POST", "/v1/chat/completions"): self._completions,
        }
        if (method, path) not in routes:
            raise Refused(404, {"error": f"{method} {path} is not known"})
        return routes[(method, path)](parsed(body) if body else {})

    def blob(self, digest: str) -> Path:
        return self.folder / digest.replace(":", "-")

    def _blob(self, method: str, digest: str, body: bytes) -> Answer:
        hex_part = digest.removeprefix("sha256:")
        if len(hex_part) != 64 or set(hex_part) - set("0123456789abcdef"):
            raise Refused(400, {"error": "invalid digest format"})
        if method == "HEAD":
            return (200 if self.blob(digest).exists() else 404), None
        if self.blob(digest).exists():
            return 200, None
        if hashlib.sha256(body).hexdigest() != hex_part:
            raise Refused(400, {"error": "digest mismatch, file must be downloaded again"})
        self.blob(digest).write_bytes(body)
        return 201, None

    def _create(self, asked: dict[str, Any]) -> Answer:
        if asked.get("from"):
            self.pulls.append(asked["from"])
            return 200, [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}]
        if not asked.get("files"):
            raise Refused(400, {"error": "neither 'from' or 'files' was specified"})
        lines: list[dict[str, str]] = [{"status": "parsing GGUF"}]
        if self.faults.create_error:
            return 200, [*lines, {"error": self.faults.create_error}]
        digest = next(iter(asked["files"].values()))
        if not self.blob(digest).exists():
            return 200, [*lines, {"error": f"open {digest}: no such file or directory"}]
        kind = quantization_of(read_metadata(self.blob(digest)))
        if wanted := (asked.get("quantize") or "").lower():
            if kind not in _QUANTIZABLE:
                return 200, [*lines, {"error": "quantization is only supported for F16, BF16 and F32 models"}]
            if wanted not in _QUANTIZATIONS:
                return 200, [*lines, {"error": f"unsupported quantization type {asked['quantize']}"}]
            lines.append({"status": f"quantizing {kind.upper()} model to {asked['quantize']}"})
            digest, kind = self._quantize(digest, wanted), wanted
        template = asked.get("template") or GUESSED
        try:
            render(template, {"Messages": [], "System": ""})
        except TemplateError as error:
            raise Refused(400, {"error": f"template error: {error}"}) from error
        if self.faults.cut:
            return 200, [*lines, {"status": "writing manifest"}]
        parameters = dict(asked.get("parameters") or {})
        for lost in self.faults.loses:
            parameters.pop(lost, None)
        self.models[_full(asked["model"])] = Made(
            weights=digest,
            template=GUESSED if "template" in self.faults.loses else template,
            system=asked.get("system") or "",
            license=str(asked.get("license") or ""),
            quantization=kind,
            parameters=json.dumps(parameters, sort_keys=True),
        )
        return 200, [*lines, {"status": "writing manifest"}, {"status": "success"}]

    def _quantize(self, digest: str, kind: str) -> str:
        """Only said, not done: what an answer is made of stays as it was uploaded, and is told apart by its header."""
        key = b"general.file_type" + (4).to_bytes(4, "little")
        content = self.blob(digest).read_bytes()
        number = next(number for number, name in FILE_TYPES.items() if name == kind)
        place = content.index(key) + len(key)
        changed = content[:place] + number.to_bytes(4, "little") + content[place + 4 :]
        made = f"sha256:{hashlib.sha256(changed).hexdigest()}"
        self.blob(made).write_bytes(changed)
        return made

    def _find(self, name: str) -> Made:
        if _full(name) not in self.models:
            raise Refused(404, {"error": f"model '{name}' not found"})
        return self.models[_full(name)]

    def _tags(self) -> Answer:
        listed = [{"name": name, "model": name, "digest": made.digest, "size": 1} for name, made in self.models.items()]
        return 200, {"models": listed}

    def _show(self, asked: dict[str, Any]) -> Answer:
        made = self._find(asked["model"])
        lines = []
        for name, value in json.loads(made.parameters).items():
            lines += [f"{name:<30} {json.dumps(v)}" for v in (value if isinstance(value, list) else [value])]
        shown = {"template": made.template, "parameters": "\n".join(lines), "license": made.license}
        if made.system:
            shown["system"] = made.system
        return 200, {**shown, "modelfile": "", "details": {}, "model_info": read_metadata(self.blob(made.weights))}

    def _copy(self, asked: dict[str, Any]) -> Answer:
        made = self._find(asked["source"])
        if not self.faults.refuses_copy:
            self.models[_full(asked["destination"])] = replace(made)
        return 200, None

    def _delete(self, asked: dict[str, Any]) -> Answer:
        self._find(asked["model"])
        del self.models[_full(asked["model"])]
        return 200, None

    def _chat(self, asked: dict[str, Any]) -> Answer:
        made = self._find(asked["model"])
        messages = asked.get("messages") or []
        if not messages:
            return 200, self._load_or_unload(made, asked)
        answer = self._answer(made, self._prompt(made, messages), asked.get("options") or {})
        said = {"role": "assistant", "content": answer["content"]}
        return 200, {"model": asked["model"], "message": said, **_counts(answer)}

    def _generate(self, asked: dict[str, Any]) -> Answer:
        made = self._find(asked["model"])
        prompt = asked.get("prompt") or ""
        if not prompt:
            return 200, self._load_or_unload(made, asked)
        if not asked.get("raw"):
            prompt = self._prompt(made, [{"role": "user", "content": prompt}])
        answer = self._answer(made, prompt, asked.get("options") or {})
        return 200, {"model": asked["model"], "response": answer["content"], **_counts(answer)}

    def _completions(self, asked: dict[str, Any]) -> Answer:
        made = self._find(asked["model"])
        options = {"num_predict": asked.get("max_tokens", 16)}
        answer = self._answer(made, self._prompt(made, asked["messages"]), options)
        message = {"role": "assistant", "content": answer["content"]}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return 200, {"id": "chatcmpl-1", "object": "chat.completion", "model": asked["model"], "choices": [choice]}

    def _prompt(self, made: Made, messages: list[dict[str, str]]) -> str:
        if made.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": made.system}, *messages]
        turns: list[dict[str, str]] = []
        for message in messages:  # Ollama joins neighbours of one role
            if turns and turns[-1]["Role"] == message["role"]:
                turns[-1]["Content"] += "\n\n" + message["content"]
            else:
                turns.append({"Role": message["role"], "Content": message["content"]})
        system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
        return render(made.template, {"Messages": turns, "System": system})

    def _load_or_unload(self, made: Made, asked: dict[str, Any]) -> dict[str, Any]:
        unload = asked.get("keep_alive") == 0
        if unload:
            self.loaded.pop(made.weights, None)
        else:
            self._load(made.weights)
        return {"model": asked["model"], "done": True, "done_reason": "unload" if unload else "load", **_EMPTY}

    def _load(self, weights: str) -> str:
        import xllamacpp

        if weights not in self.loaded:
            parameters = xllamacpp.CommonParams()
            parameters.model.path = str(self.blob(weights))
            parameters.hostnames, parameters.port, parameters.n_ctx = ["127.0.0.1"], 0, 1024
            parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
            parameters.warmup = False
            self.loaded[weights] = xllamacpp.Server(parameters)
        return str(self.loaded[weights].listening_address)

    def _answer(self, made: Made, prompt: str, options: dict[str, Any]) -> dict[str, Any]:
        import httpx

        asked = {
            "prompt": prompt,
            "n_predict": options.get("num_predict", json.loads(made.parameters).get("num_predict", 16)),
            "temperature": 0,
            "cache_prompt": False,
        }
        asked["stop"] = json.loads(made.parameters).get("stop", [])
        answer: dict[str, Any] = httpx.post(f"{self._load(made.weights)}/completion", json=asked, timeout=60).json()
        return answer


_EMPTY = {"message": {"role": "assistant", "content": ""}, "response": ""}


def _counts(answer: dict[str, Any]) -> dict[str, Any]:
    return {"done": True, "prompt_eval_count": answer["tokens_evaluated"], "eval_count": answer["tokens_predicted"]}


def _full(name: str) -> str:
    return name if ":" in name else f"{name}:latest"
