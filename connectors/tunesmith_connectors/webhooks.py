"""Signed webhooks on the wire: Standard Webhooks headers, one POST, no redirects, to hosts of an allow-list only."""

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

TIMEOUT_S = 10.0
ANSWER_BYTES = 2048
_MAX_URL = 2000


class WebhookError(Exception):
    """A URL that nothing is sent to. `code` is stable, `hint` says what to do."""

    def __init__(self, message: str, *, code: str, hint: str):
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint


@dataclass(frozen=True)
class Answer:
    """How one attempt went: `status_code` of the endpoint, or `error` when there is none. `ms`: how long it took."""

    status_code: int | None
    error: str | None
    ms: int

    @property
    def accepted(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` over `id.timestamp.body`. `timestamp`: seconds since the epoch."""
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def check_url(url: str, allowed: Sequence[str]) -> httpx.URL:
    """The parsed URL, when it is http(s), without a user, and its host is on the allow-list. Raises WebhookError.

    An entry is a host (any port), `host:port`, or `*.suffix` for the names below a domain.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise _bad_url(f"{error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.raw_host or len(url) > _MAX_URL:
        raise _bad_url("it is not an http or https address with a host")
    if parsed.userinfo:
        raise _bad_url("it carries a user name or password")
    if not allowed:
        raise WebhookError(
            "Webhooks are refused: no host is allowed yet.",
            code="webhook_hosts_not_set",
            hint=f"Set TUNESMITH_WEBHOOK_HOSTS, for example to {_shown(parsed)}, and start the service again.",
        )
    if not any(_matches(parsed, entry) for entry in allowed):
        raise WebhookError(
            f"The host {_shown(parsed)} is not allowed.",
            code="webhook_host_not_allowed",
            hint=f"Add it to TUNESMITH_WEBHOOK_HOSTS; allowed now: {', '.join(allowed)}.",
        )
    return parsed


def hosts(setting: str) -> list[str]:
    """The entries of a comma-separated allow-list."""
    return [entry.strip().lower() for entry in setting.split(",") if entry.strip()]


def send(url: httpx.URL, secret: str, message_id: str, body: bytes, *, timeout: float = TIMEOUT_S) -> Answer:
    """POST once. Never raises for what the endpoint does; `timeout` bounds the whole attempt, in seconds."""
    timestamp = int(time.time())
    headers = {
        "content-type": "application/json",
        "user-agent": "Tunesmith-Webhooks",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, message_id, timestamp, body),
    }
    began = time.monotonic()
    status, error = asyncio.run(_post(url, headers, body, timeout))
    return Answer(status, error, round((time.monotonic() - began) * 1000))


async def _post(url: httpx.URL, headers: dict[str, str], body: bytes, seconds: float) -> tuple[int | None, str | None]:
    try:
        async with (
            asyncio.timeout(seconds),  # of everything: an endpoint that drips bytes renews httpx' own time-outs
            httpx.AsyncClient(trust_env=False, timeout=seconds) as client,  # no password of a .netrc goes out
            client.stream("POST", url, headers=headers, content=body, follow_redirects=False) as answer,
        ):
            text = await _beginning(answer)
    except TimeoutError:
        return None, f"No answer within {seconds:g} s."
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return None, f"{type(error).__name__}: {error}"[:300]
    if answer.is_redirect:
        return answer.status_code, "Redirects are not followed: give the final address."
    if not answer.is_success:
        return answer.status_code, text[:300] or answer.reason_phrase
    return answer.status_code, None


async def _beginning(answer: httpx.Response) -> str:
    """At most ANSWER_BYTES of what the endpoint says, as it is on the wire (so that nothing unpacks to gigabytes)."""
    raw = b""
    async for chunk in answer.aiter_raw(ANSWER_BYTES):
        raw += chunk
        if len(raw) >= ANSWER_BYTES:
            break
    return raw[:ANSWER_BYTES].decode(errors="replace").strip()


def _matches(url: httpx.URL, entry: str) -> bool:
    host = url.raw_host.decode("ascii").lower()
    if entry.startswith("*."):
        return host.endswith(entry[1:]) and len(host) > len(entry) - 1
    try:
        wanted = httpx.URL(f"{url.scheme}://{entry}")
    except httpx.InvalidURL:
        return False
    if wanted.raw_host.decode("ascii").lower() != host:
        return False
    names_port = entry.rpartition(":")[2].isdigit() and not entry.endswith("]")
    return not names_port or _port(wanted) == _port(url)


def _port(url: httpx.URL) -> int:
    return url.port or {"http": 80, "https": 443}[url.scheme]


def _shown(url: httpx.URL) -> str:
    return url.netloc.decode("ascii")


def _bad_url(why: str) -> WebhookError:
    return WebhookError(
        f"This is not a webhook address: {why}.",
        code="bad_webhook_url",
        hint="Write it like https://n8n.example.org/webhook/tuned; a secret belongs into the signature, not the URL.",
    )
