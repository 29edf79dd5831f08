"""Schedules: rules that start and stop by the clock on the wall. Under the engine's lock."""

import random
from collections.abc import Callable
from functools import partial

from opq_rules.engine.clock import Clock
from opq_rules.engine.definition import RuleDefinition
from opq_rules.engine.keeper import Keeper
from opq_rules.engine.lives import Lives
from opq_rules.engine.planning import Choice
from opq_rules.engine.rule import FAILED, WAITING, Rule
from opq_rules.engine.schedule import NEVER_MS
from opq_rules.errors import RuleError

LONGEST_WAIT_S = 60.0
"""Between two looks at a schedule: the wall clock may be set, and summer begins. A look takes 0.3 ms."""


class Schedules:
    """`locked(work)` does work under the engine's lock; `is_there(rule)`: it was not deleted meanwhile."""

    def __init__(
        self,
        clock: Clock,
        keeper: Keeper,
        lives: Lives,
        locked: Callable[[Callable[[], None]], None],
        is_there: Callable[[Rule], bool],
    ) -> None:
        self._clock, self._keeper, self._lives = clock, keeper, lives
        self._locked, self._is_there = locked, is_there

    def begin(self, rule: Rule, made: RuleDefinition, choice: Choice | None = None) -> None:
        """By its schedule where it has one, else now."""
        if made.options.schedule is None:
            self._lives.start(rule, made, choice)
            return
        rule.more.schedule += 1
        self._look(rule, made, rule.more.schedule, None)

    def leave(self, rule: Rule) -> None:
        """Started or stopped by hand: its schedule has no say any more."""
        if rule.extra is not None:
            rule.extra.schedule += 1
            rule.extra.next_start_ms = 0

    def _start(self, rule: Rule, made: RuleDefinition) -> None:
        """What cannot start now (its stream was dropped) is told, and tried again at the next time."""
        if rule.unit is None:
            try:
                self._lives.start(rule, made)
            except RuleError as error:
                rule.status, rule.more.message = FAILED, str(error)

    def _look(self, rule: Rule, made: RuleDefinition, turn: int, ran: bool | None) -> None:
        """`ran`: at the last look. Between two edges a rule is left alone, also one that has failed."""
        schedule = made.options.schedule
        if schedule is None or rule.more.schedule != turn or not self._is_there(rule):
            return
        now_ms = self._clock.now_ms()
        runs = schedule.runs_at(now_ms)
        rule.more.next_start_ms = 0 if runs else schedule.next_start_ms(now_ms) or 0
        if runs and not ran:
            self._start(rule, made)
        elif not runs and ran is not False:
            self._lives.stop(rule, WAITING)
        change_ms = schedule.next_change_ms(now_ms)
        if change_ms < NEVER_MS:
            spread_s = LONGEST_WAIT_S * random.uniform(0.5, 1.0)  # thousands do not look at once
            wait_s = min((change_ms - now_ms) / 1000, spread_s)
            again = partial(self._look, rule, made, turn, runs)
            self._keeper.later(wait_s, lambda: self._locked(again))
