"""A scripted teacher: an OpenAI-shaped endpoint that answers by a function, and can fail as a real one does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fakes.chat_model import completion
from fakes.http_app import Answer, HttpApp, parsed
from tunesmith_connectors.distilabel import NOT_ASKED, Limit, Reply, Request, read_journal
from tunesmith_connectors.distilabel import Teacher as Endpoint

KEY = "sk-teacher-secret"
Script = Callable[[str], str | int | None]


class Teacher(HttpApp):
    """`script`: last user message → an answer, None (a message without content), or an HTTP status to fail with.

    Refuses what a real endpoint refuses: a wrong key (401), an unknown model (404), a body without messages (400).
    `usage`: tokens in and out that each answer costs; `asked` keeps the bodies.
    """

    def __init__(self, script: Script, *, model: str = "big", usage: tuple[int, int] = (10, 5)):
        self.script, self.model, self.usage = script, model, usage
        self.asked: list[dict[str, Any]] = []
        super().__init__()

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> Answer:
        if method != "POST" or path != "/v1/chat/completions":
            return 404, _problem(f"{path} is not here")
        if headers.get("Authorization") != f"Bearer {KEY}":
            return 401, _problem("Incorrect API key provided")
        asked = parsed(body)
        if asked.get("model") != self.model:
            return 404, _problem(f"The model {asked.get('model')} does not exist")
        if not asked.get("messages"):
            return 400, _problem("messages is required")
        self.asked.append(asked)
        said = self.script(asked["messages"][-1]["content"])
        if isinstance(said, int):
            return said, _problem("The server had an error")
        answer = completion(said or "", len(self.asked), self.model)
        if said is None:
            answer["choices"][0]["message"]["content"] = None
        answer["usage"] = {
            "prompt_tokens": self.usage[0],
            "completion_tokens": self.usage[1],
            "total_tokens": sum(self.usage),
        }
        return 200, answer


def _problem(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error"}}


def asks(script: Script) -> Callable[..., list[Reply]]:
    """Stands in for `distilabel.ask` in tests of what is made of the answers: same journal, same limit, no process."""

    def ask(
        teacher: Endpoint, requests: list[Request], journal: Path, *, limit: Limit | None = None, **_: Any
    ) -> list[Reply]:
        known, replies = read_journal(journal), []
        for request in requests:
            key, said = request.key(teacher), script(request.messages[-1]["content"])
            if key in known:
                replies.append(Reply(known[key]["text"], 10, 5, again=True))
            elif limit and limit.tokens is not None and limit.tokens < request.prompt_tokens + request.max_tokens:
                replies.append(Reply(None, error=NOT_ASKED))
            elif not isinstance(said, str):
                replies.append(Reply(None, error=f"InternalServerError: {said}"))
            else:
                line = {"key": key, "text": said, "input_tokens": 10, "output_tokens": 5}
                with journal.open("a", encoding="utf-8") as out:
                    out.write(json.dumps(line) + "\n")
                limit = Limit(None if limit is None or limit.tokens is None else limit.tokens - 15)
                replies.append(Reply(said, 10, 5))
        return replies

    return ask
