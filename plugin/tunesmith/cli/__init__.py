"""The command line: `tunesmith serve | run | jobs | models | doctor | …`."""

import sys

from tunesmith.cli.main import app
from tunesmith.errors import TunesmithError

__all__ = ["app", "main"]


def main() -> None:
    """Errors that a person can act on are printed with their hint, without a trace."""
    try:
        app()
    except TunesmithError as error:
        print(f"Error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        sys.exit(1)
