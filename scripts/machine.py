"""What figures were measured with: `make bench` prints it first."""

import os
import platform
from importlib.metadata import version

PACKAGES = ("torch", "transformers", "trl", "peft", "fastapi", "xllamacpp")


def describe() -> str:
    """The system, its cores, and the versions of what the figures depend on, in two lines."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}\n{versions}"
