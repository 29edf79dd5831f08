"""Functions of a record and those before it: former values, running sums, how long something holds.

One object per call and partition. `update` takes a record; `last` answers if WHEN did not hold, from the
state and without changing it. Source: docs/reference/rules.md, D.5, Analytic.
"""

from collections.abc import Callable, Sequence

from opq_rules.functions.aggregates import CountAccumulator, Extreme
from opq_rules.functions.arguments import number
from opq_rules.functions.exact import Sum
from opq_rules.functions.registry import Analytic, AnalyticState, Definition, KeepsState
from opq_rules.values.batch import Value
from opq_rules.values.sql_values import condition, shown, whole_as_int

_MAX_LAG = 10_000


class LagValue(KeepsState):
    """lag(e, offset = 1, default = null, ignore_null = true)."""

    __slots__ = KEEPS = ("_kept",)

    def __init__(self) -> None:
        self._kept: list[Value] | None = None

    def update(self, *values: Value) -> Value:
        value, offset, default, ignore_null = self._arguments(*values)
        if offset == 0:
            return value
        if self._kept is None:
            self._kept = [default] * offset
        former = self._kept[0]
        if value is not None or not ignore_null:
            self._kept = [*self._kept[1:], value]
        return former

    def last(self, *values: Value) -> Value:
        """The value that the next record would see as its former one."""
        _, _, default, _ = self._arguments(*values)
        return self._kept[0] if self._kept else default

    def _arguments(
        self, value: Value, offset: Value = 1, default: Value = None, ignore_null: Value = True
    ) -> tuple[Value, int, Value, bool]:
        back = whole_as_int(offset)
        if type(back) is not int or not 0 <= back <= _MAX_LAG:
            raise ValueError(f"offset is {shown(offset)}; want 0 to {_MAX_LAG}")
        return value, back, default, condition(ignore_null)


class Latest(KeepsState):
    """latest(e, default = null): the value, or the last one that was not null."""

    __slots__ = KEEPS = ("_value",)

    def __init__(self) -> None:
        self._value: Value = None

    def update(self, value: Value, default: Value = None) -> Value:
        if value is not None:
            self._value = value
        return self._value if self._value is not None else default

    def last(self, value: Value, default: Value = None) -> Value:
        return self._value if self._value is not None else default


class RunningValue(KeepsState):
    """acc_x(e[, begin, reset]): over all records, or from where `begin` holds to where `reset` holds.

    Both of these records count. Between a reset and the next begin the result is that of no records.
    """

    __slots__ = ("_begun", "_kept", "_start", "_value")
    KEEPS = ("_begun", "_kept")

    def __init__(self, start: Callable[[], Value], value: Callable[[Value], Value]) -> None:
        self._start, self._value = start, value
        self._kept = start()
        self._begun = False

    def update(self, value: Value, *when: Value) -> Value:
        if not when:
            self._kept.add(value)
            return self._value(self._kept)
        begin, reset = (condition(each) for each in when)
        if not self._begun:
            self._kept = self._start()
            self._begun = begin
        if self._begun:
            self._kept.add(value)
        answer = self._value(self._kept)
        self._begun = self._begun and not reset
        return answer

    def last(self, value: Value, *when: Value) -> Value:
        return self._value(self._kept)


class ExtremeNumber(Extreme):
    """Extreme of numbers alone."""

    __slots__ = ()

    def add(self, value: Value) -> None:
        super().add(value if value is None else number(value))


class ConsecutiveCount(KeepsState):
    """consecutive_count(condition): how many records in a row hold, including this one."""

    __slots__ = KEEPS = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def update(self, holds: Value) -> int:
        self._count = self._count + 1 if condition(holds) else 0
        return self._count

    def last(self, holds: Value) -> int:
        return self._count


class ConsecutiveStart(KeepsState):
    """consecutive_start(condition, e): e of the first record of the current run that holds, else null."""

    __slots__ = KEEPS = ("_begun", "_value")

    def __init__(self) -> None:
        self._begun, self._value = False, None

    def update(self, holds: Value, value: Value) -> Value:
        if not condition(holds):
            self._begun, self._value = False, None
        elif not self._begun:
            self._begun, self._value = True, value
        return self._value

    def last(self, holds: Value, value: Value) -> Value:
        return self._value


def _running(name: str, start: Callable[[], Value], value: Callable[[Value], Value]) -> Analytic:
    def begin() -> AnalyticState:
        return RunningValue(start, value)

    return Analytic(f"acc_{name}", begin, 1, 3, check=_check_running)


def _check_running(constants: Sequence[Value]) -> str:
    wanted = "want one argument, or three: what, where it begins, where it is reset"
    return wanted if len(constants) == 2 else ""


def _check_offset(constants: Sequence[Value]) -> str:
    offset = constants[1] if len(constants) > 1 else 1
    if type(offset) is int and 0 <= offset <= _MAX_LAG:
        return ""
    return f"argument 2 is the offset: a constant from 0 to {_MAX_LAG}"


def _real_mean(kept: Sum) -> float | None:
    return kept.total() / kept.count if kept.count else None  # type: ignore[operator]


FUNCTIONS: tuple[Definition, ...] = (
    Analytic("lag", LagValue, 1, 4, check=_check_offset),
    Analytic("latest", Latest, 1, 2),
    _running("sum", Sum, lambda kept: kept.total() or 0),
    _running("avg", Sum, _real_mean),
    _running("min", lambda: ExtremeNumber("<"), lambda kept: kept.value()),
    _running("max", lambda: ExtremeNumber(">"), lambda kept: kept.value()),
    _running("count", CountAccumulator, lambda kept: kept.value()),
    Analytic("consecutive_count", ConsecutiveCount, 1, 1),
    Analytic("consecutive_start", ConsecutiveStart, 2, 2),
)
