"""How a function of SQL is declared and found.

There are three kinds. A scalar is a plain function of its arguments. An aggregate is a class whose objects
take values one by one, so that windows need not keep records. An analytic function has state per partition
and is called for every record, before WHERE.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from typing import ClassVar, Literal, Protocol, TypeVar

from opq_rules.values.batch import State, Value

T = TypeVar("T")
D = TypeVar("D", bound="Scalar | AggregateFunction | Analytic")

MAX_ARGUMENTS = 1_000
"""Largest number of arguments, for functions without a limit."""


@dataclass(slots=True, eq=False)
class RunContext:
    """What functions may know of the record, its window and its rule, beside arguments. Times in Unix ms.

    `meta` is the record's; in joins one mapping per name in FROM. `row` is set for each call that takes the
    context, and for each record that an aggregate takes; in joins it is a tuple of rows.
    """

    rule_id: str
    rule_start_ms: int
    now_ms: int = field(init=False)
    event_ms: int = field(init=False)
    window_start_ms: int = 0
    window_end_ms: int = 0
    meta: Value = None
    row: Value = None
    keyed_state: Mapping[str, Value] = field(default_factory=dict)
    """What `get_keyed_state` reads."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """`run(*arguments)`, with `context=True` `run(context, *arguments)`.

    `null_in_null_out`: the compiler answers null when any argument is null, and `run` never sees one.
    `check(constants)`, at planning: a constant's value, or `UNKNOWN`; says what is wrong, or "".
    `run` may raise errors.RowError, ValueError, TypeError, ZeroDivisionError, OverflowError: all of them
    are RowErrors of the record.
    `volatile`: other answers for the same arguments, never folded (so is what takes the context).
    `path`: its first argument names a place (`meta(device->id)`) and is not a value: `run` gets it as a tuple
    `(stream or None, name, name, ...)`.
    `spread`: SELECT only, by itself. "rows": a list, one row of output for each, objects spread as columns
    and win over columns of the same name, others under the alias; "columns": an object, its keys as columns.
    """

    name: str
    run: Callable[..., Value]
    least: int
    most: int
    null_in_null_out: bool = True
    context: bool = False
    check: Callable[[Sequence[Value]], str] | None = None
    volatile: bool = False
    path: bool = False
    spread: Literal["rows", "columns"] | None = None


class KeepsState:
    """`state` and `restore` of an aggregate or analytic function, from the attributes named in KEEPS.

    The value of the only attribute, or a list of values; an attribute that has a state gives that state.
    """

    __slots__ = ()
    KEEPS: ClassVar[tuple[str, ...]]

    def state(self) -> State:
        found = [_state_of(getattr(self, name)) for name in self.KEEPS]
        return found[0] if len(found) == 1 else found

    def restore(self, state: State) -> None:
        for name, kept in zip(self.KEEPS, [state] if len(self.KEEPS) == 1 else state, strict=True):
            own = getattr(self, name)
            if hasattr(own, "restore"):
                own.restore(kept)
            else:
                setattr(self, name, copy(kept))


_PLAIN = frozenset({type(None), bool, int, float, str})


def _state_of(value: Value) -> State:
    if type(value) in _PLAIN:
        return value
    return value.state() if hasattr(value, "state") else copy(value)


class Accumulator(Protocol):
    """The aggregate of one group. `state` is JSON; `restore(state)` on a fresh one continues from it."""

    def add(self, *values: Value) -> None: ...
    def value(self) -> Value: ...
    def state(self) -> State: ...
    def restore(self, state: State) -> None: ...


@dataclass(frozen=True, slots=True)
class AggregateFunction:
    """`start()` gives a fresh Accumulator; with `constants` > 0 `start(*constants)`: what stands after the
    first `most - constants` arguments is constant (percentile_cont(c, 0.5)), and `split` parts them. For
    wrong constants `start` raises TypeError or ValueError, and the rule is refused.

    `merge(a, b)`: b into a; None where panes of a hopping window cannot be joined.
    `remove`: the accumulator has `remove(*values)`, the exact inverse of `add` in any order; sliding windows
    use it (count, sums of integers).
    `star`: takes whole rows for `*`: `add(row)`.
    `whole_row`: `add(row, *values)`: the whole row goes before the arguments (deduplicate).
    `uncut`: `start` where the values are not declared BIGINT: then no quotient is cut.
    `context`: `start(context, *constants)`, and nothing is started at planning.
    `scalar`: the same over an array of one record, where an aggregate cannot stand: in WHERE, ON, FILTER,
    WHEN, and inside another aggregate (max(rms(samples))).
    """

    name: str
    start: Callable[..., Accumulator]
    least: int
    most: int
    constants: int = 0
    merge: Callable[[Value, Value], None] | None = None
    remove: bool = False
    star: bool = False
    check: Callable[[Sequence[Value]], str] | None = None
    whole_row: bool = False
    context: bool = False
    uncut: Callable[..., Accumulator] | None = None
    scalar: Scalar | None = None

    def split(self, arguments: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
        """The arguments that are taken per record, and the constants for `start`."""
        taken = self.most - self.constants
        return arguments[:taken], arguments[taken:]


class AnalyticState(Protocol):
    """The state of one analytic call in one partition."""

    def update(self, *values: Value) -> Value:
        """Take the arguments of a record (WHEN held) and return the value."""
        ...

    def last(self, *values: Value) -> Value:
        """The value if WHEN did not hold; the state is unchanged."""
        ...

    def state(self) -> State: ...
    def restore(self, state: State) -> None: ...


@dataclass(frozen=True, slots=True)
class Analytic:
    """`update` gets all arguments, constants too.

    `spread`: gives a row of columns (changed_cols) instead of a value; SELECT only. Its arguments after
    the second are handed over as one dict of name -> value; `*` as the whole row.
    `star`: takes `*` among its arguments: the whole row there (had_changed(true, *)).
    """

    name: str
    start: Callable[[], AnalyticState]
    least: int
    most: int
    spread: bool = False
    check: Callable[[Sequence[Value]], str] | None = None
    star: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """Known here only by name and argument count; the planner handles it (row_number, last_hit_count)."""

    name: str
    least: int
    most: int


class Unknown:
    """Marks an argument that is not constant: see `Scalar.check`."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()

Definition = Scalar | AggregateFunction | Analytic | Planned

Functions = Mapping[str, Definition]
"""Definitions by name in lower case; an alias is its own name."""

_GROUPS = (
    "mathematics",
    "text",
    "conversion",
    "json_path",
    "arrays",
    "objects",
    "dates",
    "other",
    "aggregates",
    "distribution",
    "gathering",
    "analytic",
    "changes",
    "quality",
)


@cache
def built_in() -> Functions:
    """Every function of the toolkit; loaded when first asked for."""
    groups = (import_module(f"opq_rules.functions.{group}") for group in _GROUPS)
    return {definition.name: definition for group in groups for definition in group.FUNCTIONS}


def find(name: str, functions: Functions | None = None) -> Definition | None:
    """The definition of `name`, in any letter case; None if there is none (`near` gives a hint)."""
    return (built_in() if functions is None else functions).get(name.lower())


def near(name: str, functions: Functions | None = None) -> str:
    """`did you mean "x"?` or ""."""
    known = built_in() if functions is None else functions
    found = difflib.get_close_matches(name.lower(), known, n=1)
    return f'did you mean "{found[0]}"?' if found else ""


def merged(into: Value, other: Value) -> None:
    """`merge` of an AggregateFunction whose accumulators have `merge`."""
    into.merge(other)


def renamed(definition: D, *names: str) -> tuple[D, ...]:
    """The definition and its aliases, each under its own name."""
    return (definition, *[replace(definition, name=name) for name in names])
