"""A stand-in for Paperless-ngx 3.0.5: an HTTP server in a thread, as tolerant and as strict as the real one.

It ignores unknown parameters, orderings and `is_in_inbox=1`; answers 406 to API versions other than 9 and 10, 401
without the token, 403 for lookups the token may not list, 400 for a wrong `custom_field_query`; pages by 25 and caps
`page_size` at 100000. Loaded from wire-form JSONL, as examples/generate_documents.py writes it.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

LOOKUPS = ("tags", "correspondents", "document_types", "storage_paths", "custom_fields")
_FILTERS: dict[str, Callable[[dict[str, Any], str], bool]] = {
    "tags__id__all": lambda d, v: set(map(int, v.split(","))) <= set(d["tags"]),
    "tags__id__in": lambda d, v: bool(set(map(int, v.split(","))) & set(d["tags"])),
    "document_type__id__in": lambda d, v: d["document_type"] in set(map(int, v.split(","))),
    "correspondent__id__in": lambda d, v: d["correspondent"] in set(map(int, v.split(","))),
    "storage_path__id__in": lambda d, v: d["storage_path"] in set(map(int, v.split(","))),
    "created__date__gte": lambda d, v: date.fromisoformat(d["created"]) >= date.fromisoformat(v),
    "created__date__lte": lambda d, v: date.fromisoformat(d["created"]) <= date.fromisoformat(v),
    "modified__gte": lambda d, v: d["modified"] >= v,
}


class FakePaperless:
    """`requests` keeps every path with its query; `fail` answers the next requests with these statuses."""

    def __init__(self, lines: Iterable[dict[str, Any]], token: str = "secret", forbidden: Iterable[str] = ()):
        self.lookups: dict[str, list[dict[str, Any]]] = {kind: [] for kind in LOOKUPS}
        self.documents: list[dict[str, Any]] = []
        for line in lines:
            if "kind" in line:
                self.lookups[line["kind"]] = line["results"]
            else:
                self.documents.append(line)
        self.token = token
        self.forbidden = set(forbidden)
        self.fail: list[int] = []
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []

    @classmethod
    def from_file(cls, path: Path, **options: Any) -> Self:
        return cls((json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()), **options)

    def __enter__(self) -> Self:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.requests.append(self.path)
                fake.headers.append(dict(self.headers.items()))
                status, body = fake.answer(self.path, dict(self.headers.items()))
                raw = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, target: str, headers: dict[str, str]) -> tuple[int, Any]:
        if self.fail and (status := self.fail.pop(0)):
            return status, {"detail": "told to fail"}
        version = re.search(r"version=(\d+)", headers.get("Accept", ""))
        if version and version[1] not in ("9", "10"):
            return 406, {"detail": 'Invalid version in "Accept" header.'}
        if headers.get("Authorization") != f"Token {self.token}":
            return 401, {"detail": "Invalid token."}
        parts = urlsplit(target)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        match = re.fullmatch(r"/api/(\w+)/(?:(\d+)/)?", parts.path)
        if not match or match[1] not in (*LOOKUPS, "documents"):
            return 404, {"detail": "Not found."}
        if match[1] in self.forbidden:
            return 403, {"detail": "You do not have permission to perform this action."}
        items = self.documents if match[1] == "documents" else self.lookups[match[1]]
        if match[2]:
            found = next((i for i in items if i["id"] == int(match[2])), None)
            return (200, found) if found else (404, {"detail": "No such item."})
        if match[1] == "documents":
            for key, keep in _FILTERS.items():
                if query.get(key):
                    items = [d for d in items if keep(d, query[key])]
            if "custom_field_query" in query:
                try:
                    expression = json.loads(query["custom_field_query"])
                    items = [d for d in items if self._holds(expression, d)]
                except (ValueError, KeyError, TypeError, StopIteration):
                    return 400, {"custom_field_query": ["Invalid custom field query expression"]}
        return self._page(items, query, parts.path)

    def _page(self, items: list[dict[str, Any]], query: dict[str, str], path: str) -> tuple[int, Any]:
        orders = {"id": False, "-id": True}
        items = sorted(items, key=lambda i: i["id"], reverse=orders.get(query.get("ordering", ""), True))
        size = min(int(query.get("page_size", 25)) or 25, 100000)
        page = int(query.get("page", 1))
        if (page - 1) * size >= len(items) and page > 1:
            return 404, {"detail": "Invalid page."}
        shown = items[(page - 1) * size : page * size]
        if query.get("fields") and path.endswith("/documents/"):
            known = query["fields"].split(",")
            shown = [{k: v for k, v in item.items() if k in known} for item in shown]
        more = f"{self.url}{path}?page={page + 1}" if page * size < len(items) else None
        return 200, {
            "count": len(items),
            "next": more,
            "previous": None,
            "all": [item["id"] for item in items],
            "results": shown,
        }

    def _holds(self, expression: Any, document: dict[str, Any]) -> bool:
        if len(expression) == 2:
            operator, inner = expression
            if operator.upper() == "NOT":
                return not self._holds(inner, document)
            test = {"AND": all, "OR": any}[operator.upper()]
            return bool(test([self._holds(part, document) for part in inner]))
        name, operator, value = expression
        number = next(f["id"] for f in self.lookups["custom_fields"] if name in (f["id"], f["name"]))
        held = [item["value"] for item in document["custom_fields"] if item["field"] == number]
        if operator == "exists":
            return bool(held) == value
        amounts = [float(re.sub(r"^[A-Z]{3}", "", str(v))) if v else None for v in held]
        return bool(
            {
                "exact": lambda: value in held,
                "isnull": lambda: (None in held) == value,
                "gt": lambda: any(a is not None and a > float(value) for a in amounts),
                "lt": lambda: any(a is not None and a < float(value) for a in amounts),
            }[operator]()
        )
