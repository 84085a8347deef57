"""The whole product, small: a service, household documents, a tuned model, the proof, and a live answer.

The service keeps running afterwards, so that the curl line works; `make stop` ends it. Its data lie in `.demo/`.
"""

import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(os.environ.get("TUNESMITH_HOME", ROOT / ".demo"))
BIN = Path(sys.executable).parent
RECIPE = ROOT / "examples" / "recipes" / "household-documents.yaml"
STATE = HOME / "demo.json"


def main() -> int:
    if "--stop" in sys.argv:
        return stop()
    HOME.mkdir(parents=True, exist_ok=True, mode=0o700)
    url, key = running() or start()
    print(f"Service: {url} (API: {url}/docs). Its key lies in {STATE}.")
    begun = time.monotonic()
    done = subprocess.run([BIN / "tunesmith", "run", str(RECIPE)], env=environment(key), check=False)
    if done.returncode:
        print("The demo did not finish. `tunesmith doctor` says what may be missing.")
        return done.returncode
    return show_answer(url, key, time.monotonic() - begun)


def environment(key: str) -> dict[str, str]:
    return {**os.environ, "TUNESMITH_HOME": str(HOME), "TUNESMITH_ADMIN_KEY": key}


def running() -> tuple[str, str] | None:
    """The service of an earlier demo, when it still answers."""
    if not STATE.exists():
        return None
    state = json.loads(STATE.read_text())
    try:
        httpx.get(f"{state['url']}/readyz", timeout=2).raise_for_status()
        headers = {"Authorization": f"Bearer {state['key']}"}
        httpx.get(f"{state['url']}/v1/models", headers=headers, timeout=5).raise_for_status()
    except httpx.HTTPError:
        return None
    return state["url"], state["key"]


def start() -> tuple[str, str]:
    """Start the service on a free port, in a session of its own, and wait until it is ready."""
    port = free_port(int(os.environ.get("TUNESMITH_PORT", "8765")))
    url, key = f"http://127.0.0.1:{port}", secrets.token_urlsafe(24)
    with (HOME / "service.log").open("ab") as log:
        process = subprocess.Popen(
            [BIN / "tunesmith", "serve", "--host", "127.0.0.1", "--port", str(port)],
            env=environment(key),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    STATE.touch(mode=0o600)
    STATE.write_text(json.dumps({"url": url, "key": key, "pid": process.pid}))
    for _ in range(150):
        if process.poll() is not None:
            sys.exit(f"The service did not start; see {HOME / 'service.log'}.")
        try:
            if httpx.get(f"{url}/readyz", timeout=1).status_code == 200:
                return url, key
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    sys.exit(f"The service is not ready after 30 s; see {HOME / 'service.log'}.")


def free_port(wanted: int) -> int:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def show_answer(url: str, key: str, seconds: float) -> int:
    """Ask the live model about a document that it never saw, and print the same as a curl line."""
    headers = {"Authorization": f"Bearer {key}"}
    question = unseen_document()
    body = {"model": "household-extractor", "messages": question, "temperature": 0}
    reply = httpx.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=120)
    reply.raise_for_status()
    request = HOME / "question.json"
    request.write_text(json.dumps(body, ensure_ascii=False))
    print("A document that it never saw:\n")
    print(question[-1]["content"], "\n")
    print("Its answer:", reply.json()["choices"][0]["message"]["content"], "\n")
    print(f"From documents to the live model: {seconds / 60:.1f} minutes. Ask it yourself:\n")
    print(
        f"  curl -s {url}/v1/chat/completions -H 'Authorization: Bearer {key}' "
        f"-H 'Content-Type: application/json' -d @{shlex.quote(str(request))}\n"
    )
    print("The service keeps running; `make stop` ends it.")
    return 0


def unseen_document() -> list[dict[str, str]]:
    """The prompt of a row of the newest dataset's test split."""
    versions = sorted((HOME / "datasets").glob("ds-*/test.jsonl"), key=lambda path: path.stat().st_mtime)
    row = json.loads(versions[-1].read_text(encoding="utf-8").splitlines()[0])
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    return [{"role": roles[t["from"]], "content": t["value"]} for t in row["conversations"][:-1]]


def stop() -> int:
    if not STATE.exists():
        print("No demo is running.")
        return 0
    state = json.loads(STATE.read_text())
    if running():
        os.kill(state["pid"], signal.SIGTERM)
        print("Stopped.")
    else:
        print("The demo's service was not running any more.")
    STATE.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
