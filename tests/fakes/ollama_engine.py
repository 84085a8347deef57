"""llama.cpp below the stand-in for Ollama: it renders a GGUF's own template, and answers."""

from typing import Any

import httpx

from fakes.ollama_models import Blobs

CONTEXT = 1024
COLD = 0.1  # how far what is likely lies from itself when a prompt is computed for the first time


class Engine:
    """`loaded`: weights → running llama.cpp."""

    def __init__(self, blobs: Blobs):
        self.blobs = blobs
        self.loaded: dict[str, Any] = {}
        self.seen: set[tuple[str, str]] = set()

    def close(self) -> None:
        self.loaded.clear()

    def unload(self, weights: str) -> None:
        self.loaded.pop(weights, None)
        self.seen = {(of, prompt) for of, prompt in self.seen if of != weights}

    def load(self, weights: str) -> str:
        import xllamacpp

        if weights not in self.loaded:
            parameters = xllamacpp.CommonParams()
            parameters.model.path = str(self.blobs.path(weights))
            parameters.hostnames, parameters.port, parameters.n_ctx = ["127.0.0.1"], 0, CONTEXT
            parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
            parameters.warmup = False
            parameters.use_jinja = True
            self.loaded[weights] = xllamacpp.Server(parameters)
        return str(self.loaded[weights].listening_address)

    def rendered(
        self, weights: str, messages: list[dict[str, str]], tools: list[Any] | None, told: dict[str, bool]
    ) -> str:
        asked: dict[str, Any] = {"messages": messages, "chat_template_kwargs": told}
        if tools:
            asked["tools"] = tools
        return str(self._post(weights, "/apply-template", asked)["prompt"])

    def answer(
        self, weights: str, prompt: str, options: dict[str, Any], likely: int | None, schema: Any
    ) -> dict[str, Any]:
        """`likely`: how many log-probabilities beside the chosen one; None for none."""
        asked = {"prompt": prompt, "n_predict": options["num_predict"], "temperature": options["temperature"]}
        asked |= {"cache_prompt": False, "stop": options.get("stop", [])}
        asked["n_probs"] = 0 if likely is None else max(1, likely)
        if schema:
            asked["json_schema"] = schema
        answer = self._post(weights, "/completion", asked)
        cold = (weights, prompt) not in self.seen
        self.seen.add((weights, prompt))
        steps = [] if likely is None else [_step(step, cold) for step in answer.get("completion_probabilities", [])]
        return {**answer, "logprobs": steps, "truncated_at": answer.get("stop_type") == "limit"}

    def _post(self, weights: str, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        response = httpx.post(f"{self.load(weights)}{path}", json=asked, timeout=60)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer


def _step(step: dict[str, Any], cold: bool) -> dict[str, Any]:
    """A cold prompt's first choice is less sure of itself, and loses a near tie."""
    likely = [{"token": one["token"], "logprob": one["logprob"]} for one in step["top_logprobs"]]
    if cold and likely:
        likely[0]["logprob"] -= COLD
        likely.sort(key=lambda one: -one["logprob"])
    first = likely[0] if likely else {"token": step["token"], "logprob": step["logprob"]}
    return {**first, "top_logprobs": likely}
