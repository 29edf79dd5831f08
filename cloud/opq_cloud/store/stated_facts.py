"""What is stated of a Box over time: a fact holds from a moment until another is stated. Pure.

`BoxRecord.at` and `BoxRecord.spans` answer what held when. What was first stated holds for the time before,
too, unless its moment was given: a Box that is named at a site after a year was there all the year.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opq_proto.time_units import NS_PER_MS as NS_PER_MS

LAST_NS: Final = 2**63 - 1
"""Times in ns end here, in 2262: the end of a span that no change of facts ends."""
BEGINNING_MS: Final = 0
"""What holds from here on holds from the beginning: nothing was measured before 1970."""
PLACE: Final = ("location", "region", "feeder", "site", "phase", "grid")
"""Facts that say where a Box is."""
FACTS: Final = (
    *PLACE,
    *("nominal_v", "nominal_hz", "calibration_constant", "unplugged", "retired_ms"),
)
"""Fields of a `BoxRecord` that hold for a time."""
SERVICE: Final = ("unplugged", "retired_ms")
"""Facts that a Box has in service has not: they never hold before they are stated."""


@dataclass(frozen=True, slots=True)
class StatedFact:
    """From this moment on, a fact of a Box has this value; None: nothing is known of it."""

    name: str
    since_ms: int
    value: Any


Course = tuple[tuple[int, Any], ...]
"""The values of one fact in time order: (since_ms, value)."""


def courses_of(stated: Iterable[StatedFact]) -> dict[str, Course]:
    """Returns fact -> its course; of two statements for one moment the later in the row holds."""
    found: dict[str, dict[int, Any]] = {}
    for each in stated:
        found.setdefault(each.name, {})[each.since_ms] = each.value
    return {name: _without_repeats(values) for name, values in found.items()}


def stated_of(courses: Mapping[str, Course]) -> tuple[StatedFact, ...]:
    """Returns the statements of these courses, in time order."""
    known = (
        StatedFact(name, since_ms, value) for name, course in courses.items() for since_ms, value in course
    )
    return tuple(sorted(known, key=lambda each: (each.since_ms, FACTS.index(each.name))))


def value_at(course: Course, t_ns: int) -> Any:
    """Returns the value that holds at a moment; before the first statement that of the first."""
    place = bisect_right(course, t_ns, key=lambda each: each[0] * NS_PER_MS)
    return course[max(0, place - 1)][1]


def facts_at(courses: Mapping[str, Course], t_ns: int) -> dict[str, Any]:
    """Returns what is stated for a moment; a fact without a statement is left out."""
    return {name: value_at(course, t_ns) for name, course in courses.items()}


def course_within(course: Course, spans: Iterable[tuple[int, int]], outside: Any) -> Course:
    """Returns what holds in spans [start_ns, end_ns) in time order, and another value outside of them."""
    found: dict[int, Any] = {BEGINNING_MS: outside}
    for start_ns, end_ns in spans:
        first_ms, last_ms = start_ns // NS_PER_MS, end_ns // NS_PER_MS
        found[first_ms] = value_at(course, start_ns)
        found.update((since_ms, value) for since_ms, value in course if first_ms < since_ms < last_ms)
        if end_ns < LAST_NS:
            found[last_ms] = outside
    return _without_repeats(found)


def moments_ns(
    courses: Mapping[str, Course], names: Collection[str], start_ns: int, end_ns: int
) -> list[int]:
    """Returns the moments within (start_ns, end_ns) at which one of these facts becomes another."""
    found: set[int] = set()
    for name, course in courses.items():
        if name in names:
            found.update(since_ms * NS_PER_MS for since_ms, _ in course[1:])
    return sorted(each for each in found if start_ns < each < end_ns)


def with_statement(course: Course, before: Any, value: Any, since_ms: int | None, now_ms: int) -> Course:
    """Returns the course of a fact after one more statement.

    `before`: the value without a course. `since_ms`: the moment that was given; None: from now on, and later
    than what was stated last.
    """
    course = course or (((BEGINNING_MS, before),) if since_ms is not None or before is not None else ())
    if since_ms is None:
        since_ms = max(now_ms, course[-1][0] + 1) if course else BEGINNING_MS
        if course and course[-1][1] == value:
            return course
    elif since_ms <= course[0][0]:
        course = ((BEGINNING_MS, course[0][1]), *course[1:])
    return _without_repeats({**dict(course), since_ms: value})


def _without_repeats(values: Mapping[int, Any]) -> Course:
    """The values in time order, each unlike the one before it."""
    found: list[tuple[int, Any]] = []
    for since_ms, value in sorted(values.items(), key=lambda each: each[0]):
        if not found or found[-1][1] != value:
            found.append((since_ms, value))
    return tuple(found)
