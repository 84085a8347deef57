"""A mail server that takes every message and keeps it: enough of SMTP (RFC 5321) for a client without TLS and login."""

import email
import email.message
import email.policy
import socketserver
import threading
from typing import Self


class Smtp:
    """`messages`: what was sent, parsed."""

    def __init__(self) -> None:
        self.messages: list[email.message.EmailMessage] = []
        mailbox = self.messages

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self._say(220, "ready")
                while line := self.rfile.readline().decode().strip():
                    verb = line[:4].upper()
                    if verb == "DATA":
                        self._say(354, "end with a dot")
                        lines = iter(self.rfile.readline, b".\r\n")
                        raw = b"".join(part[1:] if part.startswith(b"..") else part for part in lines)
                        mailbox.append(email.message_from_bytes(raw, policy=email.policy.default))
                    known = verb in ("EHLO", "HELO", "MAIL", "RCPT", "RSET", "NOOP", "DATA", "QUIT")
                    self._say(221 if verb == "QUIT" else 250 if known else 502, "ok" if known else "not here")
                    if verb == "QUIT":
                        return

            def _say(self, code: int, text: str) -> None:
                self.wfile.write(f"{code} {text}\r\n".encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
