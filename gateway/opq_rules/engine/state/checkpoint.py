"""Checkpoint collects what rules of qos >= 1 have to store, and commits it to the Outbox.

It runs in the engine's thread, and gives sinks their emissions after the commit.

Emissions are committed at most every `GROUP_S`, and commits take at most a third of the time; without
emissions it commits every checkpointInterval.
"""

import sqlite3
import threading
from collections.abc import Sequence
from itertools import groupby
from weakref import WeakKeyDictionary

from opq_proto.kit import log
from opq_rules.engine.clock import RuleClock
from opq_rules.engine.running.rule import QueryUnit, Rule
from opq_rules.engine.running.sink_runner import SinkRunner
from opq_rules.engine.running.stream_input import StreamInput
from opq_rules.engine.state.outbox import Outbox
from opq_rules.values.batch import Emission, JsonObject

GROUP_S = 0.02
SHARE = 2
MAX_STAGED = 20_000
"""Emissions that may wait for a commit; with this many it commits at once."""
MAX_WAITING = 100_000
"""Emissions in the outbox of one sink; with this many, the sources that feed it wait."""
PAGE = 1024
AGAIN_S = 1.0


class Checkpoint:
    """Commits. `interval_s`: the shortest checkpointInterval of the running rules; the lifecycle sets it."""

    def __init__(self, outbox: Outbox, clock: RuleClock) -> None:
        self.interval_s = 300.0
        self.commits, self.failures = 0, 0
        self.refused = ""
        """Why the disk refused the last commit; "" when it succeeded."""
        self._outbox, self._clock = outbox, clock
        self._emissions: list[tuple[str, int, SinkRunner, Emission]] = []
        self._units: dict[QueryUnit, None] = {}
        self._inputs: dict[StreamInput, None] = {}
        self._rules: dict[Rule, None] = {}
        self._sent: list[int] = []
        self._sent_lock = threading.Lock()
        self._waiting: WeakKeyDictionary[SinkRunner, int] = WeakKeyDictionary()
        """Weak keys: a closed sink may still report what it sent, and its count disappears with the runner.
        """
        self._last_s = clock.monotonic_s()
        self._pause_s = GROUP_S

    # -- what came since the last commit

    def add(self, rule: Rule, first: int, emissions: Sequence[Emission]) -> None:
        """Adds emissions of a rule."""
        assert rule.sinks is not None
        self._rules[rule] = None
        for runner in rule.sinks.runners:
            self._emissions += [
                (rule.id, first + k, runner, emission) for k, emission in enumerate(emissions)
            ]
            self._count(runner, len(emissions))

    def add_unit(self, unit: QueryUnit) -> None:
        """Notes that the unit's state has changed."""
        if unit.durable and unit.remembers:
            self._units[unit] = None

    def add_input(self, stream_input: StreamInput) -> None:
        """Notes that the input has given records."""
        self._inputs[stream_input] = None

    def record_sent(self, runner: SinkRunner, rows: list[int]) -> None:
        """Called by the sinks' threads: these rows of the outbox have been handled."""
        with self._sent_lock:
            self._sent += rows
            self._waiting[runner] = self._waiting.get(runner, 0) - len(rows)

    def _count(self, runner: SinkRunner, more: int) -> None:
        with self._sent_lock:  # under the lock of `record_sent`: a lost update would stay wrong for ever
            self._waiting[runner] = self._waiting.get(runner, 0) + more

    def waiting(self, runner: SinkRunner) -> int:
        """Emissions of qos >= 1 that the sink has not taken yet."""
        return self._waiting.get(runner, 0)

    @property
    def staged(self) -> int:
        """Emissions that wait for the next commit."""
        return len(self._emissions)

    # -- what was there before

    def stored(self, name: str) -> JsonObject | None:
        """The stored state of a rule ("rule r") or of an input (its key)."""
        return self._outbox.state(name)

    def open_sinks(self, rule_id: str, runners: Sequence[SinkRunner], new: Sequence[SinkRunner]) -> None:
        """Gives the sinks of a starting rule its waiting emissions, and the unsent ones of its former
        sinks."""
        moved = self._outbox.readdress(rule_id, [runner.key for runner in runners]) if runners else 0
        for runner in new:
            with self._sent_lock:
                sent, self._sent = self._sent, []
            self._outbox.commit({}, (), sent)  # rows that its predecessor sent must not be read again
            count = self._outbox.count(runner.key)
            self._waiting[runner] = count
            runner.spilled = count > 0
            self.read_on(runner)
        if moved and runners[0] not in new:
            self._count(runners[0], moved)
            runners[0].spilled = True
            self.read_on(runners[0])

    def read_on(self, runner: SinkRunner) -> None:
        """Hands the runner the next page of the outbox, if it has none left and more wait there."""
        if not runner.spilled or runner.waiting:
            return
        rows = self._outbox.waiting(runner.key, runner.last_row, PAGE)
        runner.spilled = False
        for rule_id, posted in groupby(rows, key=lambda row: row[1]):
            for n, _, sequence, emission in posted:
                runner.post(rule_id, sequence, [emission], [n])
        runner.spilled = runner.spilled or len(rows) == PAGE

    def reset(self, rule_id: str, input_key: str, offset: object) -> None:
        """Deletes the rule's state and lets its source continue after `offset`."""
        self._outbox.commit({input_key: {"offset": offset, "state": {}}, f"rule {rule_id}": None}, (), ())

    def delete_rule(self, rule_id: str) -> None:
        """Deletes the stored state and unsent emissions of a deleted rule."""
        self._outbox.delete_rule(rule_id)

    # -- commits

    @property
    def due_in_s(self) -> float | None:
        """Seconds until the next commit; None if nothing waits."""
        if len(self._emissions) >= MAX_STAGED and not self.refused:
            return 0.0
        if self._emissions or len(self._sent) >= PAGE:
            wait_s = self._pause_s
        elif self._sent:
            wait_s = min(self.interval_s, 1.0)
        elif self._units or self._inputs:
            wait_s = self.interval_s
        else:
            return None
        return self._last_s + wait_s - self._clock.monotonic_s()

    def commit(self) -> bool:
        """Stores waiting emissions and states in one transaction, then gives the emissions to the sinks.
        False: the disk refused."""
        began_s = self._clock.monotonic_s()
        states = self._states()
        with self._sent_lock:
            sent, self._sent = self._sent, []
        rows = [(rule_id, n, runner.key, emission) for rule_id, n, runner, emission in self._emissions]
        try:
            numbers = self._outbox.commit(states, rows, sent)
        except sqlite3.Error as error:
            with self._sent_lock:
                self._sent = sent + self._sent
            self.failures, self.refused = self.failures + 1, str(error)
            log.get(service="rules").warning("delivery.refused", error=str(error), waiting=len(rows))
            self._last_s, self._pause_s = self._clock.monotonic_s(), AGAIN_S
            return False
        emissions, self._emissions = self._emissions, []
        self._units, self._inputs, self._rules = {}, {}, {}
        self._post(emissions, numbers)
        self.commits, self.refused = self.commits + 1, ""
        self._last_s = self._clock.monotonic_s()
        self._pause_s = max(GROUP_S, SHARE * (self._last_s - began_s))
        return True

    def _states(self) -> dict[str, object]:
        states: dict[str, object] = {}
        for unit in self._units:
            for rule in unit.rules():
                states[f"rule {rule.id}"] = {
                    "sequence": rule.sequence,
                    "query": unit.state(),
                    "of": unit.statement,
                }
        for rule in self._rules:
            states.setdefault(f"rule {rule.id}", {"sequence": rule.sequence, "query": None, "of": ""})
        for each in self._inputs:
            if each.durable:
                states[each.key] = {"offset": each.runner.offset, "state": each.runner.state}
        return states

    def _post(
        self, emissions: Sequence[tuple[str, int, SinkRunner, Emission]], numbers: Sequence[int]
    ) -> None:
        by_runner: dict[SinkRunner, list[int]] = {}
        for k, (_, _, runner, _) in enumerate(emissions):
            by_runner.setdefault(runner, []).append(k)
        for runner, places in by_runner.items():
            for rule_id, run in groupby(places, key=lambda k: emissions[k][0]):  # in order of the rows
                ks = list(run)
                first = emissions[ks[0]][1]
                runner.post(rule_id, first, [emissions[k][3] for k in ks], [numbers[k] for k in ks])
            self.read_on(runner)  # continues with the outbox if the runner could not hold all of it

    def close(self) -> None:
        self._outbox.close()
