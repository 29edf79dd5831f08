"""What a record is beside those before it: changes, former values, running sums.

One object per call and partition. `update` takes a record; `last` answers where WHEN did not hold, out
of the state and without changing it. Source: reference/rules.md, D.5, Analytic.
"""

from collections.abc import Callable, Sequence
from typing import Any

from opq_rules.functions.aggregates import Count, Extreme
from opq_rules.functions.arguments import both, want
from opq_rules.functions.exact import Sum
from opq_rules.functions.registry import MANY, UNKNOWN, Analysis, Analytic, Definition
from opq_rules.values import condition, identity, shown

_LAG_MOST = 10_000


class Lag:
    """lag(e, offset = 1, default = null, ignore_null = true)."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: list[Any] | None = None

    def update(self, *values: Any) -> Any:
        value, offset, default, ignore_null = self._arguments(*values)
        if offset == 0:
            return value
        if self._kept is None:
            self._kept = [default] * offset
        former = self._kept[0]
        if value is not None or not ignore_null:
            self._kept = [*self._kept[1:], value]
        return former

    def last(self, *values: Any) -> Any:
        """The value that the next record would look back on."""
        _, _, default, _ = self._arguments(*values)
        return self._kept[0] if self._kept else default

    def _arguments(
        self, value: Any, offset: Any = 1, default: Any = None, ignore_null: Any = True
    ) -> tuple[Any, int, Any, bool]:
        if type(offset) is not int or not 0 <= offset <= _LAG_MOST:
            raise ValueError(f"offset {shown(offset)}; want 0 to {_LAG_MOST}")
        return value, offset, default, condition(ignore_null)

    def state(self) -> Any:
        return self._kept

    def restore(self, state: Any) -> None:
        self._kept = None if state is None else list(state)


class Latest:
    """latest(e, default = null): the value, or the last one that was not null."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value: Any = None

    def update(self, value: Any, default: Any = None) -> Any:
        if value is not None:
            self._value = value
        return self._value if self._value is not None else default

    def last(self, value: Any, default: Any = None) -> Any:
        return self._value if self._value is not None else default

    def state(self) -> Any:
        return self._value

    def restore(self, state: Any) -> None:
        self._value = state


class Changed:
    """Values by name, and which of them are not what they were."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def changed(self, named: dict[str, Any], ignore_null: bool) -> dict[str, Any]:
        """Those of `named` that changed, and takes them over; what is or was not there is null."""
        found = {}
        for name, value in (dict.fromkeys(self._known) | named).items():
            if value is None and ignore_null:
                continue
            if identity(value) != identity(self._known.get(name)):
                found[name] = self._known[name] = value
        return found

    def state(self) -> Any:
        return dict(self._known)

    def restore(self, state: Any) -> None:
        self._known = dict(state)


class ChangedCol(Changed):
    """changed_col(ignore_null, e): the value if it changed, else null."""

    __slots__ = ()

    def update(self, ignore_null: Any, value: Any) -> Any:
        return self.changed({"": value}, condition(ignore_null)).get("")

    def last(self, ignore_null: Any, value: Any) -> Any:
        return None


class HadChanged(Changed):
    """had_changed(ignore_null, e, ...): whether any changed; true for the first record. `*`: any column."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        super().__init__()
        self._begun = False

    def update(self, ignore_null: Any, *values: Any) -> bool:
        ignored = condition(ignore_null)
        named: dict[str, Any] = {}
        for place, value in enumerate(values):
            if isinstance(value, dict):
                named |= {f"{place}.{key}": each for key, each in value.items()}
            else:
                named[str(place)] = value
        changed = bool(self.changed(named, ignored))
        first = not self._begun and not (ignored and all(value is None for value in named.values()))
        self._begun = self._begun or first
        return changed or first

    def last(self, ignore_null: Any, *values: Any) -> bool:
        return False

    def state(self) -> Any:
        return [self._begun, super().state()]

    def restore(self, state: Any) -> None:
        self._begun = state[0]
        super().restore(state[1])


class ChangedCols(Changed):
    """changed_cols(prefix, ignore_null, e, ... | *): those that changed, each under prefix and name."""

    __slots__ = ()

    def update(self, prefix: Any, ignore_null: Any, named: dict[str, Any]) -> dict[str, Any]:
        found = self.changed(named, condition(ignore_null))
        return {f"{prefix}{name}": value for name, value in found.items()}

    def last(self, prefix: Any, ignore_null: Any, named: dict[str, Any]) -> dict[str, Any]:
        return {}


class Running:
    """acc_x(e[, begin, reset]): over all records; or from one where `begin` holds to one where `reset` does.

    Both of these count. Between a reset and the next begin the answer is that of nothing.
    """

    __slots__ = ("_begun", "_kept", "_start", "_value")

    def __init__(self, start: Callable[[], Any], value: Callable[[Any], Any]) -> None:
        self._start, self._value = start, value
        self._kept = start()
        self._begun = False

    def update(self, value: Any, *when: Any) -> Any:
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

    def last(self, value: Any, *when: Any) -> Any:
        return self._value(self._kept)

    def state(self) -> Any:
        return [self._begun, self._kept.state()]

    def restore(self, state: Any) -> None:
        self._begun = state[0]
        self._kept.restore(state[1])


class ChangeTo:
    """change_to(e, target, ignore_null = false): whether it became the target just now."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: list[Any] = []

    def update(self, value: Any, target: Any, ignore_null: Any = False) -> bool:
        if value is None and condition(ignore_null):
            return False
        changed = not self._known or identity(self._known[0]) != identity(value)
        self._known = [value]
        return changed and bool(identity(value) == identity(target))

    def last(self, value: Any, target: Any, ignore_null: Any = False) -> bool:
        return False

    def state(self) -> Any:
        return list(self._known)

    def restore(self, state: Any) -> None:
        self._known = list(state)


class ChangeCapture:
    """change_capture(kept, e, target, ignore_null = false): `kept` of where e last became the target."""

    __slots__ = ("_change", "_kept")

    def __init__(self) -> None:
        self._change = ChangeTo()
        self._kept: Any = None

    def update(self, kept: Any, value: Any, target: Any, ignore_null: Any = False) -> Any:
        if self._change.update(value, target, ignore_null):
            self._kept = kept
        return self._kept

    def last(self, *values: Any) -> Any:
        return self._kept

    def state(self) -> Any:
        return [self._kept, self._change.state()]

    def restore(self, state: Any) -> None:
        self._kept = state[0]
        self._change.restore(state[1])


class ConsecutiveCount:
    """consecutive_count(condition): how many records in a row, this one among them."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def update(self, holds: Any) -> int:
        self._count = self._count + 1 if condition(holds) else 0
        return self._count

    def last(self, holds: Any) -> int:
        return self._count

    def state(self) -> Any:
        return self._count

    def restore(self, state: Any) -> None:
        self._count = state


class ConsecutiveStart:
    """consecutive_start(condition, e): e of the first record of the row of those that hold, else null."""

    __slots__ = ("_begun", "_value")

    def __init__(self) -> None:
        self._begun, self._value = False, None

    def update(self, holds: Any, value: Any) -> Any:
        if not condition(holds):
            self._begun, self._value = False, None
        elif not self._begun:
            self._begun, self._value = True, value
        return self._value

    def last(self, holds: Any, value: Any) -> Any:
        return self._value

    def state(self) -> Any:
        return [self._begun, self._value]

    def restore(self, state: Any) -> None:
        self._begun, self._value = state


def _running(name: str, start: Callable[[], Any], value: Callable[[Any], Any]) -> Analytic:
    def begin() -> Analysis:
        return Running(start, value)

    return Analytic(f"acc_{name}", begin, 1, 3, check=_check_running)


def _check_running(constants: Sequence[Any]) -> str:
    if len(constants) == 2:
        return "want one argument, or three: what, where it begins, where it is reset"
    return want("any", "boolean", "boolean")(constants)


def _check_offset(constants: Sequence[Any]) -> str:
    offset = constants[1] if len(constants) > 1 else 1
    if type(offset) is int and 0 <= offset <= _LAG_MOST:
        return ""
    return f"argument 2 is the offset: a constant from 0 to {_LAG_MOST}"


def _real_mean(kept: Sum) -> float | None:
    return kept.total() / kept.count if kept.count else None  # type: ignore[operator]


def _checked_flag(place: int) -> Callable[[Sequence[Any]], str]:
    def check(constants: Sequence[Any]) -> str:
        flag = constants[place] if place < len(constants) else False
        if type(flag) is bool or flag is UNKNOWN:
            return ""
        return f"argument {place + 1} is whether to ignore null: true or false"

    return check


FUNCTIONS: tuple[Definition, ...] = (
    Analytic("lag", Lag, 1, 4, check=both(_check_offset, _checked_flag(3))),
    Analytic("latest", Latest, 1, 2),
    Analytic("changed_col", ChangedCol, 2, 2, check=_checked_flag(0)),
    Analytic("had_changed", HadChanged, 2, MANY, check=_checked_flag(0), star=True),
    Analytic("changed_cols", ChangedCols, 3, MANY, spread=True, check=both(want("text"), _checked_flag(1))),
    _running("sum", Sum, lambda kept: kept.total() or 0),
    _running("avg", Sum, _real_mean),
    _running("min", lambda: Extreme("<"), lambda kept: kept.value()),
    _running("max", lambda: Extreme(">"), lambda kept: kept.value()),
    _running("count", Count, lambda kept: kept.value()),
    Analytic("change_to", ChangeTo, 2, 3, check=_checked_flag(2)),
    Analytic("change_capture", ChangeCapture, 3, 4, check=_checked_flag(3)),
    Analytic("consecutive_count", ConsecutiveCount, 1, 1),
    Analytic("consecutive_start", ConsecutiveStart, 2, 2),
)
