"""What is never shown: passwords and tokens among properties of sources and sinks.

Source: reference/rules.md, A.0.
"""

from typing import Any

HIDDEN = frozenset({"password", "token"})
"""Keys, in any case of letters."""
MASK = "******"


def without_secrets(value: Any) -> Any:
    """A copy of JSON with every value below a hidden key as `******`."""
    if isinstance(value, dict):
        return {
            key: MASK if isinstance(key, str) and key.lower() in HIDDEN else without_secrets(each)
            for key, each in value.items()
        }
    return [without_secrets(each) for each in value] if isinstance(value, list) else value


def with_secrets(value: Any, stored: Any) -> Any:
    """A copy of JSON with the secrets of `stored` where it has `******`: what was shown can be sent back."""
    if isinstance(value, dict):
        before = stored if isinstance(stored, dict) else {}
        return {
            key: before.get(key, each)
            if each == MASK and isinstance(key, str) and key.lower() in HIDDEN
            else with_secrets(each, before.get(key))
            for key, each in value.items()
        }
    if isinstance(value, list):
        known = stored if isinstance(stored, list) else []
        return [with_secrets(each, known[k] if k < len(known) else None) for k, each in enumerate(value)]
    return value
