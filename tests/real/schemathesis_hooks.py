"""Loaded by schemathesis, in its own environment: what was reached is counted, and nothing is waited for."""

import atexit
import json
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import schemathesis

ANSWERS: defaultdict[str, Counter[int]] = defaultdict(Counter)  # operation → status → how often


@schemathesis.hook
def before_call(ctx: Any, case: Any, kwargs: Any) -> None:
    """A run that nobody works on ends neither its events nor a wait for it. What is wrong is sent as it is."""
    query = dict(case.query or {})
    if case.operation.path.endswith("/wait") and _waits(query.get("seconds", 30)):
        case.query = {**query, "seconds": 0.1}
    if str(query.get("stream")).strip().lower() in ("1", "true", "t", "yes", "y", "on"):
        case.query = {**query, "stream": "false"}


@schemathesis.hook
def after_call(ctx: Any, case: Any, response: Any) -> None:
    if case.method.upper() == case.operation.method.upper():
        ANSWERS[case.operation.label][response.status_code] += 1


@schemathesis.hook
def filter_failure(ctx: Any, failure: Any, case: Any, response: Any) -> bool:
    """A form has only text, and 0 is how some write false in it; schemathesis wants a boolean of JSON there."""
    return not (case.operation.path.endswith("/import") and "dry_run: Incorrect type" in str(failure.message))


def _waits(seconds: Any) -> bool:
    try:
        return 0.1 < float(seconds) <= 60
    except (TypeError, ValueError):
        return False


@atexit.register
def _write() -> None:
    Path(os.environ["FUZZED"]).write_text(json.dumps(ANSWERS), encoding="utf-8")
