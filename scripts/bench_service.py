"""Start-up time and idle memory of the API process, beside a bare FastAPI application served the same way."""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil

BARE = """
import sys, uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/readyz")
def ready() -> dict[str, str]: return {"status": "ready"}
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""


def start_to_ready(argv: list[str], port: int, env: dict[str, str]) -> tuple[float, float]:
    """Seconds from exec to the first 200 of /readyz, and MB resident five seconds later."""
    begun = time.monotonic()
    process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=1).status_code == 200:
                    break
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() - begun > 60:
                    raise
            time.sleep(0.01)
        seconds = time.monotonic() - begun
        time.sleep(5)
        return seconds, psutil.Process(process.pid).memory_info().rss / 1e6
    finally:
        process.terminate()
        process.wait()


def main(rounds: int = 3) -> None:
    results: dict[str, list[tuple[float, float]]] = {"tunesmith serve": [], "bare FastAPI": []}
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "TUNESMITH_HOME": home}
        for _ in range(rounds):
            for name, measured in results.items():
                port = _free_port()
                tunesmith = [str(Path(sys.executable).parent / "tunesmith"), "serve", "--port", str(port)]
                argv = tunesmith if name.startswith("tunesmith") else [sys.executable, "-c", BARE, str(port)]
                measured.append(start_to_ready(argv, port, env))
    print(f"\nStart and idle memory of the API process (medians of {rounds})")
    for name, measured in results.items():
        seconds, memory = (statistics.median(column) for column in zip(*measured, strict=True))
        print(f"  {name:18} {seconds:5.2f} s to /readyz   {memory:6.0f} MB resident")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
