"""A client of the configured Paperless, whose errors come as the service's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tunesmith.errors import BadInput, TunesmithError, Unavailable
from tunesmith.settings import Settings
from tunesmith_connectors.paperless import PaperlessClient, PaperlessError, PaperlessUnavailable


@contextmanager
def connect(settings: Settings, **options: Any) -> Iterator[PaperlessClient]:
    """`options`: those of the client. Raises BadInput when no Paperless is configured; in the block its errors become
    ours."""
    if not settings.paperless_url or not settings.paperless_token:
        raise BadInput(
            "No Paperless is set up.",
            code="paperless_not_configured",
            hint="Set TUNESMITH_PAPERLESS_URL and TUNESMITH_PAPERLESS_TOKEN.",
        )
    try:
        token = settings.paperless_token.get_secret_value()
        with PaperlessClient(settings.paperless_url, token, **options) as client:
            yield client
    except PaperlessError as error:
        raise as_service_error(error) from error


def as_service_error(error: PaperlessError) -> TunesmithError:
    """The connector's error as the service's: away → 503, refused or wrong → 400."""
    if isinstance(error, PaperlessUnavailable):
        return Unavailable(error.message, code=error.code, hint=error.hint, retryable=error.retryable)
    return BadInput(error.message, code=error.code, hint=error.hint, param="sources")
