"""RuleTaps: readers of rules' emissions, in addition to their sinks.

A reader gets its rule's emissions whenever the rule runs, also after it was stopped, started or replaced.
Nothing waits for a reader, at any qos. A reader limits the rows that it holds, and counts the rows that it
misses.
"""

import threading
from collections.abc import Callable, Mapping, Sequence

from opq_rules.errors import RULE, RuleError
from opq_rules.values.batch import Emission

MAX_TAPS = 100
"""Readers of all rules together."""
Tap = Callable[[Sequence[Emission]], None]
"""Called by the engine's thread; must not block or raise."""


class RuleTaps:
    """Thread-safe. `by_rule` is replaced as a whole, so the engine's thread reads it without a lock."""

    def __init__(self) -> None:
        self.by_rule: Mapping[str, tuple[Tap, ...]] = {}
        self._lock = threading.Lock()

    def enter(self, rule_id: str, tap: Tap) -> None:
        """Adds a reader. Raises RuleError where there are MAX_TAPS already."""
        with self._lock:
            if sum(map(len, self.by_rule.values())) >= MAX_TAPS:
                raise RuleError(f"{MAX_TAPS} readers of rows are open already; close one of them", RULE)
            self.by_rule = {**self.by_rule, rule_id: (*self.by_rule.get(rule_id, ()), tap)}

    def leave(self, rule_id: str, tap: Tap) -> None:
        with self._lock:
            left = tuple(each for each in self.by_rule.get(rule_id, ()) if each != tap)
            others = {name: taps for name, taps in self.by_rule.items() if name != rule_id}
            self.by_rule = {**others, rule_id: left} if left else others
