"""Back: what one statement makes of a window that it shares: HAVING, SELECT, ORDER BY, LIMIT, its faults."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from opq_rules.batch import Emission
from opq_rules.errors import RowError
from opq_rules.query.counters import Counters
from opq_rules.query.emitting import Emitter
from opq_rules.query.faults import Faults
from opq_rules.query.groups import Groups, Sums
from opq_rules.query.plan import Plan
from opq_rules.query.run import Facts, Run
from opq_rules.query.windows.window import Cut


class Home(Protocol):
    """The front of a back, as those see it for whom the back looks."""

    @property
    def backs(self) -> Mapping["Back", None]:
        """All that look at its window."""
        ...

    def state_of(self, back: "Back") -> Any: ...
    def dismiss(self, back: "Back", user: Any) -> None: ...


class Back:
    """`users`: for whom it looks. `picked`: numbers of its aggregates in its front, `home`. `out`: what it
    gave and nobody has taken. `broken`: what it raised that it must not, and gives nothing more; `told`: and
    that is known."""

    __slots__ = (
        "_counters", "_emitter", "_errors_before", "_facts", "_faults", "_front", "_late_before",
        "broken", "home", "out", "picked", "plan", "text", "told", "users",
    )  # fmt: skip

    def __init__(self, text: str, plan: Plan, facts: Facts) -> None:
        self.text, self.plan = text, plan
        self.users: list[Any] = []
        self.home: Home
        self.picked: tuple[int, ...] = ()
        self.out: list[Emission] = []
        self.broken: Exception | None = None
        self.told = False
        self._facts = facts
        self._counters = Counters()
        self._front = self._counters
        self._errors_before = self._late_before = 0

    def enter(self, home: Home, front: Counters, context: Run, picked: Sequence[int]) -> None:
        """Looks at the window of this front from now on. What its first one has counted is its own."""
        if self._front is not self._counters:
            self._counters = self.counted()
            self._errors_before, self._late_before = front.errors, front.late
        self.home, self._front = home, front
        self._faults = Faults(self._counters, context, self._facts.send_error)
        self._emitter = Emitter(self.plan, self._facts, context, _none, {}, {}, None)
        self.pick(picked)

    def pick(self, numbers: Sequence[int]) -> None:
        self.picked = self._emitter.picked = tuple(numbers)

    def look(self, cut: Cut, sums: Sequence[Sums] | None, empty: bool) -> None:
        """At a window that ended. `sums`: of its groups; None: its records are kept."""
        if self.broken is not None:
            return
        try:
            rows = self._emitter.rows(cut, sums)
        except RowError as error:
            self._faults.tell(error, self.out)
        except Exception as error:  # a fault of ours: this one ends, the others look on
            self.broken, self.out = error, []
        else:
            if rows or (empty and self._facts.send_empty_window):
                self.out.append(rows)

    def counted(self) -> Counters:
        """As if it had run alone."""
        own, front = self._counters, self._front
        errors, late = front.errors - self._errors_before, front.late - self._late_before
        last = front if errors and front.last_error_ms >= own.last_error_ms else own
        return Counters(
            records_in=front.records_in,
            emissions=own.emissions,
            late=own.late + late,
            errors=own.errors + errors,
            last_error=last.last_error,
            last_error_ms=last.last_error_ms,
        )


def _none() -> Groups:
    raise AssertionError("groups come from the front")
