"""Front: the half of a query that rules can share: WHERE, the window, groups with all their aggregates.

A statement that joins must not see what came before it, so it joins a front that was given nothing yet. Two
fronts which are given the same become one as soon as they remember the same: every content of theirs has
begun when both were there.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from opq_rules.batch import Batch, Emission
from opq_rules.query.back import Back, Home
from opq_rules.query.groups import AggregateCall, Grouping, Groups, Sums
from opq_rules.query.plan import Plan
from opq_rules.query.projection import Projection
from opq_rules.query.query import Query
from opq_rules.query.run import Facts
from opq_rules.query.windows.window import Cut, Held, Kept


class Front(Query):
    """Gives nothing itself: its `backs` do. Of the first statement the rest counts, of all the aggregates.

    `turn` numbers what fronts that may become one are given together.
    """

    def __init__(self, plan: Plan, facts: Facts, turn: int = 0) -> None:
        self._calls: list[AggregateCall] = []
        self._users: list[int] = []
        """Of each call."""
        grouping = None
        if plan.grouping is not None:
            self._calls += plan.grouping.calls
            self._users += [0] * len(self._calls)
            grouping = Grouping(plan.grouping.keys, self._calls)
        rest = Projection((), (), (), None)
        super().__init__(
            replace(plan, grouping=grouping, having=None, projection=rest, order_by=(), limit=None), facts
        )
        self.backs: dict[Back, None] = {}
        self._by_text: dict[str, Back] = {}
        self._broken: list[Back] = []
        self._spoke = False
        """Something may be in `out` of a back."""
        self.fresh = True
        """It was given nothing yet."""
        self._context.turn = turn
        self._older: Front | None = None
        self._heir: Front | None = None
        """Which has absorbed it."""
        self._in_step_since = turn
        self._was_in_step = False

    # -- backs

    def takes(self, start_ms: int) -> bool:
        """Whether a statement that begins now would be where this front is."""
        due_ms = self.next_due_ms
        return self.fresh and (due_ms is None or start_ms < due_ms)

    def admit(self, text: str, plan: Plan, user: Any) -> Back:
        """To a front that takes it, or that was made of this plan. Users of one text share a back."""
        back = self._by_text.get(text)
        if back is None:
            back = self._by_text[text] = Back(text, plan, self.facts)
            calls = () if plan.grouping is None else plan.grouping.calls
            self._hold(back, [self._number(call) for call in calls])
        back.users.append(user)
        return back

    def _hold(self, back: Back, picked: Sequence[int]) -> None:
        back.enter(self, self.counters, self._context, picked)
        self.backs[back] = None
        for number in back.picked:
            self._users[number] += 1

    def _number(self, call: AggregateCall) -> int:
        for number, each in enumerate(self._calls):
            if each.key == call.key:
                return number
        self._calls.append(call)
        self._users.append(0)
        return len(self._calls) - 1

    def dismiss(self, back: Back, user: Any) -> None:
        """The last of its users takes its aggregates along, where the window lets them go."""
        back.users.remove(user)
        if back.users:
            return
        del self.backs[back]
        if self._by_text.get(back.text) is back:
            del self._by_text[back.text]
        for number in back.picked:
            self._users[number] -= 1
        held = self._held()
        if held is None or all(self._users):
            return
        left = [number for number, users in enumerate(self._users) if users]
        for content in held[1]:
            if isinstance(content, Groups):
                content.keep(left)
        places = {number: k for k, number in enumerate(left)}
        self._calls[:] = [self._calls[number] for number in left]
        self._users[:] = [self._users[number] for number in left]
        for each in self.backs:
            each.pick([places[number] for number in each.picked])

    def taken(self) -> list[tuple[Back, list[Emission]]]:
        """What backs have given since it was asked last."""
        if not self._spoke:
            return []
        self._spoke = False
        found = [(back, back.out) for back in self.backs if back.out]
        for back, _ in found:
            back.out = []
        return found

    def broken(self) -> list[Back]:
        """Those that raised since it was asked last."""
        found, self._broken = self._broken, []
        return found

    def state_of(self, back: Back) -> Any:
        """As of a query that runs this statement alone."""
        return self.state(back.picked) | {"counters": back.counted().state()}

    # -- records and time

    def begin(self, turn: int) -> None:
        """What comes now, comes to all fronts of this turn."""
        self.fresh = False
        self._context.turn = turn

    def feed(self, batch: Batch) -> list[Emission]:
        self._tell(super().feed(batch))
        return []

    def advance(self, now_ms: int) -> list[Emission]:
        self._tell(super().advance(now_ms))
        return []

    def _tell(self, out: list[Emission]) -> None:
        """Faults of records, which all of them have."""
        if out:
            self._spoke = True
            for back in self.backs:
                back.out += out
            out.clear()

    def _finish(self, cut: Cut, out: list[Emission]) -> None:
        content, empty = cut.content, cut.content.is_empty
        sums: list[Sums] | None = None
        if self.plan.grouping is not None:
            if isinstance(content, Kept):
                self._context.cut(cut.start_ms, cut.end_ms, cut.trigger_ms)
                groups = self._groups()
                for record in content.records:
                    groups.add(record)
                content = groups
            assert isinstance(content, Groups)
            sums = content.sums()
        self._faults.flush(out)
        self._tell(out)
        self._spoke = True
        for back in self.backs:
            back.look(cut, sums, empty)
            if back.broken is not None and not back.told:
                back.told = True
                self._broken.append(back)

    # -- becoming one

    def _held(self) -> Held | None:
        return None if self._window is None else self._window.held()

    def is_as(self, older: "Front") -> bool:
        """Whether both remember the same, so that one of them will do."""
        ours, theirs = self._held(), older._held()
        if ours is None or theirs is None:
            return False
        was, in_step = self._older, self._in_step(older)
        if was is not None and was._heir is older:
            self._older, self._in_step_since = older, max(self._in_step_since, was._in_step_since)
        if self._older is not older or not (in_step and self._was_in_step):
            self._older, self._in_step_since = older, self._context.turn
        self._was_in_step, since = in_step, self._in_step_since
        if not in_step or ours[0] != theirs[0]:
            return False
        if any(content.born <= since for content in (*ours[1], *theirs[1])):
            return False
        pairs = list(zip(ours[1], theirs[1], strict=True))
        return all(
            len(mine.by_key) == len(yours.by_key) and mine.whole and yours.whole
            for mine, yours in pairs
            if isinstance(mine, Groups) and isinstance(yours, Groups)
        )

    def forget(self, gone: Home) -> None:
        """One that nobody has any more is not kept, nor all those that it was compared with."""
        if self._older is gone:
            self._older = None

    def _in_step(self, older: "Front") -> bool:
        """The same time, for both."""
        own, other = self._watermark, older._watermark
        now_ms, then_ms = self._context.now_ms, older._context.now_ms
        if now_ms != then_ms or own is None or other is None:
            return now_ms == then_ms and own is other
        return own.is_as(other)

    def absorb(self, younger: "Front") -> None:
        """The backs of one that is as this."""
        known = len(self._calls)
        numbers = [self._number(call) for call in younger._calls]
        new = [k for k, number in enumerate(numbers) if number >= known]
        ours, theirs = self._held(), younger._held()
        assert ours is not None and theirs is not None
        for mine, yours in zip(ours[1], theirs[1], strict=True):
            if isinstance(mine, Groups) and isinstance(yours, Groups):
                mine.adopt(yours, new)
        for back in younger.backs:
            self._hold(back, [numbers[number] for number in back.picked])
            self._by_text.setdefault(back.text, back)
        self._spoke = self._spoke or younger._spoke
        younger._heir = self
