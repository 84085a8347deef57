"""Logging of the service and of its stages: one line each, and no URL with a password in it."""

import logging
import sys
import traceback

from tunesmith_connectors.addresses import without_userinfo


class Formatter(logging.Formatter):
    """Tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return without_userinfo(super().format(record))


def log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)


def print_trace(error: BaseException) -> None:
    print(without_userinfo("".join(traceback.format_exception(error))), end="", file=sys.stderr, flush=True)
