"""A real n8n in a process of its own, with the packed node installed as a user would; and how workflows are written."""

import itertools
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from service import wait

Json = dict[str, Any]
EXAMPLES = Path(__file__).parents[1] / "examples" / "n8n"
OWNER = {"email": "owner@example.org", "firstName": "Test", "lastName": "Owner", "password": "Owner-Password-1"}


def quietly(argv: list[str], cwd: Path, place: Path) -> str:
    """Run a command of the Node folder; its output. A failure shows it."""
    environment = {
        **os.environ,
        "PATH": f"{place / 'node/bin'}{os.pathsep}{place / 'tools/node_modules/.bin'}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


class N8n:
    """`n8n start` on a free port of the loopback, over `folder`, with one owner and an API key."""

    def __init__(self, place: Path, package: Path, folder: Path):
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            two.bind(("127.0.0.1", 0))
            self.port, self.broker_port = int(one.getsockname()[1]), int(two.getsockname()[1])
        self.url, self.place, self.folder = f"http://127.0.0.1:{self.port}", place, folder
        self.rest = httpx.Client(base_url=f"{self.url}/rest", timeout=120, headers={"browser-id": "test"})
        self.api = httpx.Client(base_url=f"{self.url}/api/v1", timeout=120)
        nodes = folder / ".n8n" / "nodes"
        nodes.mkdir(parents=True)
        install = ["npm", "install", str(package), "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund"]
        quietly(install, nodes, place)

    def start(self) -> "N8n":
        environment = {
            **os.environ,
            "PATH": f"{self.place / 'node/bin'}{os.pathsep}{os.environ['PATH']}",
            "N8N_USER_FOLDER": str(self.folder),
            "N8N_PORT": str(self.port),
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_SECURE_COOKIE": "false",
            "N8N_DIAGNOSTICS_ENABLED": "false",
            "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
            "N8N_TEMPLATES_ENABLED": "false",
            "N8N_RUNNERS_BROKER_PORT": str(self.broker_port),
            "WEBHOOK_URL": self.url,
            "N8N_COMMUNITY_PACKAGES_ALLOW_TOOL_USAGE": "true",
        }
        command = [str(self.place / "server/node_modules/n8n/bin/n8n"), "start"]
        with (self.folder / "n8n.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait(self.ready, 300)
        wait(lambda: self.rest.post("/owner/setup", json=OWNER).status_code == 200, 60)
        scopes = self.rest.get("/api-keys/scopes").json()["data"]
        made = self.rest.post("/api-keys", json={"label": "test", "expiresAt": None, "scopes": scopes})
        self.api.headers["X-N8N-API-KEY"] = made.raise_for_status().json()["data"]["rawApiKey"]
        return self

    def ready(self) -> bool:
        assert self.process.poll() is None, (self.folder / "n8n.log").read_text()[-3000:]
        try:
            return httpx.get(f"{self.url}/healthz/readiness", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        self.rest.close()
        self.api.close()
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)

    def credential(self, kind: str, data: Json) -> Json:
        """What a node's `credentials` holds."""
        made = self.api.post("/credentials", json={"name": kind, "type": kind, "data": data})
        assert made.status_code == 200, made.text
        return {kind: {"id": made.json()["id"], "name": kind}}

    def create(self, name: str, nodes: list[Json], connections: Json | None = None) -> str:
        """A workflow of these nodes, one after the other unless `connections` says otherwise. Its id."""
        chain = itertools.pairwise(nodes)
        line = {a["name"]: {"main": [[{"node": b["name"], "type": "main", "index": 0}]]} for a, b in chain}
        body = {
            "name": name,
            "nodes": nodes,
            "connections": line if connections is None else connections,
            "settings": {"executionOrder": "v1"},
        }
        made = self.api.post("/workflows", json=body)
        assert made.status_code == 200, made.text
        return str(made.json()["id"])

    def activate(self, workflow: str) -> None:
        answer = self.api.post(f"/workflows/{workflow}/activate")
        assert answer.status_code == 200, answer.text

    def deactivate(self, workflow: str) -> None:
        answer = self.api.post(f"/workflows/{workflow}/deactivate")
        assert answer.status_code == 200, answer.text

    def call(self, path: str, **more: Any) -> httpx.Response:
        """POST to a webhook; n8n takes a moment to register it."""
        deadline = time.monotonic() + 60
        while True:
            answer = httpx.post(f"{self.url}/webhook/{path}", timeout=180, **more)
            if answer.status_code != 404 or time.monotonic() > deadline:
                return answer
            time.sleep(0.2)

    def executions(self, workflow: str, **filters: str) -> list[Json]:
        """Newest first, with their data; running ones only with status="running"."""
        found = self.api.get("/executions", params={"workflowId": workflow, "includeData": "true", **filters})
        data: list[Json] = found.raise_for_status().json()["data"]
        return data

    def ended(self, workflow: str, seconds: float = 600) -> Json:
        """The newest execution of a workflow, once it has ended."""
        over = {"success", "error", "canceled", "crashed"}
        wait(lambda: any(run["status"] in over for run in self.executions(workflow)[:1]), seconds)
        return self.executions(workflow)[0]

    def run(self, nodes: list[Json], connections: Json | None = None, **more: Any) -> Json:
        """Make a workflow that a webhook starts, call it, and give its execution once that has ended."""
        path = next(found["parameters"]["path"] for found in nodes if found["type"] == "n8n-nodes-base.webhook")
        workflow = self.create(path, nodes, connections)
        self.activate(workflow)
        answer = self.call(path, **more)
        assert answer.status_code in (200, 500), answer.text
        return self.ended(workflow)


def example(name: str, credentials: Json, replaced: Json, **settings: str) -> tuple[list[Json], Json]:
    """Nodes and connections of a shipped workflow, as a user adapts it: credentials chosen, Settings filled in; and
    with the nodes of `replaced` in the place of those with their names."""
    document = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    nodes = []
    for found in document["nodes"]:
        adapted = replaced.get(found["name"], found)
        chosen = {kind: credentials[kind] for kind in adapted.get("credentials", {}) if kind in credentials}
        if adapted["name"] == "Settings":
            for assignment in adapted["parameters"]["assignments"]["assignments"]:
                assignment["value"] = settings.get(assignment["name"], assignment["value"])
        nodes.append({**adapted, "name": found["name"], "position": found["position"], "credentials": chosen})
    return nodes, document["connections"]


def output(execution: Json, node: str) -> list[Json]:
    """The items that a node gave, as JSON."""
    run = execution["data"]["resultData"]["runData"][node][-1]
    assert "error" not in run, run["error"]
    return [item["json"] for item in run["data"]["main"][0]]


def error_of(execution: Json) -> Json:
    error: Json = execution["data"]["resultData"]["error"]
    return error


def webhook(path: str, mode: str = "onReceived", **more: Any) -> Json:
    parameters = {"httpMethod": "POST", "path": path, "responseMode": mode, "options": {}, **more}
    return node("Webhook", "n8n-nodes-base.webhook", 2.1, parameters) | {"webhookId": path}


def node(name: str, kind: str, version: float, parameters: Json, **more: Any) -> Json:
    made = {"name": name, "type": kind, "typeVersion": version, "parameters": parameters}
    return {"id": name.lower().replace(" ", "-"), "position": [0, 0], **made, **more}


def tunesmith(label: str, credential: Json, /, **parameters: Any) -> Json:
    """Our node; a parameter `on_error` is n8n's setting of what happens then."""
    on_error = parameters.pop("on_error", "stopWorkflow")
    kind = "n8n-nodes-tunesmith.tunesmith"
    return node(label, kind, 1, parameters, credentials=credential, onError=on_error)
