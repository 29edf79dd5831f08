"""Joins of the records of one window, and of records with tables.

In and out are tuples with one dict or None per origin. LEFT keeps the order of the left side, RIGHT that of
the right; FULL gives the left rows first, then what is unmatched on the right.
Source: reference/rules.md, D.3.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from opq_rules.batch import Row
from opq_rules.errors import RowError
from opq_rules.expressions.closures import Evaluate
from opq_rules.query.run import Run

Lookup = Callable[[Sequence[str], Sequence[str], Sequence[Any]], list[Row]]
"""`lookup(columns, keys, values)`: the rows of a lookup table whose keys have these values."""

MOST_PAIRS = 10_000_000
MOST_JOINED = 1_000_000
"""Of one step: CROSS of three streams with 1,000 records each would be 10^9 rows."""

JoinKind = Literal["INNER", "LEFT", "RIGHT", "FULL", "CROSS"]
Joined = tuple[Row | None, ...]


@dataclass(frozen=True, slots=True)
class JoinStep:
    """`keys`: of a lookup table, its column and what it has to equal.

    `equal`: where ON begins with `a.x = b.y`, the value of the left rows and that of the right ones.
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
    context: Run,
) -> list[Joined]:
    """All steps, one behind the other. Raises RowError where ON cannot be computed."""
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
    lefts: Sequence[Joined], step: JoinStep, rights: Sequence[Row], nothing: list[Row | None], context: Run
) -> list[Joined]:
    index, on = step.index, step.on
    candidates = _candidates(lefts, rights, step, nothing, context)
    pairs: list[list[tuple[int, Joined]]] = []
    """Per left row the numbers of the rights that match, and the joined rows."""
    asked = made = 0
    for left, numbers in zip(lefts, candidates, strict=True):
        asked += len(numbers)
        if asked > MOST_PAIRS or made > MOST_JOINED:
            raise RowError(f"more than {MOST_PAIRS} pairs, or {MOST_JOINED} rows of them, in one window")
        before, behind = left[:index], left[index + 1 :]
        of_left = [(number, (*before, rights[number], *behind)) for number in numbers]
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
    lefts: Sequence[Joined], rights: Sequence[Row], step: JoinStep, nothing: list[Row | None], context: Run
) -> Iterable[Collection[int]]:
    """Per left row the numbers of the rights for which ON has to be computed: all, or those of equal value.

    By value only where all are numbers or all are texts, for values that clash have to be an error.
    """
    everything: list[Collection[int]] = [range(len(rights))] * len(lefts)
    if step.equal is None or len(lefts) * len(rights) < _WORTH_IT:
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
    numbers: dict[Any, list[int]] = {}
    for number, value in enumerate(right_values):
        if value is not None:
            numbers.setdefault(value, []).append(number)
    return [numbers.get(value, ()) for value in left_values]


_WORTH_IT = 64
"""Pairs, from which on a table of values is quicker than asking all of them."""


def _looked_up(lefts: Sequence[Joined], step: JoinStep, lookup: Lookup, context: Run) -> list[Joined]:
    """Asked per row; a null key never matches. ON is computed for what was found, whatever else it says."""
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
