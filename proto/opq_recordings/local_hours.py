"""Local clocks into UTC: an hour that a clock shows twice is settled by the order of the rows. Pure.

A clock that goes back within such an hour shows it for the second time. Rows of even steps also settle it
where the file begins or ends within the hour. What remains open is refused, or as the user states.
"""

import itertools
import re
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from opq_proto.errors import RecordingError
from opq_proto.time_units import HOUR_NS, NS_PER_S
from opq_recordings.moments import zone_minutes
from opq_recordings.written_times import UTC_NAMES

EVEN_SHARE = 0.8
"""Share of the steps that are as long as the median one, to 1 %, where rows are even."""
LONGEST_STEP = 1.5
"""Steps within even rows are shorter than this many of the median one."""
REPEATED = ("first", "second", "leave-out")
OTHER_LANGUAGES = {"mez": "CET", "mesz": "CEST", "hec": "CET", "heec": "CEST"}
"""Names of zones."""


def zone_of(name: str) -> tzinfo:
    """The zone that a user names: a place, UTC, or hours ahead of it such as +01:00.

    Raises:
        RecordingError: it is not known.
    """
    text = name.strip()
    if text.lower() in UTC_NAMES:
        return UTC
    if found := re.fullmatch(r"(?i)(?:utc|gmt)?\s*([+-]\d{1,2})(?::?(\d\d))?", text):
        minutes = zone_minutes(f"{found[1]}:{found[2] or '00'}")
        if minutes is not None:
            return timezone(timedelta(minutes=minutes))
    try:
        return ZoneInfo(text)
    except (OSError, ValueError, KeyError):
        raise RecordingError(
            f"{name!r:.40} is not a zone; want a place such as Europe/Berlin, UTC, or +01:00"
        ) from None


def offset_named(zone: tzinfo, name: str, clock_ns: int) -> int | None:
    """Nanoseconds ahead of UTC of an abbreviation such as CEST in that zone and year; None if unknown."""
    year = _clock(clock_ns).year
    return _offsets(zone, year).get(OTHER_LANGUAGES.get(name.lower(), name.upper()))


@lru_cache(64)
def _offsets(zone: tzinfo, year: int) -> dict[str, int]:
    days = [datetime(year, month, 15, tzinfo=zone) for month in range(1, 13)]
    return {str(day.tzname()).upper(): _offset_ns(day) for day in days}


def local_to_utc(
    clocks_ns: Sequence[int],
    zone: tzinfo,
    place: Callable[[int], str],
    repeated: str = "",
) -> list[int | None]:
    """UTC of the rows of one series, in nanoseconds; None for rows that the user leaves out.

    Args:
        clocks_ns: of the zone's clock, since 1970 as if it were UTC, in the order of the rows.
        place: index of a row -> where it is, such as `line 14`, for errors.
        repeated: `first`, `second` or `leave-out`, for rows that remain open.
    Raises:
        RecordingError: a row is at no moment, or at one of two.
    """
    offsets = [(_offset_ns(_clock(each).replace(tzinfo=zone)), _second_ns(each, zone)) for each in clocks_ns]
    found: list[int | None] = [clock - first for clock, (first, _) in zip(clocks_ns, offsets, strict=True)]
    if all(first == second for first, second in offsets):
        return found
    steps = [b - a for a, b in itertools.pairwise(clocks_ns) if a != b]
    falling = sum(each < 0 for each in steps) > len(steps) / 2
    order = list(range(len(clocks_ns)))[:: -1 if falling else 1]
    typical_ns = _even_step(steps)
    for twice, rows in itertools.groupby(enumerate(order), lambda each: _kind(offsets[each[1]])):
        run = list(rows)
        at = [row for _, row in run]
        before, after = run[0][0] - 1, run[-1][0] + 1
        if twice == "never":
            _check_missing(clocks_ns, offsets, at, order[after : after + 1], zone, place)
        elif twice == "twice":
            beside = (
                None if before < 0 else clocks_ns[order[before]],
                None if after == len(order) else clocks_ns[order[after]],
            )
            folds = _folds([clocks_ns[row] for row in at], beside, typical_ns)
            if folds is None and not repeated:
                raise RecordingError(
                    f"{place(min(at))}: the clocks of {zone} show {_shown(clocks_ns[at[0]])} twice, and the "
                    f"order of its {len(at)} rows in that hour does not say which one is meant; give "
                    "--repeated-hour first, second or leave-out, or, if its clock is never set, the hours "
                    f"ahead of UTC, such as --zone {_hours(offsets[at[0]][1])}"
                )
            for k, row in enumerate(at):
                second = folds[k] if folds is not None else repeated == "second"
                found[row] = clocks_ns[row] - offsets[row][second]
                if folds is None and repeated == "leave-out":
                    found[row] = None
    return found


def _kind(offsets: tuple[int, int]) -> str:
    first, second = offsets
    return "once" if first == second else "twice" if first > second else "never"


def _folds(
    clocks: Sequence[int], beside: tuple[int | None, int | None], typical_ns: float | None
) -> list[bool] | None:
    """Whether each row of a repeated hour is in its second turn; None where the order does not tell."""
    steps = [b - a for a, b in itertools.pairwise(clocks)]
    back = [at for at, step in enumerate(steps, 1) if step < 0]
    if not back and typical_ns is not None and abs(typical_ns - HOUR_NS) < typical_ns / 2:
        back = [at for at, step in enumerate(steps, 1) if step == 0]
    if len(back) == 1:
        return [at >= back[0] for at in range(len(clocks))]
    if back or typical_ns is None:
        return None
    longest = LONGEST_STEP * typical_ns
    to_first = [] if beside[0] is None else [clocks[0] - beside[0]]
    to_next = [] if beside[1] is None else [beside[1] - clocks[-1]]
    first = all(each <= longest for each in (*to_first, *(each + HOUR_NS for each in to_next)))
    second = all(each <= longest for each in (*(each + HOUR_NS for each in to_first), *to_next))
    return None if first == second else [second] * len(clocks)


def _even_step(steps: Sequence[int]) -> float | None:
    """The step of even rows in nanoseconds; None where they are not even."""
    sizes = [abs(each) for each in steps]
    if len(sizes) < 3:
        return None
    typical = statistics.median(sizes)
    alike = sum(abs(each - typical) <= typical / 100 for each in sizes)
    return typical if alike >= EVEN_SHARE * len(sizes) else None


def _check_missing(
    clocks_ns: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    at: Sequence[int],
    after: Sequence[int],
    zone: tzinfo,
    place: Callable[[int], str],
) -> None:
    """Refuses clocks that no moment has; the first instant of the hour is the end of the one before."""
    first, second = offsets[at[0]]
    begins = len(at) == 1 and _offset_ns(_clock(clocks_ns[at[0]] - NS_PER_S).replace(tzinfo=zone)) == first
    is_end = begins and _kind_at(clocks_ns[at[0]] - NS_PER_S, zone) == "once"
    if is_end and not (after and clocks_ns[after[0]] == clocks_ns[at[0]] + second - first):
        return
    raise RecordingError(
        f"{place(min(at))}: the clocks of {zone} do not show {_shown(clocks_ns[at[0]])}, they are set "
        f"forward; if its clock is never set, give the hours ahead of UTC, such as --zone {_hours(first)}"
    )


def _kind_at(clock_ns: int, zone: tzinfo) -> str:
    return _kind((_offset_ns(_clock(clock_ns).replace(tzinfo=zone)), _second_ns(clock_ns, zone)))


def _clock(clock_ns: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(seconds=clock_ns // NS_PER_S)


def _second_ns(clock_ns: int, zone: tzinfo) -> int:
    return _offset_ns(_clock(clock_ns).replace(tzinfo=zone, fold=1))


def _offset_ns(moment: datetime) -> int:
    offset = moment.utcoffset()
    return 0 if offset is None else round(offset.total_seconds()) * NS_PER_S


def _shown(clock_ns: int) -> str:
    return _clock(clock_ns).strftime("%Y-%m-%d %H:%M:%S")


def _hours(offset_ns: int) -> str:
    minutes = offset_ns // (60 * NS_PER_S)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
