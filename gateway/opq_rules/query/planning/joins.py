"""Joins of the records of one window, and of records with tables. Source: docs/reference/rules.md, D.3.

Input and output are tuples with one dict or None per origin. LEFT keeps the order of the left side, RIGHT
that of the right; FULL gives the left rows first, then the unmatched right ones.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from opq_rules.errors import RowError
from opq_rules.expressions.closures import Evaluate, refused
from opq_rules.query.planning.names import Clause
from opq_rules.query.planning.origin import Origin
from opq_rules.query.planning.resolver import Compiler
from opq_rules.query.planning.where import conjuncts, is_certain
from opq_rules.query.query_run import QueryContext
from opq_rules.sql.syntax import BinaryOperation, Column, Expression, Select
from opq_rules.values.batch import Row, State, Value

Lookup = Callable[[Sequence[str], Sequence[str], Sequence[Value]], list[Row]]
"""`lookup(columns, keys, values)`: the rows of a lookup table whose keys have these values."""

MAX_PAIRS = 10_000_000
MAX_JOINED = 1_000_000
"""Rows of one step: CROSS of three streams with 1,000 records each would be 10^9 rows."""

JoinKind = Literal["INNER", "LEFT", "RIGHT", "FULL", "CROSS"]
Joined = tuple[Row | None, ...]


@dataclass(frozen=True, slots=True)
class JoinStep:
    """One JOIN. `keys`: for a lookup table, its columns and what they have to equal.

    `equal`: where ON begins with `a.x = b.y`, functions of the value of the left rows and of the right ones.
    """

    kind: JoinKind
    index: int
    on: Evaluate | None
    keys: tuple[tuple[str, Evaluate], ...]
    equal: tuple[Evaluate, Evaluate] | None = None


def join(
    first: Sequence[Row],
    width: int,
    steps: Sequence[JoinStep],
    rows_of: Callable[[int], Sequence[Row]],
    lookups: Mapping[int, Lookup],
    context: QueryContext,
) -> list[Joined]:
    """Applies all steps in order. Raises RowError where ON cannot be computed."""
    nothing: list[Row | None] = [None] * width
    found: list[Joined] = [(row, *nothing[1:]) for row in first]
    for step in steps:
        lookup = lookups.get(step.index)
        try:
            if lookup is not None:
                found = _looked_up(found, step, lookup, context)
            else:
                found = _joined(found, step, rows_of(step.index), nothing, context)
        except RowError as error:
            raise RowError(f"Join: {error}") from None
    return found


def _joined(
    lefts: Sequence[Joined],
    step: JoinStep,
    rights: Sequence[Row],
    nothing: list[Row | None],
    context: QueryContext,
) -> list[Joined]:
    index, on = step.index, step.on
    candidates = _candidates(lefts, rights, step, nothing, context)
    pairs: list[list[tuple[int, Joined]]] = []
    """Per left row the matching right rows' numbers, with the joined rows."""
    looked_up = made = 0
    for left, numbers in zip(lefts, candidates, strict=True):
        looked_up += len(numbers)
        if looked_up > MAX_PAIRS or made > MAX_JOINED:
            raise RowError(f"more than {MAX_PAIRS} pairs, or {MAX_JOINED} rows of them, in one window")
        before, following = left[:index], left[index + 1 :]
        of_left = [(number, (*before, rights[number], *following)) for number in numbers]
        if on is not None:
            of_left = [pair for pair in of_left if on(pair[1], context)]
        pairs.append(of_left)
        made += len(of_left)
    matched = {number for of_left in pairs for number, _ in of_left}
    alone = {
        number: (*nothing[:index], right, *nothing[index + 1 :])
        for number, right in enumerate(rights)
        if number not in matched
    }
    if step.kind == "RIGHT":
        by_right: list[list[Joined]] = [[] for _ in rights]
        for of_left in pairs:
            for number, row in of_left:
                by_right[number].append(row)
        return [row for number, rows in enumerate(by_right) for row in rows or [alone[number]]]
    found: list[Joined] = []
    for left, of_left in zip(lefts, pairs, strict=True):
        found.extend(row for _, row in of_left)
        if not of_left and step.kind in ("LEFT", "FULL"):
            found.append(left)
    if step.kind == "FULL":
        found.extend(alone.values())
    return found


def _candidates(
    lefts: Sequence[Joined],
    rights: Sequence[Row],
    step: JoinStep,
    nothing: list[Row | None],
    context: QueryContext,
) -> Iterable[Collection[int]]:
    """Per left row the numbers of right rows for which ON is computed: all, or those of equal value.

    Values of clashing types must be an error, so all have to be numbers, or all texts.
    """
    everything: list[Collection[int]] = [range(len(rights))] * len(lefts)
    if step.equal is None or len(lefts) * len(rights) < _DICT_PAIRS:
        return everything
    of_left, of_right = step.equal
    alone = [(*nothing[: step.index], right, *nothing[step.index + 1 :]) for right in rights]
    left_values = [of_left(left, context) for left in lefts]
    right_values = [of_right(right, context) for right in alone]
    kinds = {type(value) for value in (*left_values, *right_values)} - {type(None)}
    if not (kinds <= {int, float} or kinds <= {str}) or any(
        value != value for value in (*left_values, *right_values)
    ):
        return everything
    numbers: dict[Value, list[int]] = {}
    for number, value in enumerate(right_values):
        if value is not None:
            numbers.setdefault(value, []).append(number)
    return [numbers.get(value, ()) for value in left_values]


_DICT_PAIRS = 64
"""Number of pairs above which a dict of values is faster than computing ON for all of them."""


def _looked_up(
    lefts: Sequence[Joined], step: JoinStep, lookup: Lookup, context: QueryContext
) -> list[Joined]:
    """Joins a lookup table, queried per row; a null key never matches. ON is computed for the rows found."""
    index, on = step.index, step.on
    keys = [key for key, _ in step.keys]
    found: list[Joined] = []
    for left in lefts:
        values = [evaluate(left, context) for _, evaluate in step.keys]
        rows = lookup((), keys, values) if all(value is not None for value in values) else []
        joined = [(*left[:index], row, *left[index + 1 :]) for row in rows]
        matched = [row for row in joined if on is None or on(row, context)]
        found.extend(matched)
        if not matched and step.kind == "LEFT":
            found.append(left)
    return found


ON = Clause("ON")


def join_step(select: Select, number: int, names: Compiler) -> JoinStep:
    join = select.joins[number]
    origin = names.origins[number + 1]
    on = None if join.on is None else names.condition(join.on, ON)
    keys: list[tuple[str, Evaluate]] = []
    if origin.kind == "lookup":
        for part in conjuncts(join.on) if join.on is not None else ():
            if isinstance(part, BinaryOperation) and part.operator == "=":
                for ours, theirs in ((part.left, part.right), (part.right, part.left)):
                    if isinstance(ours, Column) and ours.stream == origin.name:
                        if origin.index not in names.origins_of(theirs):
                            keys.append((ours.name, names.expression(theirs, ON)))
                        break
        if not keys:
            raise refused(
                join.at, f"lookup table {origin.name} needs ON {origin.name}.column = a value of the stream"
            )
    equal = None if join.on is None or keys else _equality(conjuncts(join.on)[0], origin, names)
    return JoinStep(join.kind, origin.index, on, tuple(keys), equal)


def _equality(node: Expression, right: Origin, names: Compiler) -> tuple[Evaluate, Evaluate] | None:
    """The two sides of `left = right` if one reads only the joined origin, the other only those before it."""
    if not isinstance(node, BinaryOperation) or node.operator != "=":
        return None
    before = {origin.index for origin in names.origins[: right.index]}
    for ours, theirs in ((node.right, node.left), (node.left, node.right)):
        read, known = names.origins_of(ours), names.origins_of(theirs)
        if read != {right.index} or not known or not known <= before:
            continue
        if all(is_certain(side, own, names) for side, of in ((ours, read), (theirs, known)) for own in of):
            return names.expression(theirs, ON), names.expression(ours, ON)
    return None


BATCH_TYPES = ("file", "mock", "simulator")
"""Types of sources that end: a scan table of these keeps all rows, of others the last one."""
MAX_ROWS = 1_000_000
"""Rows of such a table."""


class Scans:
    """Rows of scan tables, by number in FROM. `retain`: rows to keep, by name, over the definition."""

    def __init__(self, tables: Iterable[Origin], retain: Mapping[str, int]) -> None:
        self._tables = {table.index: table for table in tables}
        self.rows = {
            index: deque[Row](maxlen=retain.get(table.stream, _most_rows(table)))
            for index, table in self._tables.items()
        }

    def add_rows(self, stream: str, rows: Sequence[Row]) -> bool:
        """Adds rows to each table of this stream; returns whether there is one."""
        taken = False
        for index, table in self._tables.items():
            if table.stream == stream:
                self.rows[index].extend(rows)
                taken = True
        return taken

    def by_name(self) -> dict[str, list[Row]]:
        return {self._tables[index].name: list(rows) for index, rows in self.rows.items()}

    def state(self) -> State:
        return {str(index): list(rows) for index, rows in self.rows.items()}

    def restore(self, state: State) -> None:
        for index, rows in self.rows.items():
            rows.clear()
            rows.extend(state[str(index)])


def _most_rows(table: Origin) -> int:
    limit = table.definition.retain_size
    if limit is not None:
        return limit
    return MAX_ROWS if table.definition.type in BATCH_TYPES else 1
