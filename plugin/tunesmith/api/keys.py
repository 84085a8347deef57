"""API keys: scopes, stored as a digest, compared in constant time. The first one is made, and shown, once."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from sqlalchemy import select

from tunesmith.errors import NotFound
from tunesmith.recipes.callers import Caller
from tunesmith.store.artifacts import new_id
from tunesmith.store.tables import Key
from tunesmith.store.workspace import Workspace

__all__ = ["SCOPES", "Caller", "create_key", "ensure_first_key", "identify", "list_keys", "remove_key"]

SCOPES = ("read", "train", "publish", "admin")


def ensure_first_key(workspace: Workspace) -> str | None:
    """Returns the secret of a new first key, to be shown once; None when there is a key of an admin already.

    `TUNESMITH_ADMIN_KEY`, when set, is that key; changing it changes the key.
    """
    given = workspace.settings.admin_key
    with workspace.database.write() as session:
        if given is not None:
            session.merge(_row("key-admin", "TUNESMITH_ADMIN_KEY", given.get_secret_value(), ["admin"]))
            return None
        if any("admin" in scopes for scopes in session.scalars(select(Key.scopes))):
            return None
        secret = f"tsk-{secrets.token_urlsafe(32)}"
        session.add(_row(new_id("key"), "first", secret, ["admin"]))
        return secret


def create_key(workspace: Workspace, name: str, scopes: Iterable[str]) -> str:
    """Returns the secret; only its digest is kept."""
    secret = f"tsk-{secrets.token_urlsafe(32)}"
    with workspace.database.write() as session:
        session.add(_row(new_id("key"), name, secret, sorted(scopes)))
    return secret


def list_keys(workspace: Workspace) -> list[Key]:
    """Oldest first. What is kept of a key cannot be turned back into it."""
    with workspace.database.read() as session:
        return list(session.scalars(select(Key).order_by(Key.created_at)))


def remove_key(workspace: Workspace, key_id: str) -> None:
    """From now on nobody gets in with it. Raises NotFound."""
    with workspace.database.write() as session:
        key = session.get(Key, key_id)
        if key is None:
            raise NotFound(f"There is no key {key_id!r}.", hint="`tunesmith keys list` shows the ids.")
        session.delete(key)


def identify(workspace: Workspace, secret: str) -> Caller | None:
    """Whose key this is. Every stored digest is compared, so that time tells nothing."""
    digest = _digest(secret)
    found = None
    with workspace.database.read() as session:
        for key in session.scalars(select(Key)):
            if hmac.compare_digest(key.digest, digest):
                found = Caller(key.id, frozenset(key.scopes))
    return found


def _row(key_id: str, name: str, secret: str, scopes: list[str]) -> Key:
    return Key(id=key_id, name=name, digest=_digest(secret), scopes=scopes)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
