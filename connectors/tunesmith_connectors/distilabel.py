"""Asking a teacher many questions with distilabel, in a process of its own; every answer is paid for once.

Answers go to an append-only journal as they arrive. After a kill -9 of anything, the same questions find them there.
distilabel itself is imported by `distilabel_child` only.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


class GenerationFailed(Exception):
    """The process of distilabel did not come to its end; the message says why."""


@dataclass(frozen=True)
class Teacher:
    """An OpenAI-shaped endpoint. `base_url` ends in /v1; `prices`: money per million tokens, in and out."""

    base_url: str
    model: str
    api_key: str = field(default="none", repr=False)
    prices: tuple[float, float] = (0.0, 0.0)
    temperature: float = 0.7
    concurrency: int = 4
    timeout: float = 600.0  # a slow teacher is better waited for than asked, and paid, again


@dataclass(frozen=True)
class Request:
    """One question. The last message is the user's. `extra`: more keys of the body, as response_format."""

    messages: list[dict[str, str]]
    max_tokens: int = 1024
    extra: dict[str, Any] = field(default_factory=dict)

    def key(self, teacher: Teacher) -> str:
        """Equal for the same question to the same model: what the journal knows an answer by."""
        asked = [teacher.model, teacher.temperature, self.messages, self.max_tokens, self.extra]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def prompt_tokens(self) -> int:
        """An estimate from above for most texts: three bytes a token, and a few for each turn."""
        return sum(len(m["content"].encode()) // 3 + 8 for m in self.messages)


@dataclass(frozen=True)
class Reply:
    """`text` None: there is no answer, and `error` says why. `again`: it was in the journal before this call."""

    text: str | None
    input_tokens: int = 0
    output_tokens: int = 0
    error: str | None = None
    again: bool = False


@dataclass(frozen=True)
class Limit:
    """What may still be spent; None: no limit. A question is asked only when its longest answer fits, too."""

    tokens: int | None = None
    cost: float | None = None


NOT_ASKED = "budget"  # the error of questions that the limit left no room for
EMPTY = "an empty answer"  # paid for, so not asked again


def ask(
    teacher: Teacher,
    requests: Sequence[Request],
    journal: Path,
    *,
    limit: Limit | None = None,
    log: Path | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Reply]:
    """Replies in the order of `requests`; a question that failed has one without text.

    Raises GenerationFailed when the process fails, InterruptedError when `stopped` says so; what was answered until
    then is in the journal.
    """
    keys = [request.key(teacher) for request in requests]
    known = read_journal(journal)
    missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in known}
    failures: dict[str, str] = {}
    if missing:
        with tempfile.TemporaryDirectory(dir=journal.parent, prefix="distilabel-") as scratch:
            failures = _run(teacher, missing, journal, limit or Limit(), Path(scratch), log, stopped)
    found = read_journal(journal)
    return [_reply(found.get(key), failures.get(key, "no answer"), key in known) for key in keys]


def read_journal(path: Path) -> dict[str, dict[str, Any]]:
    """Answers by key. A last line that a crash cut off is left out."""
    found = {}
    for line in _lines(path):
        try:
            item = json.loads(line)
            found[item["key"]] = item
        except (ValueError, KeyError, TypeError):
            continue
    return found


def spent(journals: Iterable[Path]) -> tuple[int, int]:
    """Tokens in and out that were paid for."""
    items = [item for path in journals for item in read_journal(path).values()]
    return sum(i["input_tokens"] for i in items), sum(i["output_tokens"] for i in items)


def _lines(path: Path) -> Iterator[str]:
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as lines:
            yield from lines


def _reply(item: dict[str, Any] | None, error: str, again: bool) -> Reply:
    if item is None:
        return Reply(None, error=error)
    empty = None if item["text"] else EMPTY
    return Reply(item["text"], item["input_tokens"], item["output_tokens"], empty, again)


def _run(
    teacher: Teacher,
    requests: dict[str, Request],
    journal: Path,
    limit: Limit,
    scratch: Path,
    log: Path | None,
    stopped: Callable[[], bool],
) -> dict[str, str]:
    """Run the child to its end; why questions failed, by key. The key of the endpoint travels in the environment."""
    shown = {k: v for k, v in asdict(teacher).items() if k != "api_key"}
    asked = [
        {"key": key, **asdict(request), "prompt_tokens": request.prompt_tokens} for key, request in requests.items()
    ]
    spec = {
        "teacher": shown,
        "requests": asked,
        "limit": asdict(limit),
        "journal": str(journal),
        "scratch": str(scratch),
    }
    place = scratch / "spec.json"
    place.write_text(json.dumps(spec), encoding="utf-8")
    environment = {
        **os.environ,
        "OPENAI_API_KEY": teacher.api_key,
        "DISTILABEL_CACHE_DIR": str(scratch),
        "HF_HOME": str(scratch / "hf"),
        "HF_HUB_OFFLINE": "1",
        "DISTILABEL_LOG_LEVEL": "WARNING",
        "NO_COLOR": "1",
    }
    argv = [sys.executable, "-m", "tunesmith_connectors.distilabel_child", str(place)]
    with (log or scratch / "log.txt").open("a+b") as out:
        start = out.tell()
        # It ends itself, with its workers, when this pipe closes: whoever kills us leaves no process that spends.
        child = subprocess.Popen(
            argv, env=environment, stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
        )
        try:
            status = _wait(child, stopped)
        finally:
            if child.stdin:
                child.stdin.close()
            child.wait()
        if status != 0:
            out.seek(start)
            said = out.read().decode(errors="replace").strip().splitlines()
            raise GenerationFailed(f"distilabel ended with status {status}: {' '.join(said[-3:])[-500:]}")
    failures: dict[str, str] = json.loads((scratch / "failures.json").read_text(encoding="utf-8"))
    return failures


def _wait(child: "subprocess.Popen[bytes]", stopped: Callable[[], bool]) -> int:
    while True:
        try:
            return child.wait(0.2)
        except subprocess.TimeoutExpired:
            if stopped():
                raise InterruptedError("stopped while the teacher was asked") from None
