"""KeyedValues holds what `get_keyed_state` reads: a small value per key, set over REST while rules run.

It is a separate file: Planner passes `values` to queries and must not write; REST writes and knows no
queries.
"""

import math
from types import MappingProxyType

import msgspec

from opq_rules.engine.definitions.rule_definition import checked_id
from opq_rules.engine.definitions.rule_store import RuleStore
from opq_rules.errors import CONFIGURATION, NOT_FOUND, RuleError

KIND = "keyed_value"
MAX_KEYS = 10_000
MAX_TEXT_CHARS = 4096
"""Characters of a text."""

KeyedValue = bool | int | float | str


class KeyedValues:
    """Thread-safe. The values are stored, so that they survive a restart; queries read `values`."""

    def __init__(self, store: RuleStore) -> None:
        self._store = store
        self._values: dict[str, KeyedValue] = {
            key: msgspec.json.decode(body) for key, body in store.all(KIND).items()
        }
        self.values = MappingProxyType(self._values)

    def put(self, key: str, value: object) -> None:
        """Sets a value; rules use it from their next record on. RuleError 400: not a number, text or
        boolean."""
        checked_id("key", key, CONFIGURATION)
        if not _is_value(value):
            wanted = f"a number of 64 bits, a text of at most {MAX_TEXT_CHARS} characters, true or false"
            raise RuleError(f"the value of key {key} is {str(value)[:60]!r}; want {wanted}", CONFIGURATION)
        with self._store.changing():
            if key not in self._values and len(self._values) >= MAX_KEYS:
                raise RuleError(f"there are {MAX_KEYS} keys; delete one before {key}", CONFIGURATION)
            self._store.put(KIND, key, msgspec.json.encode(value).decode())
            self._values[key] = value  # type: ignore[assignment]

    def delete(self, key: str) -> None:
        """Deletes a value. Raises RuleError 404 if it does not exist."""
        with self._store.changing():
            if checked_id("key", key, CONFIGURATION) not in self._values:
                raise RuleError(f"key {key} is not found", NOT_FOUND, 404)
            self._store.delete(KIND, [key])
            del self._values[key]


def _is_value(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_TEXT_CHARS
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool) or (isinstance(value, int) and -(2**63) <= value < 2**63)
