"""A LiteLLM proxy, with or without a database, as version 1.108.7 answers: odd status codes included."""

import fnmatch
from typing import Any

import httpx

from fakes.http_app import Answer, HttpApp, Refused, parsed

_NO_DB = "{'error': \"No DB Connected. Here's how to do it - https://docs.litellm.ai/docs/proxy/virtual_keys\"}"


class FakeLiteLLM(HttpApp):
    """`config`: model_name → litellm_params, as in its configuration. `failures`: statuses of the next answers."""

    content_type = "application/json"

    def __init__(
        self,
        *,
        database: bool = False,
        forgets: bool = False,
        key: str = "sk-master",
        config: dict[str, dict[str, Any]] | None = None,
    ):
        self.database, self.forgets, self.key = database, forgets, key
        self.config = config or {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.failures: list[int] = []
        super().__init__()

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> Answer:
        if self.failures:
            status = self.failures.pop(0)
            raise Refused(status, {"error": {"message": f"upstream trouble {status}", "code": str(status)}})
        if path == "/health/readiness":
            return 200, {"status": "healthy", "db": "connected" if self.database else "Not connected"}
        if headers.get("Authorization") != f"Bearer {self.key}":
            raise self._wrong_key()
        routes = {
            ("GET", "/v1/models"): lambda _: (
                200,
                {"data": [{"id": name} for name in self._names()], "object": "list"},
            ),
            ("GET", "/v1/model/info"): lambda _: (200, {"data": self._info()}),
            ("POST", "/model/new"): self._new,
            ("POST", "/model/update"): self._update,
            ("POST", "/model/delete"): self._remove,
            ("POST", "/v1/chat/completions"): self._chat,
        }
        if (method, path) not in routes:
            raise Refused(404, {"detail": "Not Found"})
        return routes[(method, path)](parsed(body) if body else {})

    def _wrong_key(self) -> Refused:
        if self.database:
            return Refused(401, _error("Authentication Error, Invalid proxy server token passed", "401", "auth_error"))
        return Refused(400, _error("No connected db.", "400", "no_db_connection"))

    def _names(self) -> list[str]:
        plain = [name for name in self.config if "*" not in name]
        return plain + [row["model_name"] for row in self.rows.values()]

    def _info(self) -> list[dict[str, Any]]:
        listed = [
            {"model_name": n, "litellm_params": p, "model_info": {"id": f"config-{n}", "db_model": False}}
            for n, p in self.config.items()
        ]
        for row in self.rows.values():
            shown = {key: _shown(value) for key, value in row["litellm_params"].items() if key != "api_key"}
            info = {**row["model_info"], "db_model": not self.forgets}
            listed.append({**row, "litellm_params": shown, "model_info": info})
        return listed

    def _require_database(self) -> None:
        if not self.database:
            raise Refused(500, _error(_NO_DB, "500", "auth_error"))

    def _new(self, row: dict[str, Any]) -> Answer:
        self._require_database()
        if row["model_info"]["id"] in self.rows:
            raise Refused(500, _error("Unique constraint failed on the fields: (`model_id`)", "500", "auth_error"))
        self.rows[row["model_info"]["id"]] = row
        return 200, {"model_id": row["model_info"]["id"], "model_name": row["model_name"]}

    def _update(self, row: dict[str, Any]) -> Answer:
        self._require_database()
        if row["model_info"]["id"] not in self.rows:
            raise Refused(400, _error("Model not found", "400", "bad_request"))
        kept = self.rows[row["model_info"]["id"]]
        kept.update(
            {**row, "litellm_params": {**kept["litellm_params"], **row["litellm_params"]}}
        )  # nothing is taken out
        return 200, row

    def _remove(self, asked: dict[str, Any]) -> Answer:
        self._require_database()
        if self.rows.pop(asked["id"], None) is None:
            raise Refused(400, _error(f"Model with id={asked['id']} not found in db", "400", "auth_error"))
        return 200, {"message": f"Model: {asked['id']} deleted successfully"}

    def _chat(self, asked: dict[str, Any]) -> Answer:
        name = asked["model"]
        found = [row["litellm_params"] for row in self.rows.values() if row["model_name"] == name]
        found += [p for pattern, p in sorted(self.config.items(), reverse=True) if fnmatch.fnmatchcase(name, pattern)]
        if not found:
            reason = (
                f"litellm.BadRequestError: You passed in model={name}. There are no healthy deployments for this model"
            )
            raise Refused(400, _error(reason, "400", "invalid_request_error"))
        provider, _, model = found[0]["model"].partition("/")
        set_here = {key: value for key, value in found[0].items() if key not in ("model", "api_base", "api_key")}
        sent = {**set_here, **asked, "model": name if "*" in model else model}  # the caller's wins
        return self._forward(provider, found[0]["api_base"], sent)

    def _forward(self, provider: str, base: str, asked: dict[str, Any]) -> Answer:
        try:
            if provider == "openai":
                answer = httpx.post(f"{base}/chat/completions", json=asked, timeout=60)
                return answer.status_code, answer.json()
            assert provider == "ollama_chat", "ollama/ would replace the chat template"
            sent = {"model": asked["model"], "messages": asked["messages"], "stream": False}
            names = {"temperature": "temperature", "max_tokens": "num_predict"}
            sent["options"] = {theirs: asked[ours] for ours, theirs in names.items() if ours in asked}
            if (asked.get("response_format") or {}).get("type") == "json_schema":
                sent["format"] = asked["response_format"]["json_schema"]["schema"]
            kind = {"Content-Type": "application/octet-stream"}  # as the real one sends it
            answer = httpx.post(
                f"{base}/api/chat", content=httpx.Request("POST", base, json=sent).content, headers=kind
            )
        except httpx.TransportError as error:
            raise Refused(
                500, _error(f"litellm.APIConnectionError: {error}", "500", "internal_server_error")
            ) from error
        if answer.status_code != 200:
            reason = f"litellm.APIConnectionError: Ollama_chatException - {answer.text}"
            raise Refused(500, _error(reason))
        message = {"role": "assistant", "content": answer.json()["message"]["content"]}
        return 200, {
            "object": "chat.completion",
            "model": asked["model"],
            "choices": [{"index": 0, "message": message}],
        }


def _shown(value: Any) -> Any:
    """As its masker shows it: what is no text, number or list in a list becomes text."""
    if isinstance(value, dict):
        return {key: _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [
            _shown(item) if isinstance(item, dict | list) else item if item is not None else "None" for item in value
        ]
    return value


def _error(message: str, code: str = "500", kind: str = "internal_server_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
