"""Ollama's API over real GGUF files: real tokens and real greedy answers, by llama.cpp underneath.

It does what Ollama does, the inconvenient things included: an error can arrive inside a 200 stream, a template that is
near one that it knows is replaced, a file stays when its model is made or could not be made, what is likely differs
between the first and the second asking, a model that is copied away under a name stays loaded, an unknown `from` would
be pulled, and a caller of /v1 who names no temperature gets a drawn answer.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fakes.go_template import render
from fakes.http_app import Answer, HttpApp, Refused, parsed
from fakes.ollama_engine import Engine
from fakes.ollama_models import Blobs, Made, Templates, capabilities, shown_metadata
from tunesmith.serving.gguf_file import quantization_of, read_metadata

_QUANTIZABLE = {"f32", "f16", "bf16"}
_QUANTIZATIONS = {"q4_k_s", "q4_k_m", "q8_0"}
_EMPTY = {"message": {"role": "assistant", "content": ""}, "response": ""}


@dataclass
class Faults:
    """What goes wrong. `create_error`: inside the 200 stream; `cut`: the stream ends before success."""

    create_error: str | None = None
    cut: bool = False
    loses: set[str] = field(default_factory=set)  # "stop", …: taken, but not kept
    refuses_copy: bool = False
    unreadable: bool = False  # what the model says in a chat does not parse, as with half a character


class FakeOllama(HttpApp):
    def __init__(self, folder: Path, templates: Templates | None = None):
        self.blobs = Blobs(folder)
        self.templates = templates or Templates()
        self.models: dict[str, Made] = {}
        self.faults = Faults()
        self.pulls: list[str] = []
        self.engine = Engine(self.blobs)
        self.asked: list[dict[str, Any]] = []  # every body of a question
        super().__init__()

    def close(self) -> None:
        super().close()
        self.engine.close()

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> Answer:
        if path.startswith("/api/blobs/"):
            return self._blob(method, path.removeprefix("/api/blobs/"), body)
        routes: dict[tuple[str, str], Callable[[dict[str, Any]], Answer]] = {
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

    def restart(self) -> None:
        """What no model names is deleted when Ollama starts."""
        self._prune(self.blobs.all())

    def _prune(self, digests: set[str]) -> None:
        self.blobs.drop(digests - {blob for made in self.models.values() for blob in made.blobs})

    def _blob(self, method: str, digest: str, body: bytes) -> Answer:
        hex_part = digest.removeprefix("sha256:")
        if len(hex_part) != 64 or set(hex_part) - set("0123456789abcdef"):
            raise Refused(400, {"error": "invalid digest format"})
        if method == "HEAD":
            return (200 if self.blobs.has(digest) else 404), None
        if self.blobs.has(digest):
            return 200, None
        if (made := self.blobs.put(body)) != digest:  # it is kept all the same
            raise Refused(400, {"error": f'digest mismatch, expected "{digest}", got "{made}"'})
        return 201, None

    def _create(self, asked: dict[str, Any]) -> Answer:
        if asked.get("from"):
            self.pulls.append(asked["from"])
            return 200, [{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}]
        if not asked.get("files"):
            raise Refused(400, {"error": "neither 'from' or 'files' was specified"})
        lines: list[dict[str, str]] = [{"status": "parsing GGUF"}]
        if self.faults.create_error and "draft_files" not in asked:
            return 200, [*lines, {"error": self.faults.create_error}]
        digest = next(iter(asked["files"].values()))
        if not self.blobs.has(digest):
            return 200, [*lines, {"error": f"open {digest}: no such file or directory"}]
        metadata = read_metadata(self.blobs.path(digest))
        wanted = (asked.get("quantize") or "").lower() or None
        if wanted and quantization_of(metadata) not in _QUANTIZABLE:
            return 200, [*lines, {"error": "quantization is only supported for F16, BF16 and F32 models"}]
        if wanted and wanted not in _QUANTIZATIONS:
            return 200, [*lines, {"error": f"unsupported quantization type {asked['quantize']}"}]
        go, stops = self.templates.chosen(asked.get("template"), str(metadata.get("tokenizer.chat_template") or ""))
        if self.faults.cut and "draft_files" not in asked:
            return 200, [*lines, {"status": "writing manifest"}]
        parameters = {**({"stop": stops} if stops else {}), **(asked.get("parameters") or {})}
        for lost in self.faults.loses:
            parameters.pop(lost, None)
        before = self.models.pop(_full(asked["model"]), None)
        self.models[_full(asked["model"])] = Made(
            weights=self.blobs.rewritten(digest, wanted),
            go=go,
            system=asked.get("system") or "",
            license=str(asked.get("license") or ""),
            parameters=json.dumps(parameters, sort_keys=True),
            drafts=tuple(sorted((asked.get("draft_files") or {}).values())) if self.templates.mode == "new" else (),
        )
        if before:
            self._prune(before.blobs)
        return 200, [*lines, {"status": "writing manifest"}, {"status": "success"}]

    def find(self, name: str) -> Made:
        if _full(name) not in self.models:
            raise Refused(404, {"error": f"model '{name}' not found"})
        return self.models[_full(name)]

    def _tags(self) -> Answer:
        listed = [{"name": name, "model": name, "digest": made.digest, "size": 1} for name, made in self.models.items()]
        return 200, {"models": listed}

    def _metadata(self, made: Made) -> dict[str, Any]:
        return read_metadata(self.blobs.path(made.weights))

    def _show(self, asked: dict[str, Any]) -> Answer:
        made = self.find(asked["model"])
        lines = []
        for name, value in json.loads(made.parameters).items():
            lines += [f"{name:<30} {json.dumps(v)}" for v in (value if isinstance(value, list) else [value])]
        _, template = self.templates.rendered(made, self._metadata(made))
        shown = {"template": template, "parameters": "\n".join(lines), "license": made.license}
        if made.system:
            shown["system"] = made.system
        rest = {"modelfile": "", "details": {}, "capabilities": ["completion", *capabilities(template)]}
        return 200, {**shown, **rest, "model_info": shown_metadata(self.blobs.path(made.weights))}

    def _copy(self, asked: dict[str, Any]) -> Answer:
        made = self.find(asked["source"])
        if not self.faults.refuses_copy:
            self.models[_full(asked["destination"])] = replace(made)
        return 200, None

    def _delete(self, asked: dict[str, Any]) -> Answer:
        made = self.find(asked["model"])
        del self.models[_full(asked["model"])]
        self._prune(made.blobs)
        return 200, None

    def _chat(self, asked: dict[str, Any]) -> Answer:
        made = self.find(asked["model"])
        messages = asked.get("messages") or []
        if not messages:
            return 200, self._load_or_unload(made, asked)
        think, prompt = self._prompt(made, asked, messages)
        if asked.get("_debug_render_only") and self.templates.mode == "new":
            return 200, {"model": asked["model"], "_debug_info": {"rendered_template": prompt}}
        if self.faults.unreadable:
            raise Refused(500, {"error": "llama-server chat error: The model produced output that does not match"})
        answer = self._answer(made, prompt, asked)
        said = {"role": "assistant", **_parted(answer["content"], prompt, think)}
        return 200, {"model": asked["model"], "message": said, **_counts(answer)}

    def _generate(self, asked: dict[str, Any]) -> Answer:
        made = self.find(asked["model"])
        prompt = asked.get("prompt") or ""
        if not prompt:
            return 200, self._load_or_unload(made, asked)
        if not asked.get("raw"):
            _, prompt = self._prompt(made, asked, [{"role": "user", "content": prompt}])
        answer = self._answer(made, prompt, asked)
        return 200, {"model": asked["model"], "response": answer["content"], **_counts(answer)}

    def _completions(self, asked: dict[str, Any]) -> Answer:
        """OpenAI's layer: who names no temperature gets 1, over the model's own parameters."""
        made = self.find(asked["model"])
        options = {"temperature": asked.get("temperature", 1.0), "top_p": asked.get("top_p", 1.0)}
        held = ((asked.get("response_format") or {}).get("json_schema") or {}).get("schema")
        if asked.get("max_tokens") is not None:
            options["num_predict"] = asked["max_tokens"]
        think, prompt = self._prompt(made, asked, asked["messages"])
        answer = self._answer(made, prompt, {"options": options, "format": held})
        message = {"role": "assistant", "content": _parted(answer["content"], prompt, think)["content"]}
        finish = "length" if answer["truncated_at"] else "stop"
        choice = {"index": 0, "message": message, "finish_reason": finish}
        usage = {"prompt_tokens": answer["tokens_evaluated"], "completion_tokens": answer["tokens_predicted"]}
        head = {"id": "chatcmpl-1", "object": "chat.completion", "model": asked["model"]}
        return 200, {**head, "choices": [choice], "usage": usage}

    def _prompt(self, made: Made, asked: dict[str, Any], messages: list[dict[str, str]]) -> tuple[bool, str]:
        """Whether it thinks (it does unless it is forbidden), and the rendered conversation."""
        kind, template = self.templates.rendered(made, self._metadata(made))
        can = capabilities(template)
        if asked.get("tools") and "tools" not in can:
            raise Refused(400, {"error": f"registry.ollama.ai/library/{asked['model']} does not support tools"})
        if asked.get("think") and "thinking" not in can:
            raise Refused(400, {"error": f'"{asked["model"]}" does not support thinking'})
        think = "thinking" in can and asked.get("think") is not False
        if made.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": made.system}, *messages]
        if kind == "jinja":
            told = {"enable_thinking": think} if "thinking" in can or asked.get("think") is False else {}
            return think, self.engine.rendered(made.weights, messages, asked.get("tools"), told)
        turns: list[dict[str, str]] = []
        for message in messages:  # Ollama's own language gets neighbours of one role as one
            if turns and turns[-1]["Role"] == message["role"]:
                turns[-1]["Content"] += "\n\n" + message["content"]
            else:
                turns.append({"Role": message["role"], "Content": message["content"]})
        system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
        prompt = "\n\n".join(m["content"] for m in messages if m["role"] == "user")
        return think, render(template, {"Messages": turns, "System": system, "Prompt": prompt})

    def _load_or_unload(self, made: Made, asked: dict[str, Any]) -> dict[str, Any]:
        unload = asked.get("keep_alive") == 0
        if unload:
            self.engine.unload(made.weights)
        else:
            self.engine.load(made.weights)
        return {"model": asked["model"], "done": True, "done_reason": "unload" if unload else "load", **_EMPTY}

    def _answer(self, made: Made, prompt: str, asked: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(asked)
        own = json.loads(made.parameters)
        options = {"temperature": 0.8, "num_predict": -1, **own, **(asked.get("options") or {})}
        likely = asked.get("top_logprobs", 0) if asked.get("logprobs") else None
        return self.engine.answer(made.weights, prompt, options, likely, asked.get("format"))


def _parted(text: str, prompt: str, think: bool) -> dict[str, str]:
    """Thoughts apart from the answer, where it thinks."""
    opened = prompt.rstrip().endswith("<think>") or text.lstrip().startswith("<think>")
    if not (think and opened):
        return {"content": text}
    thoughts, _, content = text.lstrip().removeprefix("<think>").partition("</think>")
    return {"thinking": thoughts.strip(), "content": content.lstrip()}


def _counts(answer: dict[str, Any]) -> dict[str, Any]:
    reason = "length" if answer["truncated_at"] else "stop"
    counts = {
        "done": True,
        "done_reason": reason,
        "prompt_eval_count": answer["tokens_evaluated"],
        "eval_count": answer["tokens_predicted"],
    }
    return {**counts, "logprobs": answer["logprobs"]} if answer["logprobs"] else counts


def _full(name: str) -> str:
    return name if ":" in name else f"{name}:latest"
