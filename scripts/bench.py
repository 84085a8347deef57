"""All measured figures: `make bench`. Each is printed beside what it is compared with, from the same call."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bench_service
import bench_training


def main() -> None:
    packages = ("torch", "transformers", "trl", "peft", "fastapi", "xllamacpp")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}\n{versions}")
    bench_service.main()
    bench_training.main()


if __name__ == "__main__":
    main()
