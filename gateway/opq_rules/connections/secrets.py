"""Hides secrets of sources, sinks and connections. Source: docs/reference/rules.md, A.0."""

import re
from typing import Any

SECRET_KEYS = frozenset({"password", "token"})
"""Keys, in any case of letters."""
ADDRESSES = frozenset({"url", "server"})
"""Keys of addresses that may contain a password: `scheme://user:word@host`, `user:word@tcp(...)/base`."""
MASK = "******"
_WORD = re.compile(r"(?P<user>(?:://|^)[^/:@\s]*:)(?!//)[^/@\s]*(?=@)")


def without_secrets(value: Any) -> Any:
    """A copy of JSON with every value below a hidden key as `******`."""
    if isinstance(value, dict):
        return {key: _shown(key, each) for key, each in value.items()}
    return [without_secrets(each) for each in value] if isinstance(value, list) else value


def without_password(text: str) -> str:
    """An address, or text that begins with one, with its password as `******`."""
    return _WORD.sub(rf"\g<user>{MASK}", text)


def with_secrets(value: Any, stored: Any) -> Any:
    """A copy of JSON with the secrets of `stored` for `******`, so that shown JSON can be sent back."""
    if isinstance(value, dict):
        before = stored if isinstance(stored, dict) else {}
        return {key: _unmasked(key, each, before) for key, each in value.items()}
    if isinstance(value, list):
        known = stored if isinstance(stored, list) else []
        return [with_secrets(each, known[k] if k < len(known) else None) for k, each in enumerate(value)]
    return value


def _shown(key: Any, value: Any) -> Any:
    name = key.lower() if isinstance(key, str) else ""
    if name in SECRET_KEYS:
        return MASK
    if name in ADDRESSES and isinstance(value, str):
        return without_password(value)
    return without_secrets(value)


def _unmasked(key: Any, value: Any, before: dict[Any, Any]) -> Any:
    if key in before and isinstance(value, str) and MASK in value and _shown(key, before[key]) == value:
        return before[key]
    return with_secrets(value, before.get(key))
