"""Specs: options and open sinks, one for all rules that say the same."""

from typing import Any

from opq_rules.engine.clock import Clock
from opq_rules.engine.definition import RuleDefinition
from opq_rules.engine.outlet import STOP_S
from opq_rules.engine.outlets import Outlets
from opq_rules.engine.rule import Spec


class Specs:
    """Under the engine's lock. A spec is there while a rule runs with it, its outlets as long as any does."""

    def __init__(self, outlets: Outlets, clock: Clock) -> None:
        self._outlets, self._clock = outlets, clock
        self._by_key: dict[Any, Spec] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def of(self, definition: RuleDefinition) -> Spec:
        """Those that write into memory, or gather rows, have their own."""
        shares = all(
            action.type != "memory" and self._outlets.shared(action) for action in definition.actions
        )
        key: Any = (definition.options, definition.actions, "" if shares else definition.id)
        found = self._by_key.get(key)
        if found is None:
            outlets, topics = self._outlets.of(definition)
            found = self._by_key[key] = Spec(definition.options, outlets, topics, key=key)
        return found

    def leave(self, spec: Spec) -> None:
        """A rule has ended; sinks that nobody has any more end within two seconds."""
        spec.users[0] -= 1
        if not spec.users[0]:
            self._by_key.pop(spec.key, None)
        for outlet in spec.outlets:
            outlet.users -= 1
        ending = [outlet for outlet in dict.fromkeys(spec.outlets) if not outlet.users]
        for outlet in ending:
            self._outlets.close(outlet)
            outlet.stop()
        until_s = self._clock.monotonic_s() + STOP_S
        for outlet in ending:
            outlet.join(max(0.0, until_s - self._clock.monotonic_s()))
