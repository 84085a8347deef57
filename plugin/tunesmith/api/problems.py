"""Errors as callers get them: problem+json (RFC 9457), or OpenAI's shape on the OpenAI-compatible routes."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from tunesmith.errors import TunesmithError, as_disk_full

log = logging.getLogger(__name__)

_MEMBER = re.compile(r"[^\[]*\[.*\]$|(constrained|function)-")
OPENAI = "OpenAI"  # the tag of routes whose errors take OpenAI's shape


class Problem(BaseModel):
    """An error: `code` is stable, `hint` says what to do next."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    hint: str | None = None
    param: str | None = None


class OpenAIProblem(BaseModel):
    """What is in the `error` of an OpenAI-compatible route: `code` is stable, the message ends with the hint."""

    message: str
    type: str
    param: str | None = None
    code: str


class OpenAIError(BaseModel):
    """An error of an OpenAI-compatible route."""

    error: OpenAIProblem


SURPRISE = ("internal_error", "Something unexpected went wrong.", "See the service's log.")  # code, message, hint

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": text,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, text in {
        400: "The request is wrong; the hint says how to mend it.",
        401: "The key is missing or unknown.",
        403: "The key lacks a scope.",
        404: "There is no such thing.",
        409: "It cannot be done in this state.",
        413: "The request is too large.",
        422: "A parameter is missing, misspelt or of the wrong type.",
        503: "Another system that this needs is away; the hint says which.",
        507: "The disk is full.",
    }.items()
}


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_KNOWN = {413: ("too_large", "Send less at once; a large file is uploaded to /v1/files as a form.")}


def install(app: FastAPI) -> None:
    app.add_exception_handler(TunesmithError, _on_tunesmith_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(OSError, _on_failed_write)
    app.add_exception_handler(DBAPIError, _on_failed_write)
    app.add_exception_handler(Exception, _on_surprise)


def answer(
    request: Request,
    status: int,
    code: str,
    message: str,
    hint: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    headers = {**({"WWW-Authenticate": "Bearer"} if status == 401 else {}), **(headers or {})}
    if OPENAI in getattr(request.scope.get("route"), "tags", []):
        kind = "invalid_request_error" if status < 500 else "server_error"
        text = f"{message} {hint}" if hint else message
        error = {"message": text, "type": kind, "param": param, "code": code}
        return JSONResponse({"error": error}, status, headers)
    problem = Problem(title=code.replace("_", " "), status=status, code=code, detail=message, hint=hint, param=param)
    return JSONResponse(problem.model_dump(), status, headers, media_type="application/problem+json")


async def _on_tunesmith_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TunesmithError)
    return answer(request, error.status, error.error_code, error.message, error.hint, error.param)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    details, places = [], []
    for item in error.errors():
        # A place may go through the members of a union, which mean nothing to a caller.
        parts = [str(part) for part in item["loc"] if not _MEMBER.match(str(part))]
        places.append(".".join(parts[1:]) if item["type"] != "json_invalid" else "")
        reason = f"not JSON ({item['ctx']['error']})" if item["type"] == "json_invalid" else item["msg"]
        details.append(f"{places[-1] or 'body'}: {reason}")
    text = "; ".join(dict.fromkeys(details)) + "."
    hint = "See /docs for the parameters and an example."
    return answer(request, 422, "invalid_parameters", text, hint, places[0] or None)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code, hint = _KNOWN.get(error.status_code, (f"http_{error.status_code}", "See /docs."))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(allowed := _allowed(request))
        hint = f"Use {' or '.join(allowed)}."
    return answer(request, error.status_code, code, str(error.detail), hint, headers=headers)


def _allowed(request: Request) -> list[str]:
    """The methods that a path has: of all its routes, where an exception names those of the first alone."""
    routes, scope = request.app.router.routes, dict(request.scope)
    return [m for m in _METHODS if any(r.matches({**scope, "method": m})[0] == Match.FULL for r in routes)]


async def _on_failed_write(request: Request, error: Exception) -> JSONResponse:
    full = as_disk_full(error)
    if full is None:
        raise error
    return await _on_tunesmith_error(request, full)


async def _on_surprise(request: Request, error: Exception) -> JSONResponse:
    log.exception("unexpected error", exc_info=error)
    return answer(request, 500, *SURPRISE)
