"""The wire to Paperless: authorised requests, tried again where that helps, and its refusals in words."""

import random
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import httpx

from tunesmith_connectors.paperless_values import PaperlessError

API_VERSION = 9


class PaperlessUnavailable(PaperlessError):
    """Paperless does not answer, or answers nonsense."""


class PaperlessRefused(PaperlessError):
    """Paperless answers, and says no."""


class Wire:
    """Requests to one Paperless. Close it, or use it as a context manager.

    `transport` replaces the network in tests; `sleep` is called with seconds between tries.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 60.0,
        tries: int = 5,
        sleep: Callable[[float], None] | None = None,
    ):
        self._http = httpx.Client(
            base_url=url.rstrip("/") + "/api/",
            headers={"Authorization": f"Token {token}", "Accept": f"application/json; version={API_VERSION}"},
            timeout=timeout,
            transport=transport,
            follow_redirects=False,  # a token never follows to another host
        )
        self._tries = tries
        self._sleep = sleep or time.sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def _pages(self, path: str, parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
        page = 1
        while True:
            results, more = self._page(path, {**parameters, "page": page})
            yield from results
            if not more or not results:
                return
            page += 1

    def _page(self, path: str, parameters: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
        """One page, whole, and whether there are more."""
        answer = self._get(path, parameters)
        results = answer.get("results")
        if not isinstance(results, list):
            raise self._nonsense(path, f"keys {sorted(answer)[:6]}")
        return results, bool(answer.get("next"))

    def _get(self, path: str, parameters: dict[str, Any]) -> dict[str, Any]:
        return self._call("GET", path, params=parameters)

    def _call(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        answer = self._send(method, path, **content)
        if answer.status_code not in (200, 201):
            raise self._refusal(answer)
        try:
            data = answer.json()
        except ValueError as error:
            if answer.text.lstrip().startswith("{"):
                raise self._away("stopped in the middle of an answer", "paperless_cut_off") from error
            raise self._nonsense(path, answer.text[:80]) from error
        if not isinstance(data, dict):
            raise self._nonsense(path, str(data)[:80])
        return data

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        """One request; again on 429, 5xx and broken connections. Every write that is sent here may be sent twice."""
        wait = 0.5
        for left in reversed(range(self._tries)):
            try:
                answer = self._http.request(method, path, **content)
            except (httpx.RemoteProtocolError, httpx.ReadError) as error:
                if not left:
                    raise self._away(f"stopped in the middle of an answer ({error})", "paperless_cut_off") from error
            except httpx.TransportError as error:
                if not left:
                    why = f"does not answer: {error or type(error).__name__}"
                    raise self._away(why, "paperless_unreachable") from error
            else:
                if answer.status_code != 429 and answer.status_code < 500:
                    return answer
                if not left:
                    return answer
                told = answer.headers.get("retry-after", "")
                wait = max(wait, min(float(told), 60.0)) if told.isdigit() else wait
            self._sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311 (spreads retries; no secret)
            wait *= 2
        raise AssertionError("the last try returns or raises")

    def _away(self, what: str, code: str) -> PaperlessUnavailable:
        return PaperlessUnavailable(
            f"Paperless at {self._http.base_url.host} {what}.",
            code=code,
            hint="Check TUNESMITH_PAPERLESS_URL, and that Paperless is running; then try again: nothing is lost.",
            retryable=True,
        )

    def _refusal(self, answer: httpx.Response) -> PaperlessError:
        status = answer.status_code
        code, hint = {
            400: ("bad_query", "Paperless does not accept this; its answer says which part."),
            401: ("unauthorized", "Make a token in Paperless (My Profile) and set TUNESMITH_PAPERLESS_TOKEN."),
            403: ("forbidden", "The token's user may not do this. Give it the permission in Paperless."),
            404: ("not_found", "TUNESMITH_PAPERLESS_URL must be Paperless' root, without /api, or the id is gone."),
            406: ("version_refused", f"This Paperless does not speak API version {API_VERSION}: use 2.16 to 3.x."),
        }.get(status, ("paperless_error", "Look into Paperless' log."))
        if 300 <= status < 400:
            to = answer.headers.get("location", "?")[:100]
            root = "be Paperless' root, as in the browser; it leads to a page" if "/login" in to else "be"
            code, hint = "redirected", f"TUNESMITH_PAPERLESS_URL must {root}: {to}."
        if status == 429 or status >= 500:
            return PaperlessUnavailable(
                f"Paperless answers {status}.", code="paperless_unavailable", hint=hint, retryable=True, status=status
            )
        return PaperlessRefused(f"Paperless answers {status}: {answer.text[:200]}", code=code, hint=hint, status=status)

    def _nonsense(self, path: str, seen: str) -> PaperlessUnavailable:
        return PaperlessUnavailable(
            f"{self._http.base_url.host} answers /api/{path} with something that is not Paperless': {seen}",
            code="not_paperless",
            hint="Check TUNESMITH_PAPERLESS_URL: a login page of a proxy in front of it answers like this.",
        )
