"""API keys: scopes, stored as a digest, compared in constant time. The first one is made, and shown, once.

`TUNESMITH_ADMIN_KEY` is a key beside these. Each start makes it what is set now, and takes it away when it is unset.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable

from sqlalchemy import delete, select

from tunesmith.errors import BadInput, NotFound
from tunesmith.recipes.callers import Caller
from tunesmith.settings import Settings
from tunesmith.store.artifacts import new_id
from tunesmith.store.tables import Key
from tunesmith.store.workspace import Workspace

__all__ = ["SCOPES", "Caller", "create_key", "ensure_first_key", "identify", "list_keys", "remove_key"]

SCOPES = ("read", "train", "publish", "admin")
OF_SETTINGS = "key-admin"  # the id of the key of the settings
MIN_LENGTH, MIN_DIFFERENT, MIN_DIGITS, MIN_ONLY_DIGITS = 12, 6, 8, 24
_GUESSED = {
    *("a", "admin", "administrator", "api", "change", "changeme", "default", "example", "key", "letmein", "me", "my"),
    *("pass", "passphrase", "password", "please", "qwerty", "replace", "root", "secret", "the", "this", "token"),
    *("tunesmith", "user", "your"),
}


def ensure_first_key(workspace: Workspace) -> str | None:
    """Returns the secret of a new first key, to be shown once; None when there is a key of an admin already.

    `TUNESMITH_ADMIN_KEY`, when set, is that key. Changing it changes the key, and unsetting it takes the key away.
    """
    given = workspace.settings.admin_key
    with workspace.database.write() as session:
        session.execute(delete(Key).where(Key.id == OF_SETTINGS))
        if given is not None and given.get_secret_value():
            session.add(_row(OF_SETTINGS, "TUNESMITH_ADMIN_KEY", given.get_secret_value(), ["admin"]))
            return None
        if any("admin" in scopes for scopes in session.scalars(select(Key.scopes))):
            return None
        secret = f"tsk-{secrets.token_urlsafe(32)}"
        session.add(_row(new_id("key"), "first", secret, ["admin"]))
        return secret


def require_strong(settings: Settings) -> None:
    """Raises BadInput when TUNESMITH_ADMIN_KEY is set to what somebody may guess, or what no header can carry."""
    if settings.admin_key is None:
        return
    secret = settings.admin_key.get_secret_value()
    words = set(re.findall("[a-z]+", secret.casefold()))
    if not secret:
        why = "is set, but empty"
    elif not secret.isascii() or not secret.isprintable() or " " in secret:
        why = "has characters that no Authorization header can carry"
    elif len(secret) < MIN_LENGTH:
        why = f"is shorter than {MIN_LENGTH} characters"
    elif len(set(secret)) < MIN_DIFFERENT:
        why = f"has fewer than {MIN_DIFFERENT} different characters"
    elif words <= _GUESSED and sum(c.isdigit() for c in secret) < (MIN_DIGITS if words else MIN_ONLY_DIGITS):
        why = "is what everybody tries first: common words, or digits alone"
    else:
        return
    hint = "Make one with `openssl rand -hex 32`, or unset it: then a key is made at the first start, and shown once."
    raise BadInput(f"TUNESMITH_ADMIN_KEY {why}.", code="weak_admin_key", hint=hint)


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
