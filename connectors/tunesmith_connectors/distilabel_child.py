"""The process of `distilabel.ask`: one pipeline, run in its main thread. `python -m … SPEC.json`

A request that fails becomes a counted failure, never a row of None: distilabel itself would end with status 0.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from distilabel.models.llms import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import ChatGeneration
from distilabel.typing import FormattedInput, GenerateOutput
from pydantic import PrivateAttr, validate_call

AWAY_AFTER = 8  # failures in a row, with no answer before them, after which the teacher counts as away
LONGEST_ERROR = 300  # characters


class JournalLLM(OpenAILLM):  # type: ignore[misc]  # distilabel has no types
    """An OpenAI-shaped teacher that keeps each answer at once and stops where the budget ends.

    It runs in one process and one event loop, so that what is under way can be counted.
    """

    spec_path: str

    _requests: dict[str, dict[str, Any]] = PrivateAttr(default_factory=dict)
    _limit: dict[str, Any] = PrivateAttr(default_factory=dict)
    _prices: list[float] = PrivateAttr(default_factory=list)
    _journal: str = PrivateAttr("")
    _tokens: int = PrivateAttr(0)  # paid for, or under way with the longest answer
    _cost: float = PrivateAttr(0.0)
    _answered: int = PrivateAttr(0)
    _failed: int = PrivateAttr(0)

    def load(self) -> None:
        super().load()
        spec = json.loads(Path(self.spec_path).read_text(encoding="utf-8"))
        self._requests = {_text(r["messages"]): r for r in spec["requests"]}
        self._limit, self._journal = spec["limit"], spec["journal"]
        self._prices = spec["teacher"]["prices"]

    @validate_call
    async def agenerate(
        self, input: FormattedInput, num_generations: int = 1, temperature: float = 1.0
    ) -> GenerateOutput:
        request = self._requests[_text(input)]
        error = self._reserve(request)
        if error is None:
            try:
                output = await self._generate_chat_completion(
                    input, num_generations, request["max_tokens"], temperature=temperature, extra_body=request["extra"]
                )
                text, usage = output["generations"][0], output["statistics"]
                paid = usage["input_tokens"][0], usage["output_tokens"][0]
                error = None if text and text.strip() else "an empty answer"
            except Exception as failure:  # any failure of one question is counted; the others go on
                text, paid, error = None, (0, 0), _without_key(f"{type(failure).__name__}: {failure}")
            self._settle(request, text if error is None else None, paid, error)
        if error is not None:
            _append(_failures(self.spec_path), {"key": request["key"], "error": error})
            return {"generations": [None], "statistics": {"input_tokens": [0], "output_tokens": [0]}}
        return output

    def _reserve(self, request: dict[str, Any]) -> str | None:
        """Counts the dearest outcome; why not, when there is no room for it."""
        if self._failed >= AWAY_AFTER and not self._answered:
            return "not asked: the teacher is away"
        tokens, cost = self._dearest(request)
        limit = self._limit
        if limit["tokens"] is not None and self._tokens + tokens > limit["tokens"]:
            return "budget"
        if limit["cost"] is not None and self._cost + cost > limit["cost"]:
            return "budget"
        self._tokens, self._cost = self._tokens + tokens, self._cost + cost
        return None

    def _dearest(self, request: dict[str, Any]) -> tuple[int, float]:
        return self._price(request["prompt_tokens"], request["max_tokens"])

    def _price(self, given: int, made: int) -> tuple[int, float]:
        return given + made, (given * self._prices[0] + made * self._prices[1]) / 1e6

    def _settle(self, request: dict[str, Any], text: str | None, paid: tuple[int, int], error: str | None) -> None:
        """What was reserved becomes what was paid, on disk before anything else happens."""
        estimated = text is not None and not any(paid)
        if estimated:  # an endpoint that does not say what it used
            paid = request["prompt_tokens"], len(text.encode()) // 3 if text else 0
        reserved, real = self._dearest(request), self._price(*paid)
        self._tokens += real[0] - reserved[0]
        self._cost += real[1] - reserved[1]
        self._answered += error is None
        self._failed += error is not None
        if text is None and not any(paid):
            return
        line = {"key": request["key"], "text": text, "input_tokens": paid[0], "output_tokens": paid[1]}
        _append(Path(self._journal), {**line, **({"estimated": True} if estimated else {})})


def _without_key(error: str) -> str:
    """Some endpoints repeat the key that they refuse."""
    return error.replace(os.environ["OPENAI_API_KEY"], "…")[:LONGEST_ERROR]


def _text(messages: Any) -> str:
    return json.dumps([[m["role"], m["content"]] for m in messages])


def _failures(spec_path: str) -> Path:
    return Path(spec_path).with_name("failures.jsonl")


def _append(path: Path, item: dict[str, Any]) -> None:
    """One whole line; a line that a crash cut off before it is closed first."""
    with path.open("ab+") as out:
        if out.tell():
            out.seek(-1, os.SEEK_END)
            cut = out.read(1) != b"\n"
        else:
            cut = False
        out.write(b"\n" * cut + json.dumps(item, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        out.flush()
        os.fsync(out.fileno())


def _end_with_parent() -> None:
    """Kill this session when the pipe on stdin closes: distilabel's workers would go on asking."""

    def watch() -> None:
        # Not sys.stdin: workers are forks, and close it; a lock that this thread held would never be free in them.
        while os.read(0, 1):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def main(spec_path: str) -> None:
    _end_with_parent()
    spec = json.loads(Path(spec_path).read_text(encoding="utf-8"))
    teacher = spec["teacher"]
    with Pipeline(name="teacher", cache_dir=spec["scratch"]) as pipeline:
        rows = [{"key": request["key"], "messages": request["messages"]} for request in spec["requests"]]
        load = LoadDataFromDicts(data=rows, batch_size=teacher["concurrency"])
        llm = JournalLLM(
            model=teacher["model"],
            base_url=teacher["base_url"],
            timeout=teacher["timeout"],
            max_retries=2,
            spec_path=spec_path,
            generation_kwargs={"temperature": teacher["temperature"]},
        )
        load >> ChatGeneration(llm=llm, input_batch_size=teacher["concurrency"])
    pipeline.run(use_cache=False)
    place = _failures(spec_path)
    lines = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
    failed = {item["key"]: item["error"] for item in map(json.loads, lines)}
    place.with_name("failures.json").write_text(json.dumps(failed), encoding="utf-8")


if __name__ == "__main__":
    from tunesmith_connectors import distilabel_child  # workers find the classes by this name, not by __main__

    distilabel_child.main(sys.argv[1])
