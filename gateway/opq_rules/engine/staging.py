"""Staging: what of qos >= 1 waits for the next commit, and when that is due. Owned by the engine's thread.

Emissions are committed at most every `GROUP_S`, and so seldom that commits take a third of the time at
most; without emissions every checkpointInterval.
"""

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from itertools import groupby
from weakref import WeakKeyDictionary

from opq_proto import log
from opq_rules.batch import Emission
from opq_rules.engine.clock import Clock
from opq_rules.engine.delivery import Delivery
from opq_rules.engine.feed import Feed
from opq_rules.engine.outlet import Outlet
from opq_rules.engine.rule import Rule, Unit

GROUP_S = 0.02
SHARE = 2
MOST_STAGED = 20_000
"""Emissions that wait for a commit; more, and it is done at once."""
MOST_WAITING = 100_000
"""Emissions in the outbox of one sink; more, and the sources behind it wait."""
PAGE = 1024
AGAIN_S = 1.0


class Staging:
    """`interval_s`: the shortest checkpointInterval of the rules that run; the engine sets it."""

    def __init__(self, delivery: Delivery, clock: Clock) -> None:
        self.interval_s = 300.0
        self.commits, self.failures = 0, 0
        self.refused = ""
        """Why the disk did not take the last commit; "" when it did."""
        self._delivery, self._clock = delivery, clock
        self._emissions: list[tuple[str, int, Outlet, Emission]] = []
        self._units: dict[Unit, None] = {}
        self._feeds: dict[Feed, None] = {}
        self._rules: dict[Rule, None] = {}
        self._taken: list[int] = []
        self._taken_lock = threading.Lock()
        self._waiting: WeakKeyDictionary[Outlet, int] = WeakKeyDictionary()
        """What one has sent may be told after it was closed; with it goes its number."""
        self._last_s = clock.monotonic_s()
        self._pause_s = GROUP_S

    def add(self, rule: Rule, first: int, emissions: Sequence[Emission]) -> None:
        """What a rule gave."""
        assert rule.spec is not None
        self._rules[rule] = None
        for outlet in rule.spec.outlets:
            self._emissions += [
                (rule.id, first + k, outlet, emission) for k, emission in enumerate(emissions)
            ]
            self._count(outlet, len(emissions))

    def touched(self, unit: Unit | None, feed: Feed | None) -> None:
        """The unit has new state (None: it has none), which `feed` brought."""
        if unit is not None:
            self._units[unit] = None
        if feed is not None:
            self._feeds[feed] = None

    def taken(self, outlet: Outlet, rows: list[int]) -> None:
        """From the sinks' threads: these rows of the outbox are done."""
        with self._taken_lock:
            self._taken += rows
            self._waiting[outlet] = self._waiting.get(outlet, 0) - len(rows)

    def _count(self, outlet: Outlet, more: int) -> None:
        with self._taken_lock:  # as `taken` has it: a number that is lost stays for ever
            self._waiting[outlet] = self._waiting.get(outlet, 0) + more

    def waiting(self, outlet: Outlet) -> int:
        """Emissions of qos >= 1 that the sink has not taken."""
        return self._waiting.get(outlet, 0)

    def opened(self, outlet: Outlet) -> None:
        """Brings what waited in the outbox before the start; what its forerunner has sent is none of it."""
        with self._taken_lock:
            taken, self._taken = self._taken, []
        self._delivery.commit({}, (), taken)
        count = self._delivery.count(outlet.key)
        self._waiting[outlet] = count
        outlet.spilled = count > 0
        self.read_on(outlet)

    def more(self, outlet: Outlet, count: int) -> None:
        """So many were added to its outbox by another way."""
        self._count(outlet, count)
        outlet.spilled = True
        self.read_on(outlet)

    def read_on(self, outlet: Outlet) -> None:
        """The next page of the outbox, where more waits there than the outlet holds."""
        if not outlet.spilled or outlet.waiting:
            return
        rows = self._delivery.waiting(outlet.key, outlet.last_row, PAGE)
        outlet.spilled = False
        for rule_id, posted in groupby(rows, key=lambda row: row[1]):
            for n, _, sequence, emission in posted:
                outlet.post(rule_id, sequence, [emission], [n])
        outlet.spilled = outlet.spilled or len(rows) == PAGE

    @property
    def staged(self) -> int:
        """Emissions that wait for the next commit."""
        return len(self._emissions)

    @property
    def due_in_s(self) -> float | None:
        """Until the next commit; None: nothing waits."""
        if len(self._emissions) >= MOST_STAGED and not self.refused:
            return 0.0
        if self._emissions or len(self._taken) >= PAGE:
            return self._last_s + self._pause_s - self._clock.monotonic_s()
        if self._units or self._feeds or self._taken:
            return (
                self._last_s
                + min(self.interval_s, 1.0 if self._taken else self.interval_s)
                - (self._clock.monotonic_s())
            )
        return None

    def commit(self, names: dict[Feed, str], extra: Iterable[tuple[str, object]] = ()) -> bool:
        """Everything that waits, in one transaction; then the sinks see it. False: the disk refuses, and
        all waits on. `names`: of feeds that are kept, in the database."""
        began_s = self._clock.monotonic_s()
        states: dict[str, object] = dict(extra)
        for unit in self._units:
            for rule in unit.rules():
                states[f"rule {rule.id}"] = {
                    "sequence": rule.sequence,
                    "query": unit.state(rule),
                    "of": unit.of,
                }
        for rule in self._rules:
            if f"rule {rule.id}" not in states:
                states[f"rule {rule.id}"] = {"sequence": rule.sequence, "query": None, "of": ""}
        for feed in self._feeds:
            if feed in names:
                states[names[feed]] = {"offset": feed.offset, "state": feed.state}
        with self._taken_lock:
            taken, self._taken = self._taken, []
        rows = [(rule_id, n, outlet.key, emission) for rule_id, n, outlet, emission in self._emissions]
        try:
            numbers = self._delivery.commit(states, rows, taken)
        except sqlite3.Error as error:
            with self._taken_lock:
                self._taken = taken + self._taken
            self.failures, self.refused = self.failures + 1, str(error)
            log.get(service="rules").warning("delivery.refused", error=str(error), waiting=len(rows))
            self._last_s, self._pause_s = self._clock.monotonic_s(), AGAIN_S
            return False
        emissions, self._emissions = self._emissions, []
        self._units, self._feeds, self._rules = {}, {}, {}
        by_outlet: dict[Outlet, list[int]] = {}
        for k, (_, _, outlet, _) in enumerate(emissions):
            by_outlet.setdefault(outlet, []).append(k)
        for outlet, places in by_outlet.items():
            for rule_id, run in groupby(places, key=lambda k: emissions[k][0]):  # in order of the rows
                ks = list(run)
                first = emissions[ks[0]][1]
                outlet.post(rule_id, first, [emissions[k][3] for k in ks], [numbers[k] for k in ks])
            self.read_on(outlet)  # where all of it was too much at once
        self.commits, self.refused = self.commits + 1, ""
        self._last_s = self._clock.monotonic_s()
        self._pause_s = max(GROUP_S, SHARE * (self._last_s - began_s))
        return True

    def forget(self, rule: Rule, unit: Unit | None) -> None:
        """A rule that is deleted: nothing of it is written any more."""
        self._rules.pop(rule, None)
        if unit is not None:
            self._units.pop(unit, None)
        self._emissions = [each for each in self._emissions if each[0] != rule.id]
