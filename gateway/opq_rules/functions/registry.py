"""How a function of SQL is declared and found.

Three kinds. A scalar is a plain function of its arguments. An aggregate is a class whose objects take
values one by one, so that windows need not keep records. An analytic one has state per partition
and is called for every record, before WHERE.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

MANY = 1_000
"""Arguments: without limit."""


class RunContext(Protocol):
    """What functions may know beside their arguments: of the record, its window, its rule. Unix ms."""

    @property
    def now_ms(self) -> int: ...
    @property
    def event_ms(self) -> int: ...
    @property
    def window_start_ms(self) -> int: ...
    @property
    def window_end_ms(self) -> int: ...
    @property
    def meta(self) -> Any: ...
    @property
    def rule_id(self) -> str: ...
    @property
    def rule_start_ms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Scalar:
    """`run(*arguments)`, with `context=True` `run(context, *arguments)`.

    `null_in_null_out`: the compiler answers null when any argument is null, and `run` never sees one.
    `check(constants)`, at planning: a constant's value, or `UNKNOWN`; says what is wrong, or "".
    `run` may raise errors.RowError, ValueError, TypeError, ZeroDivisionError, OverflowError: all of them
    are RowErrors of the record.
    """

    name: str
    run: Callable[..., Any]
    least: int
    most: int
    null_in_null_out: bool = True
    context: bool = False
    check: Callable[[Sequence[Any]], str] | None = None


class Accumulator(Protocol):
    """One group's aggregate. `state` is JSON; `restore(state)` of a fresh one continues it."""

    def add(self, *values: Any) -> None: ...
    def value(self) -> Any: ...
    def state(self) -> Any: ...
    def restore(self, state: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`start()` gives a fresh Accumulator; with `constants` > 0 `start(*constants)`: so many last arguments
    are constant (percentile_cont(c, 0.5)).

    `merge(a, b)`: b into a; None where panes of a hopping window cannot be joined.
    `remove`: the accumulator has `remove(*values)`, the exact inverse of `add` in any order; sliding windows
    use it (count, sums of integers).
    `star`: takes whole rows for `*`.
    """

    name: str
    start: Callable[..., Accumulator]
    least: int
    most: int
    constants: int = 0
    merge: Callable[[Any, Any], None] | None = None
    remove: bool = False
    star: bool = False
    check: Callable[[Sequence[Any]], str] | None = None


class Analysis(Protocol):
    """State of one analytic call in one partition."""

    def update(self, *values: Any) -> Any:
        """Takes a record's arguments (WHEN held) and gives the value."""
        ...

    def last(self, *values: Any) -> Any:
        """The value where WHEN did not hold: state unchanged."""
        ...

    def state(self) -> Any: ...
    def restore(self, state: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Analytic:
    """`spread`: gives a row of columns (changed_cols) instead of a value; SELECT only."""

    name: str
    start: Callable[[], Analysis]
    least: int
    most: int
    spread: bool = False
    check: Callable[[Sequence[Any]], str] | None = None


class Unknown:
    """The constant that is none: see `Scalar.check`."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()

Definition = Scalar | Aggregate | Analytic
