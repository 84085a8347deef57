"""A server of models that answer by a script, in OpenAI's protocol and in Ollama's: what is asked how is recorded."""

from collections.abc import Callable
from typing import Any

from fakes.http_app import Answer, HttpApp, Refused, parsed

Script = Callable[[str, str], str]  # (where it was asked: "v1" or "chat", the last user message) → the answer


class ScriptedModels(HttpApp):
    """`models`: name with tag → its script. `asked`: (path, body) of every chat."""

    def __init__(self) -> None:
        self.models: dict[str, Script] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        super().__init__()

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> Answer:
        if path == "/api/version":
            return 200, {"version": "0.99.0-scripted"}
        if path not in ("/v1/chat/completions", "/api/chat"):
            raise Refused(404, {"error": f"{method} {path} is not known"})
        body_in = parsed(body)
        self.asked.append((path, body_in))
        if body_in["model"] not in self.models:
            raise Refused(404, {"error": f"model '{body_in['model']}' not found"})
        text = next(m["content"] for m in reversed(body_in["messages"]) if m["role"] == "user")
        said = self.models[body_in["model"]]("v1" if path.startswith("/v1") else "chat", text)
        message = {"role": "assistant", "content": said}
        if path == "/api/chat":
            return 200, {"model": body_in["model"], "message": message, "done": True, "done_reason": "stop"}
        return 200, {"object": "chat.completion", "choices": [{"index": 0, "message": message}]}

    def count(self, path: str, model: str) -> int:
        return sum(at == path and body["model"] == model for at, body in self.asked)
