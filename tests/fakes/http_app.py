"""A small real HTTP server in a thread: what the stand-ins are built on."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Answer = tuple[int, Any]


class Refused(Exception):
    """An answer with this status and body."""

    def __init__(self, status: int, body: Any):
        super().__init__(str(body))
        self.status = status
        self.body = body


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that hang up in the middle of an answer are what some tests are about; anything else is printed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class HttpApp:
    """Subclasses answer in `handle`; a list is sent as NDJSON, anything else as JSON. `calls`: (method, path)."""

    content_type = "application/json; charset=utf-8"

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        app = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def _any(self) -> None:
                app._serve(self)

            do_GET = do_POST = do_HEAD = do_DELETE = _any  # noqa: N815  the base class calls them so

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> Answer:
        raise NotImplementedError

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = _body(request)
        self.calls.append((request.command, request.path))
        try:
            status, answer = self.handle(request.command, request.path, body, request.headers)
        except Refused as refused:
            status, answer = refused.status, refused.body
        lines = answer if isinstance(answer, list) else [answer]
        sent = b"" if answer is None else b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        request.send_response(status)
        request.send_header("Content-Type", "application/x-ndjson" if isinstance(answer, list) else self.content_type)
        request.send_header("Content-Length", str(len(sent)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(sent)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def parsed(body: bytes) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(body)
    except ValueError as error:
        raise Refused(400, {"error": str(error)}) from error
    return data


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding", "").lower() == "chunked":
        pieces = []
        while size := int(request.rfile.readline().split(b";")[0], 16):
            pieces.append(request.rfile.read(size))
            request.rfile.readline()
        request.rfile.readline()
        return b"".join(pieces)
    return request.rfile.read(int(request.headers.get("Content-Length") or 0))
