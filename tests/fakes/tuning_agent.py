"""A scripted chat model that tunes a model with whatever tools it is offered, and goes on from what they answer.

It knows the way (rows → job → wait → card → question), and nothing else: every id and name comes out of an answer.
"""

import json
from typing import Any

from fakes.chat_model import ChatModel, completion
from fakes.http_app import Answer, Refused, parsed

NEXT = "Next I would call "
ENDED = ("succeeded", "failed", "cancelled", "paused")


class TuningAgent(ChatModel):
    """`rows`: JSONL that the user's sentence is taken to mean. `base_model`: must be offered by list_base_models.
    `one_a_turn`: after one call it says what comes next and waits for the user, as behind a caller of tools that runs
    one round of them."""

    def __init__(self, rows: str, base_model: str, question: str, *, one_a_turn: bool = False):
        self.rows, self.base_model, self.question = rows, base_model, question
        self.one_a_turn = one_a_turn
        super().__init__([])

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> Answer:
        if not path.endswith("/chat/completions"):
            return super().handle(method, path, body, headers)
        asked = parsed(body)
        self.asked.append(asked)
        names = [tool["function"]["name"] for tool in asked.get("tools") or []]
        step = _announced(asked["messages"]) or self._next(*_last(asked["messages"]))
        if not isinstance(step, str):
            found = [name for name in names if name.endswith(step[0])]
            if not found:
                raise Refused(400, {"error": {"message": f"no tool {step[0]} in {names}", "type": "invalid"}})
            step = (found[0], step[1])
            if self.one_a_turn and asked["messages"][-1]["role"] == "tool":
                step = f"{NEXT}{json.dumps(step)}"
        return 200, completion(step, len(self.asked), asked["model"])

    def _next(self, tool: str | None, answer: Any) -> tuple[str, str] | str:
        if tool is None:
            return _call("list_base_models")
        if tool.endswith("list_base_models"):
            if self.base_model not in [item["id"] for item in answer["data"]]:
                return f"I cannot go on: {self.base_model} is not among {answer}"
            # misspelt, as models do: the answer must be one that they can mend
            return _call("upload_training_rows", row=self.rows)
        if tool.endswith("upload_training_rows") and "id" not in answer:
            if "rows" not in str(answer):
                return f"I cannot go on: {answer}"
            return _call("upload_training_rows", rows=self.rows, idempotency_key="tuning-agent")
        if tool.endswith("upload_training_rows"):
            wanted = {"training_file": answer["id"], "model": self.base_model, "n_epochs": 1, "suffix": "agent"}
            return _call("create_fine_tuning_job", **wanted)
        if tool.endswith("create_fine_tuning_job"):
            return _call("wait_for_run", run_id=answer["run_id"], seconds=20)
        if tool.endswith("wait_for_run"):
            if answer["status"] not in ENDED:
                return _call("wait_for_run", run_id=answer["id"], seconds=20)
            return _call("get_model", name=answer["model"])
        if tool.endswith("get_model"):
            return _call("try_model", model=answer["name"], prompt=self.question, max_tokens=60)
        if "choices" not in answer:
            return f"I cannot go on: {answer}"
        said = answer["choices"][0]["message"]["content"]
        return f"{answer['model']} is live and answers {said}"


def _announced(messages: list[dict[str, Any]]) -> tuple[str, str] | None:
    """The call that the turn before said would come next."""
    said = _text(messages[-2].get("content") or "") if len(messages) > 1 else ""
    if messages[-1]["role"] != "user" or not said.startswith(NEXT):
        return None
    name, arguments = json.loads(said.removeprefix(NEXT))
    return name, arguments


def _call(name: str, /, **arguments: Any) -> tuple[str, str]:
    return name, json.dumps(arguments)


def _last(messages: list[dict[str, Any]]) -> tuple[str | None, Any]:
    """The name of the last tool that was called, and its answer: the JSON in it, or a text without any as `error`."""
    names = {call["id"]: call["function"]["name"] for m in messages for call in m.get("tool_calls") or []}
    for message in reversed(messages):
        if message["role"] == "tool":
            return names[message["tool_call_id"]], _json_in(_text(message["content"]))
    return None, None


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") == "text")


def _json_in(text: str) -> Any:
    try:
        return json.JSONDecoder().raw_decode(text[text.index("{") :])[0]
    except ValueError:
        return {"error": text}
