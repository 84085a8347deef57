"""Ask a served model every held-out row, as a caller would, and score what it says."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from tunesmith.errors import BadInput, Unavailable
from tunesmith.evaluation.metrics import Metrics, summarise
from tunesmith.serving import tool_asking
from tunesmith.serving.targets.base import Endpoint, Route, Target
from tunesmith.store.files import write_text
from tunesmith.tasks.base import Score, Task
from tunesmith.tasks.conversation import Message, Row
from tunesmith.tasks.native_tools import answer_text, read_conversation
from tunesmith.tasks.tool_use import as_trained

MOST_TOKENS, LEAST_TOKENS = 4096, 64
TIMEOUT_S = 600.0  # an Ollama that answers one at a time lets the others wait
REFUSED = (400, 413, 422)  # statuses that blame the request
TOO_LONG = "context_length_exceeded"  # OpenAI's code
UNREADABLE = "answer_unreadable"
# How llama.cpp's server says that what the model wrote, half a character or half a call, cannot be read as an answer.
_NOT_READ = "does not match the expected"


@dataclass
class Answered:
    """One answer beside what was expected."""

    expected: str
    answer: str
    score: Score
    provenance: dict[str, Any]

    def as_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass
class Examination:
    """How a model is asked: `constrained` as served by our /v1, or on another `route`; `shots` example rows before the
    question. `most_tokens`: how long an answer may get as the model is set up; None: as long as a right one can be."""

    target: Target
    endpoint: Endpoint
    task: Task
    constrained: bool = True
    shots: Sequence[Row] = ()
    concurrency: int = 4
    route: Route | None = None
    most_tokens: int | None = None

    def __post_init__(self) -> None:
        self.task = as_trained(self.task, self.endpoint.tool_form)

    def run(self, rows: Sequence[Row], on_answer: Callable[[int, int], None] | None = None) -> list[Answered]:
        """Answers in the order of `rows`. Raises Unavailable when the model stops answering."""
        answered: list[Answered] = []
        room = answer_room(rows)
        with httpx.Client(timeout=TIMEOUT_S) as client, ThreadPoolExecutor(self.concurrency) as pool:
            for result in pool.map(lambda row: self._ask(client, row, room), rows):
                answered.append(result)
                if on_answer:
                    on_answer(len(answered), len(rows))
        return answered

    def _ask(self, client: httpx.Client, row: Row, room: int) -> Answered:
        prompt = self.task.few_shot(self.shots, row.prompt) if self.shots else row.prompt
        try:
            answer = self._answer(client, prompt, row.prompt, room)
        except (BadInput, Unavailable) as error:
            if error.error_code not in (TOO_LONG, UNREADABLE):
                raise
            answer = ""  # as served it is not answered, and counts so
        return Answered(row.answer, answer, self.task.score(answer, row.answer, row.prompt), row.provenance)

    def _answer(self, client: httpx.Client, prompt: list[Message], question: list[Message], room: int) -> str:
        if self.route is not None and self.route.api == "ollama":
            return chat(client, self.endpoint, self._chat_body(self.route, prompt, room))
        return complete(client, self.endpoint, self._body(prompt, question, room))

    def _body(self, prompt: list[Message], question: list[Message], room: int) -> dict[str, Any]:
        request = {"model": self.endpoint.model, "messages": prompt, "temperature": 0}
        request["max_tokens"] = self.most_tokens or room
        constraint = self.task.constraint(question) if self.constrained else None
        told = read_conversation(prompt) if self.endpoint.tool_form else None
        if told is not None:
            return tool_asking.body(self.target, request, told, constraint, tool_asking.Choice())
        return self.target.body(request, constraint)

    def _chat_body(self, route: Route, prompt: list[Message], room: int) -> dict[str, Any]:
        """What callers of that route send, and no more. Only a model that is set up without an end is given one."""
        told = read_conversation(prompt) if self.endpoint.tool_form else None
        body = {**route.parameters, "model": self.endpoint.model, "messages": prompt, "stream": False}
        if told is not None:
            body |= {"messages": told.messages, **({"tools": told.tools} if told.tools else {})}
        if self.most_tokens is None:
            body["options"] = {"num_predict": room, **body.get("options", {})}
        return body


def answer_room(rows: Sequence[Row]) -> int:
    """Tokens that an answer may take: no tokenizer needs more than one per character, and the longest expected answer
    bounds what can be right. Keeps an untuned model from rambling for minutes."""
    longest = max((len(row.answer) for row in rows), default=0)
    return min(MOST_TOKENS, max(LEAST_TOKENS, longest))


def complete(client: httpx.Client, endpoint: Endpoint, body: dict[str, Any]) -> str:
    """One chat completion. Raises BadInput for a request that the server refuses, and Unavailable for a model that is
    away or answers nonsense."""
    with _answering():
        answer = _post(client, f"{endpoint.base_url}/chat/completions", endpoint, body)
        return answer_text(answer["choices"][0]["message"])


def chat(client: httpx.Client, endpoint: Endpoint, body: dict[str, Any]) -> str:
    """As `complete`, in Ollama's own protocol."""
    with _answering():
        url = f"{endpoint.base_url.removesuffix('/v1')}/api/chat"
        return answer_text(_post(client, url, endpoint, body)["message"])


def _post(client: httpx.Client, url: str, endpoint: Endpoint, body: dict[str, Any]) -> Any:
    response = client.post(url, json=body, headers=endpoint.headers)
    response.raise_for_status()
    return response.json()


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPStatusError as error:
        if blames_request(error.response):
            raise refusal(error.response) from error
        if error.response.status_code == 500 and _NOT_READ in error.response.text:
            raise Unavailable("What the model wrote cannot be read.", code=UNREADABLE, retryable=False) from error
        retryable = error.response.status_code >= 500 or error.response.status_code == 429
        raise Unavailable(
            f"The model answered HTTP {error.response.status_code}: {error.response.text[:200]}",
            hint="Look at the log of the serving target.",
            retryable=retryable,
        ) from error
    except (httpx.HTTPError, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise Unavailable(f"The model did not answer: {error!r}", hint="Is the serving target running?") from error


def blames_request(response: httpx.Response) -> bool:
    """Whether a server refuses a request. llama.cpp's does so by a 500, too, where it cannot read messages or tools."""
    return response.status_code in REFUSED or (response.status_code == 500 and '"Failed to parse ' in response.text)


def refusal(response: httpx.Response) -> BadInput:
    """What llama.cpp or Ollama says is wrong with a request, with OpenAI's code where callers look for it."""
    try:
        content = response.json()
    except ValueError:
        content = response.text
    said = content.get("error") if isinstance(content, dict) else None
    text = str(said.get("message") if isinstance(said, dict) else said or content)[:500].rstrip(".") + "."
    if "context" in text and ("exceed" in text or "too long" in text):
        return BadInput(text, code=TOO_LONG, hint="Send less text.", param="messages")
    return BadInput(text, code="request_refused", hint="The model's server refused the request.")


def examine(examination: Examination, rows: Sequence[Row], keep: Path, say: Callable[[str], None]) -> Metrics:
    """Run an examination, keep each answer as a line of `keep`, and return the figures."""
    start = time.monotonic()
    every = max(1, len(rows) // 5)

    def progress(done: int, total: int) -> None:
        if done % every == 0 or done == total:
            say(f"{keep.stem}: {done} of {total} answers.")

    answered = examination.run(rows, progress)
    return figures(answered, keep, time.monotonic() - start)


def figures(answered: Sequence[Answered], keep: Path, seconds: float) -> Metrics:
    write_text(keep, "".join(item.as_json() + "\n" for item in answered))
    return summarise([item.score for item in answered], seconds)
