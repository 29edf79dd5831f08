"""Together: rules over one window: what is before it and in it is done once, what is behind it by each rule.

A rule begins with an empty window, whatever the others have in theirs. So it joins them where theirs is as
empty as its own, and has one of its own until then (query.front). Rules that begin together, as after a
start of the process, share from the first record on. Owned by the engine's thread.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from opq_rules.batch import Batch
from opq_rules.engine.rule import Deliver, Follower, PartError, Rule, Trouble, Unit
from opq_rules.engine.single import Alone, Single
from opq_rules.query.back import Back
from opq_rules.query.front import Front
from opq_rules.query.plan import Plan
from opq_rules.query.query import Query
from opq_rules.query.run import Facts

SHOWN = 5


class Part(NamedTuple):
    """A rule's text and its plan: `Choice.constants`. Once it runs, `Rule.constants` is its `Back`."""

    text: str
    plan: Plan


@dataclass(slots=True)
class Apart:
    """A rule that is followed step by step runs by itself meanwhile. `broken`: it raised what it must not."""

    text: str
    plan: Plan
    unit: Alone
    broken: bool = False


class Together(Unit):
    """`facts`: of any of its rules; `options`: those that make a state another's, as text."""

    def __init__(self, key: object, feeds: Mapping[str, str], facts: Facts, options: str) -> None:
        super().__init__(key, feeds)
        self._facts = replace(facts, rule_id="")
        self._options = options
        self._rules: dict[str, Rule] = {}
        self._fronts: list[Front] = []
        """In the order in which they began; neighbours are the first to be the same."""
        self._apart: dict[str, Apart] = {}
        self._turn = 0

    @property
    def next_due_ms(self) -> int | None:
        all_ms = [front.next_due_ms for front in self._fronts]
        all_ms += [each.unit.next_due_ms for each in self._apart.values()]
        return min((due_ms for due_ms in all_ms if due_ms is not None), default=None)

    def operators(self, rule: Rule) -> tuple[str, ...]:
        plan: Plan = rule.constants.plan
        return plan.operators

    def reads(self, stream: str) -> frozenset[str] | None:
        found: frozenset[str] = frozenset()
        for rule in self._rules.values():
            used = rule.constants.plan.used[stream]
            if used is None:
                return None
            found |= used
        return found

    def trouble(self, rule: Rule) -> Trouble:
        held = rule.constants  # asked from any thread: it may be leaving
        if isinstance(held, Part):
            return Trouble(0, "", 0, 0)
        counted = held.unit.query.counters if isinstance(held, Apart) else held.counted()
        errors = counted.errors - rule.joined_errors
        if not errors:
            return Trouble(0, "", 0, counted.late)
        return Trouble(errors, counted.last_error, counted.last_error_ms, counted.late)

    def rules(self) -> Collection[Rule]:
        return self._rules.values()

    def shown(self, rule: Rule) -> str:
        own = rule.constants
        if isinstance(own, Apart):
            return "alone while it is traced"
        if isinstance(own, Part):
            return "no more"
        others = [user.id for back in own.home.backs for user in back.users if user is not rule]
        if not others:
            return "alone" if len(self._rules) == 1 else "with a window of its own until theirs are the same"
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        return f"with one window and its aggregates for {', '.join(others[:SHOWN])}{more}"

    def memory_of(self, rule: Rule) -> str:
        return f"{rule.constants.text} {self._options}"

    def add(self, rule: Rule, waiting: bool = False) -> None:
        part: Part = rule.constants
        front = self._fronts[-1] if self._fronts else None
        if front is None or waiting or not front.takes(rule.start_ms):
            front = self._begun(part, rule.start_ms)
            self._fronts.append(front)
        self._rules[rule.id] = rule
        rule.constants = front.admit(part.text, part.plan, rule)
        rule.joined_in, rule.joined_errors = self.records_in, self._back(rule).counted().errors

    def remove(self, rule: Rule) -> None:
        del self._rules[rule.id]
        self._leave(rule)
        own = rule.constants
        rule.constants = Part(own.text, own.plan)  # one that has stopped holds no window

    def apart(self, rule: Rule) -> Single:
        state, was = self.state(rule), self._back(rule)
        facts = replace(self._facts, rule_id=rule.id, start_ms=rule.start_ms)
        unit = Alone(self.key, self.feeds, partial(Query, was.plan, facts), was.plan)
        self._leave(rule)
        joined_in, joined_errors = rule.joined_in, rule.joined_errors
        unit.add(rule)
        unit.resume(rule, state)
        rule.joined_in, rule.joined_errors = joined_in, joined_errors
        rule.constants = self._apart[rule.id] = Apart(was.text, was.plan, unit)
        return unit

    def followed(self, rule: Rule) -> Single | None:
        apart = self._apart.get(rule.id)
        return apart.unit if apart else None

    def in_again(self, rule: Rule) -> None:
        self._resumed(rule, self.state(rule))

    def state(self, rule: Rule) -> Any:
        apart = self._apart.get(rule.id)
        if apart is not None:
            return apart.unit.state(rule)
        back = self._back(rule)
        return back.home.state_of(back)

    def resume(self, rule: Rule, state: Any) -> None:
        self._resumed(rule, state)
        rule.joined_errors = self._back(rule).counted().errors

    def _resumed(self, rule: Rule, state: Any) -> None:
        part = Part(rule.constants.text, rule.constants.plan)
        front = self._begun(part, rule.start_ms)
        front.begin(self._turn)
        front.restore(state)
        self._leave(rule)
        self._fronts.append(front)
        rule.constants = front.admit(part.text, part.plan, rule)

    def feed(self, batch: Batch, deliver: Deliver) -> None:
        self.records_in += len(batch.rows)
        self._turn += 1
        for front in self._fronts:
            front.begin(self._turn)
            front.feed(batch)
        failed = self._hand_on(deliver)
        failed += self._of_each_apart(lambda unit: unit.feed(batch, deliver))
        if failed:
            raise PartError(failed)

    def advance(self, now_ms: int, deliver: Deliver) -> None:
        self._turn += 1
        for front in self._fronts:
            front.begin(self._turn)
            front.advance(now_ms)
        failed = self._hand_on(deliver)
        failed += self._of_each_apart(lambda unit: unit.advance(now_ms, deliver))
        if failed:
            raise PartError(failed)

    def _of_each_apart(self, give: Callable[[Alone | Follower], None]) -> list[tuple[Rule, Exception]]:
        failed: list[tuple[Rule, Exception]] = []
        for rule_id, each in tuple(self._apart.items()):
            try:
                if not each.broken:
                    give(each.unit.tracing or each.unit)
            except Exception as error:  # a fault of ours, or of a function: its rule ends, the others go on
                each.broken = True
                failed.append((self._rules[rule_id], error))
        return failed

    def _hand_on(self, deliver: Deliver) -> list[tuple[Rule, Exception]]:
        """What backs gave, to their rules; then fronts that are the same become one."""
        failed: list[tuple[Rule, Exception]] = []
        for front in self._fronts:
            for back, emissions in front.taken():
                for rule in back.users:
                    deliver(rule, emissions)
            for back in front.broken():
                assert back.broken is not None
                failed += [(rule, back.broken) for rule in back.users]
        if len(self._fronts) > 1:
            kept = self._fronts[:1]
            for front in self._fronts[1:]:
                if front.is_as(kept[-1]):
                    kept[-1].absorb(front)
                else:
                    kept.append(front)
            self._fronts = kept
        return failed

    def _begun(self, part: Part, start_ms: int) -> Front:
        return Front(part.plan, replace(self._facts, start_ms=start_ms), self._turn)

    def _leave(self, rule: Rule) -> None:
        if self._apart.pop(rule.id, None) is not None:
            return
        back = self._back(rule)
        back.home.dismiss(back, rule)
        if not back.home.backs:
            self._fronts = [front for front in self._fronts if front is not back.home]
            for front in self._fronts:
                front.forget(back.home)

    def _back(self, rule: Rule) -> Back:
        back: Back = rule.constants
        return back
