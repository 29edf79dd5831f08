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
