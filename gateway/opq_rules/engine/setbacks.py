"""Setbacks: rules that broke, stopped alone, and started again as their strategy says."""

import threading
from collections.abc import Mapping
from functools import partial

from opq_proto import log
from opq_rules.engine.bodies import Bodies
from opq_rules.engine.keeper import Keeper
from opq_rules.engine.lives import Lives
from opq_rules.engine.rule import FAILED, Rule, Unit
from opq_rules.engine.schedules import Schedules
from opq_rules.errors import RuleError


class Setbacks:
    """`lock`: the engine's; the keeper's thread takes it."""

    def __init__(
        self,
        lock: threading.RLock,
        rules: Mapping[str, Rule],
        bodies: Bodies,
        lives: Lives,
        schedules: Schedules,
        keeper: Keeper,
    ) -> None:
        self._lock, self._rules, self._bodies = lock, rules, bodies
        self._lives, self._schedules, self._keeper = lives, schedules, keeper
        self._log = log.get(service="rules")

    def unit_failed(self, unit: Unit, error: Exception) -> None:
        """From the loop's thread: a fault of ours, or of a plug-in's function."""
        text, rules = f"{type(error).__name__}: {error}", tuple(unit.rules())
        self._log.error("unit.failed", error=text, rules=[rule.id for rule in rules[:5]], exc_info=error)
        for rule in rules:
            self._keeper.soon(partial(self._rule_failed, rule, unit, text))

    def begin_again(self, rule: Rule) -> None:
        """Under the lock. What keeps it from running now is told in its status."""
        try:
            self._schedules.begin(rule, self._bodies.definition(rule.id))
        except RuleError as error:
            rule.status, rule.more.message = FAILED, str(error)

    def _rule_failed(self, rule: Rule, unit: Unit, text: str) -> None:
        with self._lock:
            if rule.unit is not unit:
                return
            made = self._bodies.definition(rule.id)
            wait_s = self._lives.failed(rule, made, text)
            if wait_s is not None:
                self._keeper.later(wait_s, partial(self._start_again, rule))

    def _start_again(self, rule: Rule) -> None:
        with self._lock:
            if self._rules.get(rule.id) is rule and rule.status == FAILED:
                self.begin_again(rule)
