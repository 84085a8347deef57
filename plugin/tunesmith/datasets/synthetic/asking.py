"""Who is asked and what it costs: endpoints from the settings, one budget for teacher and judges, failures counted."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunesmith.datasets.synthetic.options import SyntheticOptions
from tunesmith.datasets.synthetic.report import Usage
from tunesmith.errors import BadInput, Unavailable
from tunesmith.settings import Settings
from tunesmith_connectors import distilabel
from tunesmith_connectors.distilabel import GenerationFailed, Limit, Reply, Request, Teacher

MOST_FAILED = 0.5  # share of the questions of one round that may fail
TEACHERS_SHARE = 0.4  # of what is left of the budget, when the rows will be judged
_FINAL = (
    "AuthenticationError",
    "PermissionDeniedError",
    "NotFoundError",
    "BadRequestError",
    "UnprocessableEntityError",
)


def teacher_of(settings: Settings, options: SyntheticOptions, model: str | None = None) -> Teacher:
    """The teacher's endpoint: its own URL, else the LiteLLM proxy, else Ollama. Raises BadInput when there is none."""
    key = settings.teacher_key
    if settings.teacher_url:
        url = settings.teacher_url
    elif settings.litellm_url:
        url, key = settings.litellm_url, key or settings.litellm_key
    elif settings.ollama_url:
        url = settings.ollama_url
    else:
        raise BadInput(
            "Synthetic rows need a teacher, and none is configured.",
            hint="Set TUNESMITH_TEACHER_URL to an OpenAI-shaped endpoint, or TUNESMITH_LITELLM_URL or _OLLAMA_URL.",
        )
    name = model or options.teacher or settings.teacher_model
    if not name:
        raise BadInput(
            "Which model is the teacher?", param="sources.synthetic.teacher", hint="Or set TUNESMITH_TEACHER_MODEL."
        )
    url = url.rstrip("/")
    return Teacher(
        base_url=url if url.endswith("/v1") else url + "/v1",
        model=name,
        api_key=key.get_secret_value() if key else "none",
        prices=options.budget.prices,
        temperature=options.temperature,
        concurrency=settings.teacher_concurrency,
    )


@dataclass
class Asker:
    """Asks with a journal in `folder`, which a second attempt finds again. `base`: the model that is to be corrected;
    `form`: what else it is sent."""

    settings: Settings
    options: SyntheticOptions
    folder: Path
    stopped: Callable[[], bool] = lambda: False
    base: Teacher | None = None
    form: Callable[[Request], dict[str, Any]] = lambda request: {}
    asked: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    out_of_budget: bool = False

    def teach(self, requests: Sequence[Request]) -> list[Reply]:
        """A teacher leaves room in the budget for a judge, who reads every row twice."""
        share = TEACHERS_SHARE if self.options.judge else 1.0
        return self._paid(teacher_of(self.settings, self.options), requests, "teacher", share) if requests else []

    def judge(self, model: str, requests: Sequence[Request]) -> list[Reply]:
        return self._paid(teacher_of(self.settings, self.options, model), requests, f"judge {model}")

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """What the base model says. It is ours: nothing is paid."""
        if not requests:
            return []
        assert self.base is not None
        held = [replace(request, extra=self.form(request)) for request in requests]
        return self._ask(self.base, held, self.folder / "base.jsonl", Limit(), "base model")

    def used(self) -> Usage:
        given, made = distilabel.spent([self._journal])
        return self.price(len(distilabel.read_journal(self._journal)), given, made)

    def price(self, requests: int, given: int, made: int) -> Usage:
        prices = self.options.budget.prices
        cost = round((given * prices[0] + made * prices[1]) / 1e6, 6)
        return Usage(requests=requests, input_tokens=given, output_tokens=made, cost=cost)

    @property
    def _journal(self) -> Path:
        return self.folder / "paid.jsonl"

    def _paid(self, teacher: Teacher, requests: Sequence[Request], who: str, share: float = 1.0) -> list[Reply]:
        used, budget = self.used(), self.options.budget
        tokens = None if budget.tokens is None else budget.tokens - used.input_tokens - used.output_tokens
        cost = None if budget.cost is None else budget.cost - used.cost
        limit = Limit(None if tokens is None else int(tokens * share), None if cost is None else cost * share)
        return self._ask(teacher, requests, self._journal, limit, who)

    def _ask(self, teacher: Teacher, requests: Sequence[Request], journal: Path, limit: Limit, who: str) -> list[Reply]:
        """Raises Unavailable when too many questions get no answer; what was answered stays in the journal."""
        if not requests:
            return []
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            replies = distilabel.ask(
                teacher, requests, journal, limit=limit, log=self.folder / "distilabel.log", stopped=self.stopped
            )
        except GenerationFailed as error:
            hint = "pip install 'tunesmith[synthetic]', and look at distilabel.log in the job's folder."
            raise Unavailable(str(error), code="teacher_failed", hint=hint, retryable=False) from error
        unasked = sum(reply.error == distilabel.NOT_ASKED for reply in replies)
        failures = Counter(r.error for r in replies if r.error and r.error != distilabel.NOT_ASKED)
        self.out_of_budget |= unasked > 0
        self.asked += len(replies) - unasked
        self.answered += sum(reply.text is not None for reply in replies)
        self.failed.update(_short(reason) for reason, count in failures.items() for _ in range(count))
        lost = sum(count for reason, count in failures.items() if reason != distilabel.EMPTY)
        if lost > MOST_FAILED * (len(replies) - unasked):
            reason = next(r for r, _ in failures.most_common() if not r.startswith("not asked"))
            raise Unavailable(
                f"The {who} left {lost} of {len(replies) - unasked} questions without an answer: {reason}",
                code="teacher_failed",
                hint=f"Does TUNESMITH_TEACHER_URL serve {teacher.model}? Answers that came are kept: resume the run.",
                retryable=not reason.startswith(_FINAL),
            )
        return replies


def _short(reason: str | None) -> str:
    """The kind of a failure, without what differs from question to question."""
    return (reason or "").partition(":")[0][:80]
