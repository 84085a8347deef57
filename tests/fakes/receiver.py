"""A webhook endpoint as its owner writes it: verifies with the real `standardwebhooks`, then answers as told."""

import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

from standardwebhooks import Webhook

from fakes.http_app import HttpApp


class Receiver(HttpApp):
    """`answers`: statuses of the next requests (204 when there are none); 302 leads to `location`, 0 hangs.

    `events`: what was verified and accepted; `ids`: the `webhook-id` of every request.
    """

    def __init__(self, *answers: int, location: str = "/") -> None:
        self.secret = ""
        self.answers = list(answers)
        self.location = location
        self.events: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.body = b""
        self.release = threading.Event()
        super().__init__()

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        sent = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.calls.append((request.command, request.path))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.headers.append(headers)
        self.ids.append(headers["webhook-id"])
        event = Webhook(self.secret).verify(sent, headers)  # raises, and so drops the connection, when it is forged
        status = self.answers.pop(0) if self.answers else 204
        if status == 0:
            self.release.wait(30)
            return
        if 200 <= status < 300:
            self.events.append(event)
        request.send_response(status)
        if status == 302:
            request.send_header("Location", self.location)
        request.send_header("Content-Length", str(len(self.body)))
        request.end_headers()
        request.wfile.write(self.body)

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def wait_for(self, *types: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not set(types) <= set(self.types()):
            assert time.monotonic() < deadline, f"only {self.types()} came"
            time.sleep(0.05)
