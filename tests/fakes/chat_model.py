"""A scripted chat model in OpenAI's shape: each question gets the next answer of the script."""

from typing import Any

from fakes.http_app import Answer, HttpApp, parsed


class ChatModel(HttpApp):
    """`script` holds tool calls as (name, arguments JSON), or a text; `asked` keeps every request."""

    def __init__(self, script: list[tuple[str, str] | str]):
        self.script, self.asked = list(script), list[dict[str, Any]]()
        super().__init__()

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> Answer:
        if not path.endswith("/chat/completions"):
            return 404, {"error": {"message": f"{path} is not here", "type": "invalid_request_error"}}
        self.asked.append(parsed(body))
        if not self.script:
            return 400, {"error": {"message": "The script is at its end.", "type": "invalid_request_error"}}
        return 200, completion(self.script.pop(0), len(self.asked), self.asked[-1]["model"])


def completion(step: tuple[str, str] | str, turn: int, model: str) -> dict[str, Any]:
    if isinstance(step, str):
        message: dict[str, Any] = {"role": "assistant", "content": step}
    else:
        function = {"name": step[0], "arguments": step[1]}
        call = {"id": f"call_{turn}", "type": "function", "function": function}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    reason = "stop" if isinstance(step, str) else "tool_calls"
    return {
        "id": f"chatcmpl-{turn}",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
