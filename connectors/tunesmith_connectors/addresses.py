"""Addresses as they may be shown: a URL in a setting can carry a user's name and password."""

import re
from typing import Any

_USERINFO = re.compile(r"(?<=://)[^\s/?#]{1,1000}@")


def without_userinfo(text: str) -> str:
    """The text with user:password@ taken out of every URL in it."""
    return _USERINFO.sub("", text)


def shown(value: Any) -> Any:
    """The same for every text in a JSON value."""
    if isinstance(value, str):
        return without_userinfo(value)
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return [shown(item) for item in value] if isinstance(value, list | tuple) else value
