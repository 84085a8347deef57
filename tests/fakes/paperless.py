"""A stand-in for Paperless-ngx 3.0.5: an HTTP server in a thread, as tolerant and as strict as the real one.

It ignores unknown parameters, orderings and `is_in_inbox=1`; answers 406 to API versions other than 9 and 10, 401
without the token, 403 for what the token may not do, 400 for a wrong `custom_field_query` or value, a login page for
a path that is none; pages by 25 and caps `page_size` at 100000. `modified` moves on PATCH and on bulk edits (there
seconds later, by a background task), not when a lookup is renamed or deleted; PATCH `custom_fields` replaces all of
them; a link between documents is set on both. Loaded from wire-form JSONL, as examples/generate_documents.py writes it.
"""

import json
import re
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

LOOKUPS = ("tags", "correspondents", "document_types", "storage_paths", "custom_fields")
_moment = lru_cache(100_000)(datetime.fromisoformat)
_FILTERS: dict[str, Callable[[dict[str, Any], str], bool]] = {
    "tags__id__all": lambda d, v: set(map(int, v.split(","))) <= set(d["tags"]),
    "tags__id__in": lambda d, v: bool(set(map(int, v.split(","))) & set(d["tags"])),
    "document_type__id__in": lambda d, v: d["document_type"] in set(map(int, v.split(","))),
    "correspondent__id__in": lambda d, v: d["correspondent"] in set(map(int, v.split(","))),
    "storage_path__id__in": lambda d, v: d["storage_path"] in set(map(int, v.split(","))),
    "created__date__gte": lambda d, v: date.fromisoformat(d["created"]) >= date.fromisoformat(v),
    "created__date__lte": lambda d, v: date.fromisoformat(d["created"]) <= date.fromisoformat(v),
    "modified__gte": lambda d, v: _moment(d["modified"]) >= _moment(v),
    "id__in": lambda d, v: d["id"] in set(map(int, v.split(","))),
}


def _by_id(item: dict[str, Any]) -> Any:
    return item["id"]


def _is_date(value: Any) -> bool:
    try:
        return bool(date.fromisoformat(value))
    except (TypeError, ValueError):
        return False


def _by_modified(item: dict[str, Any]) -> Any:
    return _moment(item["modified"]), item["id"]


class FakePaperless:
    """`requests` keeps every path with its query; `fail` answers the next requests with these statuses, `cut` stops
    the next answers about documents in the middle (where true), `writes` keeps what was sent."""

    def __init__(self, lines: Iterable[dict[str, Any]], token: str = "secret", forbidden: Iterable[str] = ()):
        self.lookups: dict[str, list[dict[str, Any]]] = {kind: [] for kind in LOOKUPS}
        self.documents: list[dict[str, Any]] = []
        for line in lines:
            if "kind" in line:
                self.lookups[line["kind"]] = list(line["results"])
            else:
                self.documents.append(line)
        self.token = token
        self.forbidden = set(forbidden)
        self.fail: list[int] = []
        self.cut: list[bool] = []
        self.writes: list[tuple[str, str, Any]] = []
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []

    @classmethod
    def from_file(cls, path: Path, **options: Any) -> Self:
        return cls((json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()), **options)

    def __enter__(self) -> Self:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement

            def do_GET(self) -> None:
                self._answer(*fake.answer(self.path, dict(self.headers.items())))

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._answer(*fake.write(self.command, self.path, dict(self.headers.items()), json.loads(raw)))

            def do_PATCH(self) -> None:
                self.do_POST()

            def do_DELETE(self) -> None:
                self._answer(*fake.delete(self.path, dict(self.headers.items())))

            def _answer(self, status: int, body: Any) -> None:
                fake.requests.append(self.path)
                fake.headers.append(dict(self.headers.items()))
                raw = b"" if body is None else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                if status == 302:
                    self.send_header("Location", f"/accounts/login/?next={self.path}")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                if fake.cut and "/documents/" in self.path and fake.cut.pop(0):
                    raw = raw[: len(raw) // 2]
                    self.close_connection = True
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
        if refusal := self._refuse(headers):
            return refusal
        parts = urlsplit(target)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        match = re.fullmatch(r"/api/(\w+)/(?:(\d+)/)?", parts.path)
        if not match or match[1] not in (*LOOKUPS, "documents"):
            return 302, None
        if match[1] in self.forbidden:
            return 403, {"detail": "You do not have permission to perform this action."}
        items = self.documents if match[1] == "documents" else self.lookups[match[1]]
        if match[2]:
            found = next((i for i in items if i["id"] == int(match[2])), None)
            return (200, found) if found else (404, {"detail": "No Document matches the given query."})
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

    def _refuse(self, headers: dict[str, str]) -> tuple[int, Any] | None:
        if self.fail and (status := self.fail.pop(0)):
            return status, {"detail": "told to fail"}
        version = re.search(r"version=(\d+)", headers.get("Accept", ""))
        if version and version[1] not in ("9", "10"):
            return 406, {"detail": 'Invalid version in "Accept" header.'}
        if headers.get("Authorization") != f"Token {self.token}":
            return 401, {"detail": "Invalid token."}
        return None

    def write(self, method: str, target: str, headers: dict[str, str], body: Any) -> tuple[int, Any]:
        """PATCH of a document, `bulk_edit` with modify_custom_fields, and new lookups."""
        if refusal := self._refuse(headers):
            return refusal
        if "write" in self.forbidden:
            return 403, {"detail": "You do not have permission to perform this action."}
        self.writes.append((method, target, body))
        match = re.fullmatch(r"/api/(\w+)/(?:(\d+|bulk_edit)/)?", target)
        if match and method == "PATCH" and match[1] == "documents" and match[2]:
            return self.edit(int(match[2]), **body)
        if match and method == "POST" and match[2] == "bulk_edit":
            return self._bulk_edit(body)
        if match and method == "POST" and match[1] in LOOKUPS and not match[2]:
            items = self.lookups[match[1]]
            if len(body["name"]) > 128:
                return 400, {"name": ["Ensure this field has no more than 128 characters."]}
            if match[1] == "storage_paths" and "path" not in body:
                return 400, {"path": ["This field is required."]}
            if any(item["name"] == body["name"] for item in items):
                return 400, {"error": "Object violates owner / name unique constraint"}
            items.append({**body, "id": 1 + max((item["id"] for item in items), default=0)})
            return 201, items[-1]
        return 404, {"detail": "Not found."}

    def delete(self, target: str, headers: dict[str, str]) -> tuple[int, Any]:
        """A lookup goes from the documents too, and none of them counts as modified."""
        if refusal := self._refuse(headers):
            return refusal
        _, _, kind, number, _ = target.split("/")
        self.lookups[kind] = [item for item in self.lookups[kind] if item["id"] != int(number)]
        for document in self.documents if kind == "custom_fields" else []:
            document["custom_fields"] = [f for f in document["custom_fields"] if f["field"] != int(number)]
        return 204, None

    def edit(self, number: int, **values: Any) -> tuple[int, Any]:
        """What PATCH does, and what a person does in the browser: the given keys are replaced, `modified` moves."""
        document = next((d for d in self.documents if d["id"] == number), None)
        if document is None:
            return 404, {"detail": "No Document matches the given query."}
        for item in values.get("custom_fields", []):
            if wrong := self._wrong(item["field"], item["value"]):
                return 400, {"custom_fields": [wrong]}
        for key in ("correspondent", "document_type", "storage_path"):
            if values.get(key) and values[key] not in {item["id"] for item in self.lookups[f"{key}s"]}:
                return 400, {key: [f'Invalid pk "{values[key]}" - object does not exist.']}
        if len(values.get("title", "")) > 128:
            return 400, {"title": ["Ensure this field has no more than 128 characters."]}
        if not _is_date(values.get("created", "2025-01-01")):
            return 400, {"created": ["Date has wrong format. Use one of these formats instead: YYYY-MM-DD."]}
        document.update({k: v for k, v in values.items() if k in document and k not in ("id", "modified", "added")})
        document["modified"] = datetime.now(UTC).isoformat()
        return 200, document

    def _bulk_edit(self, body: Any) -> tuple[int, Any]:
        parameters = body.get("parameters", {})
        if body.get("method") != "modify_custom_fields" or not {"add_custom_fields", "remove_custom_fields"} <= set(
            parameters
        ):
            return 400, {"parameters": ["add_custom_fields not specified"]}
        added = {int(k): v for k, v in dict(parameters["add_custom_fields"]).items()}
        for field, value in added.items():
            if wrong := self._wrong(field, value):
                return 400, {"non_field_errors": [wrong]}
        documents = [d for d in self.documents if d["id"] in body["documents"]]
        if len(documents) != len(body["documents"]):
            return 400, {"documents": ["Some documents in documents don't exist or were specified twice."]}
        for document in documents:
            for field, value in added.items():
                self._set(document, field, value)
            kept = [f for f in document["custom_fields"] if f["field"] not in parameters["remove_custom_fields"]]
            self.edit(document["id"], custom_fields=kept)
        return 200, {"result": "OK"}

    def _set(self, document: dict[str, Any], field: int, value: Any) -> None:
        """A document that is told to link to itself keeps what it has; others get the link back, and do not lose it."""
        links = next(f["data_type"] for f in self.lookups["custom_fields"] if f["id"] == field) == "documentlink"
        if links and document["id"] in (value or []):
            return
        kept = [f for f in document["custom_fields"] if f["field"] != field]
        document["custom_fields"] = [*kept, {"field": field, "value": value}]
        for other in self.documents if links and value else []:
            held = next((f["value"] for f in other["custom_fields"] if f["field"] == field), None) or []
            if other["id"] in value and document["id"] not in held:
                kept = [f for f in other["custom_fields"] if f["field"] != field]
                self.edit(other["id"], custom_fields=[*kept, {"field": field, "value": [*held, document["id"]]}])

    def _wrong(self, field: int, value: Any) -> str:
        """Why Paperless refuses a value of a custom field."""
        kind = next((f for f in self.lookups["custom_fields"] if f["id"] == field), None)
        if kind is None:
            return "Some custom fields were not found"
        if value is None:
            return ""
        options = [o["id"] for o in (kind.get("extra_data") or {}).get("select_options") or []]
        fits = {
            "monetary": lambda: re.fullmatch(r"|-?\d{1,10}(\.\d{1,2})?|[A-Z]{3}-?\d+\.\d{1,2}", str(value)) is not None,
            "date": lambda: _is_date(value),
            "boolean": lambda: isinstance(value, bool),
            "integer": lambda: re.fullmatch(r"-?\d+", str(value)) is not None and -(2**31) <= int(value) < 2**31,
            "float": lambda: isinstance(value, int | float),
            "select": lambda: value in options,
            "documentlink": lambda: set(value) <= {d["id"] for d in self.documents},
            "url": lambda: not value or ":" in value,
            "string": lambda: len(value) <= 128,
        }
        try:
            return "" if fits.get(kind["data_type"], lambda: True)() else f"{value!r} is not valid"
        except (TypeError, ValueError):
            return f"{value!r} is not valid"

    def _page(self, items: list[dict[str, Any]], query: dict[str, str], path: str) -> tuple[int, Any]:
        orders = {
            "id": _by_id,
            "-id": _by_id,
            "modified,id": _by_modified,
        }
        order = query.get("ordering", "")
        items = sorted(items, key=orders.get(order, _by_id), reverse=order not in ("id", "modified,id"))
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
        part, _, operator = operator.rpartition("__")
        if part:
            held = [getattr(date.fromisoformat(v), part) for v in held if v]
        amounts = [float(re.sub(r"^[A-Z]{3}", "", str(v))) if v else None for v in held]
        return bool(
            {
                "exact": lambda: value in held,
                "in": lambda: bool(set(value) & set(held)),
                "isnull": lambda: (None in held) == value,
                "gt": lambda: any(a is not None and a > float(value) for a in amounts),
                "lt": lambda: any(a is not None and a < float(value) for a in amounts),
            }[operator]()
        )
