"""Child process: llama.cpp's own OpenAI-compatible server, embedded by xllamacpp, on a free port of the loopback.

Prints one JSON line, {"address": …} or {"error": …, "hint": …}, and serves until its parent goes.
The key that callers must send comes in the environment (TUNESMITH_SERVER_KEY), where other users cannot read it.
"""

import argparse
import json
import os
import signal
import sys
import threading
from typing import Any

from tunesmith.jobs.process import exit_when_parent_dies

_PROMPT_CACHE_MIB = 256  # llama.cpp would keep up to 8 GiB of old prompts


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Serve one GGUF for Tunesmith.")
    parser.add_argument("gguf")
    parser.add_argument("--model", required=True, help="name that it answers to")
    parser.add_argument("--context", type=int, required=True, help="tokens of one conversation")
    parser.add_argument("--parallel", type=int, default=4, help="conversations at a time")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    return parser.parse_args(argv)


def parameters(arguments: argparse.Namespace) -> Any:
    import xllamacpp

    made = xllamacpp.CommonParams()
    made.model.path = arguments.gguf
    made.model_alias = {arguments.model}
    made.hostnames = ["127.0.0.1"]
    made.port = 0
    made.api_keys = [os.environ["TUNESMITH_SERVER_KEY"]]
    made.n_parallel = arguments.parallel
    made.n_ctx = arguments.context * arguments.parallel
    made.cache_prompt = True
    made.cache_ram_mib = _PROMPT_CACHE_MIB
    made.use_jinja = True
    made.ui = False
    made.endpoint_slots = True
    for cpu in (made.cpuparams, made.cpuparams_batch):
        cpu.n_threads = arguments.threads or cores()
    return made


def cores() -> int:
    """Physical cores that this process may use: hyper-threads slow llama.cpp down."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def say(**message: str) -> None:
    print(json.dumps(message), flush=True)


def main(argv: list[str]) -> int:
    try:
        import xllamacpp
    except ImportError as error:
        say(error=f"The embedded server is not installed: {error}.", hint="pip install 'tunesmith[serve]'")
        return 1
    try:
        server = xllamacpp.Server(parameters(parse(argv)))
    except Exception as error:
        say(error=f"llama.cpp could not load the model: {error}", hint="Is there enough memory? See the server's log.")
        return 1
    say(address=server.listening_address)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    exit_when_parent_dies()
    sys.exit(main(sys.argv[1:]))
