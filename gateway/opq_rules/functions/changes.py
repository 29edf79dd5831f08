"""Analytic functions that report changes. Source: docs/reference/rules.md, D.5, Analytic."""

from typing import ClassVar

from opq_rules.functions.arguments import boolean, reads
from opq_rules.functions.registry import MAX_ARGUMENTS, Analytic, Definition, KeepsState
from opq_rules.values.batch import Value
from opq_rules.values.sql_values import condition, identity


class Changed(KeepsState):
    """Remembers values by name, and finds which of them have changed."""

    __slots__ = ("_known",)
    KEEPS: ClassVar[tuple[str, ...]] = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, Value] = {}

    def changed(self, named: dict[str, Value], ignore_null: bool) -> dict[str, Value]:
        """Remember `named`; return the values that changed. A value that is or was missing is null."""
        found = {}
        for name, value in (dict.fromkeys(self._known) | named).items():
            if value is None and ignore_null:
                continue
            if identity(value) != identity(self._known.get(name)):
                found[name] = self._known[name] = value
        return found


class ChangedCol(Changed):
    """changed_col(ignore_null, e): the value if it changed, else null."""

    __slots__ = ()

    def update(self, ignore_null: Value, value: Value) -> Value:
        return self.changed({"": value}, condition(ignore_null)).get("")

    def last(self, ignore_null: Value, value: Value) -> Value:
        return None


class HadChanged(Changed):
    """had_changed(ignore_null, e, ...): whether any changed; true for the first record. `*`: any column."""

    __slots__ = ("_begun",)
    KEEPS = ("_begun", "_known")

    def __init__(self) -> None:
        super().__init__()
        self._begun = False

    def update(self, ignore_null: Value, *values: Value) -> bool:
        ignored = condition(ignore_null)
        named: dict[str, Value] = {}
        for place, value in enumerate(values):
            if isinstance(value, dict):
                named |= {f"{place}.{key}": each for key, each in value.items()}
            else:
                named[str(place)] = value
        changed = bool(self.changed(named, ignored))
        first = not self._begun and not (ignored and all(value is None for value in named.values()))
        self._begun = self._begun or first
        return changed or first

    def last(self, ignore_null: Value, *values: Value) -> bool:
        return False


class ChangedCols(Changed):
    """changed_cols(prefix, ignore_null, e, ... | *): those that changed, each under prefix and name."""

    __slots__ = ()

    def update(self, prefix: Value, ignore_null: Value, named: dict[str, Value]) -> dict[str, Value]:
        found = self.changed(named, condition(ignore_null))
        return {f"{prefix}{name}": value for name, value in found.items()}

    def last(self, prefix: Value, ignore_null: Value, named: dict[str, Value]) -> dict[str, Value]:
        return {}


class ChangeTo(KeepsState):
    """change_to(e, target, ignore_null = false): whether the value has just become the target."""

    __slots__ = KEEPS = ("_known",)

    def __init__(self) -> None:
        self._known: list[Value] = []

    def update(self, value: Value, target: Value, ignore_null: Value = False) -> bool:
        if value is None and condition(ignore_null):
            return False
        changed = not self._known or identity(self._known[0]) != identity(value)
        self._known = [value]
        return changed and bool(identity(value) == identity(target))

    def last(self, value: Value, target: Value, ignore_null: Value = False) -> bool:
        return False


class ChangeCapture(KeepsState):
    """change_capture(kept, e, target, ignore_null = false): `kept` of where e last became the target."""

    __slots__ = KEEPS = ("_kept", "_change")

    def __init__(self) -> None:
        self._change = ChangeTo()
        self._kept: Value = None

    def update(self, kept: Value, value: Value, target: Value, ignore_null: Value = False) -> Value:
        if self._change.update(value, target, ignore_null):
            self._kept = kept
        return self._kept

    def last(self, *values: Value) -> Value:
        return self._kept


FUNCTIONS: tuple[Definition, ...] = (
    Analytic("changed_col", ChangedCol, 2, 2),
    Analytic("had_changed", HadChanged, 2, MAX_ARGUMENTS, star=True),
    Analytic("changed_cols", ChangedCols, 3, MAX_ARGUMENTS, spread=True),
    Analytic("change_to", ChangeTo, 2, 3, check=reads(2, boolean)),
    Analytic("change_capture", ChangeCapture, 3, 4, check=reads(3, boolean)),
)
