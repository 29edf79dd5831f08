"""Users: which rules use a stream, and which rules and streams a type."""

import threading
from collections.abc import Mapping

import msgspec

from opq_rules.engine.bodies import Bodies
from opq_rules.engine.planning import Planning
from opq_rules.engine.rule import Rule
from opq_rules.errors import RuleError
from opq_rules.streams.definition import StreamDefinition


class Users:
    """From any thread. `lock`: the engine's."""

    def __init__(
        self,
        lock: threading.RLock,
        rules: Mapping[str, Rule],
        streams: Mapping[str, StreamDefinition],
        bodies: Bodies,
        planning: Planning,
    ) -> None:
        self._lock, self._rules, self._streams = lock, rules, streams
        self._bodies, self._planning = bodies, planning

    def of_stream(self, name: str) -> list[str]:
        """Ids of the rules whose statement names it."""
        with self._lock:
            return [
                rule_id
                for rule_id, text in self._bodies.all().items()
                if name in text and name in self._streams_of(text)
            ]

    def of_type(self, kind: str, symbol: str) -> list[str]:
        """Ids of the rules that have a sink or call a function; names of the streams that have a source."""
        if kind == "source":
            return [name for name, each in self._streams.items() if each.type == symbol]
        found = []
        for rule_id in sorted(self._rules):
            try:
                made = self._bodies.definition(rule_id)
                uses = any(action.type == symbol for action in made.actions)
                if kind == "function":
                    uses = self._planning.calls(made.sql, symbol)
            except RuleError:
                continue
            if uses:
                found.append(rule_id)
        return found

    def rules_of_type(self, kind: str, symbol: str) -> list[str]:
        """As `of_type`, and of a source the rules on its streams."""
        users = self.of_type(kind, symbol)
        if kind != "source":
            return users
        return list(dict.fromkeys(rule_id for name in users for rule_id in self.of_stream(name)))

    def _streams_of(self, text: str) -> set[str]:
        try:
            select = self._planning.select(msgspec.json.decode(text)["sql"])
        except RuleError:
            return set()
        return {select.source.stream, *(join.source.stream for join in select.joins)}
