"""Who asks for something, and what that caller may do."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    key_id: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def once(self, operation: str, key: str | None) -> str | None:
        """An Idempotency-Key as it is kept: another caller's, or another operation's, is another key."""
        if not key:
            return None
        digest = hashlib.sha256("\0".join((self.key_id, operation, key)).encode("utf-8", "surrogatepass"))
        return f"once-{digest.hexdigest()}"


LOCAL = Caller("local", frozenset({"admin"}))  # the command line: whoever may read the data folder may do all
