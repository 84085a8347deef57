"""Loaded by schemathesis, in its own environment: what was reached is counted, and nothing is waited for."""

import atexit
import json
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import schemathesis

ANSWERS: defaultdict[str, Counter[int]] = defaultdict(Counter)  # operation → status → how often
_BRIEF = {"seconds": "0.1", "stream": "false"}  # a run that nobody works on ends neither its events nor a wait


@schemathesis.hook
def before_call(ctx: Any, case: Any, kwargs: Any) -> None:
    for name, value in _BRIEF.items():
        if _lasts(name, (case.query or {}).get(name)):
            case.query[name] = value


@schemathesis.hook
def after_call(ctx: Any, case: Any, response: Any) -> None:
    if case.method.upper() == case.operation.method.upper():
        ANSWERS[case.operation.label][response.status_code] += 1


def _lasts(name: str, value: Any) -> bool:
    """Whether the service takes it and holds the answer back; what it refuses is sent as it is."""
    text = str(value).strip().lower()
    if name == "stream":
        return text in ("1", "true", "t", "yes", "y", "on")
    try:
        return 1 < float(text) <= 60
    except ValueError:
        return False


@atexit.register
def _write() -> None:
    Path(os.environ["FUZZED"]).write_text(json.dumps(ANSWERS), encoding="utf-8")
