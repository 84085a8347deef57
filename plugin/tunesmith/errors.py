"""Errors that a caller can act on: a stable `code`, a message, and a `hint` that says what to do next."""

import errno
from typing import Any, ClassVar

from tunesmith_connectors.addresses import without_userinfo


class TunesmithError(Exception):
    """Base of every error that is shown to a caller. `status` is the HTTP status it answers with."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None, param: str | None = None):
        message = without_userinfo(message)
        super().__init__(message)
        self.message = message
        self.hint = without_userinfo(hint) if hint else hint
        self.param = param
        self.error_code = code or self.code

    def as_dict(self) -> dict[str, Any]:
        return {"code": self.error_code, "message": self.message, "hint": self.hint, "param": self.param}


class BadInput(TunesmithError):
    status = 400
    code = "bad_input"


class Unauthorized(TunesmithError):
    status = 401
    code = "unauthorized"


class Forbidden(TunesmithError):
    status = 403
    code = "forbidden"


class NotFound(TunesmithError):
    status = 404
    code = "not_found"


class Conflict(TunesmithError):
    status = 409
    code = "conflict"


class TooLarge(TunesmithError):
    status = 413
    code = "too_large"


class InvalidParameters(TunesmithError):
    status = 422
    code = "invalid_parameters"


class GateNotMet(TunesmithError):
    status = 409
    code = "gate_not_met"


class ParityError(TunesmithError):
    status = 500
    code = "parity_failed"


class DiskFull(TunesmithError):
    status = 507
    code = "disk_full"


# SQLite, Rust's and PyTorch's writers say so in words of their own, and not by an OSError.
_FULL = ("database or disk is full", "No space left on device", "PytorchStreamWriter failed writing")


def as_disk_full(error: Exception) -> DiskFull | None:
    """What a failed write on a full disk is called here; None for any other error."""
    if isinstance(error, DiskFull):
        return error
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not full and not any(words in str(error) for words in _FULL):
        return None
    return DiskFull("The disk is full.", hint="Free some disk space, then go on where you stopped; nothing is lost.")


class Unavailable(TunesmithError):
    """Another system is away or answers nonsense. `retryable`: the same call may go through later."""

    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None, retryable: bool = True):
        super().__init__(message, code=code, hint=hint)
        self.retryable = retryable
