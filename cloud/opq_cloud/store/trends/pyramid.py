"""The pyramid of trends: levels of 1 min, 10 min, 1 h and 1 d (UTC), so that a span has at most 2,000 rows.

Pure. A row is made from the rows of the level below: the outer limits, the mean weighted by the time that
each covers, the sum of that time, and histograms of the one-minute means (`histogram`). A store marks each
row that is due. A late minute marks its ten minutes, these mark their hour, and the hour marks its day. A row
is due once its time is over, so that it is written once unless something comes late.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from math import inf, isfinite

from opq_proto.measurement.continuity import FLAGGED
from opq_proto.measurement.flagged import has_no_limits, is_all_flagged
from opq_proto.measurement.intervals import TEN_MINUTES_MS
from opq_proto.messages import TREND_LEVELS, Trend
from opq_proto.time_units import DAY_MS
from opq_proto.trend_histogram import HISTOGRAM_METRICS, TrendHistogram, bin_of

LEVELS_MS = tuple(TREND_LEVELS.values())
MAX_ROWS = 2000
LONGEST_MS = (MAX_ROWS - 1) * DAY_MS
"""Five and a half years: the longest span of one query."""
SETTLE_MS = 90_000
"""The last minute of a Box that stopped is put 65 s after its end, by a service that wakes every 5 s."""
FILL_ROWS = 1440
"""Old minutes of a Box that one step of the first roll-up marks as due: a day."""
OPEN_ROWS = 3
"""Rows after the last rolled-up one that a query makes from the level below."""
MINUTES_KEPT_S = 90 * 86_400
"""One-minute trends that are older become one-hour trends, unless `keep_minutes` says otherwise."""
TEN_MINUTES_KEPT_S = 400 * 86_400
"""A year and a month, so that a month can be compared with the same one a year before."""

StoredRows = Callable[[str, int, int, int], list[Trend]]
"""(box_id, length_ms, start_ms, end_ms) -> the stored rows of a Box and level, in time order."""


def kept_s(length_ms: int, ttl_s: int | None, minutes_s: int | None) -> int | None:
    """Returns how long rows of a level are kept; None: for ever, which minutes are as part of their hour.

    Rows of ten minutes are kept as long as the minutes that they are made of, `minutes_s`, and longer.
    """
    if ttl_s is not None or length_ms != TEN_MINUTES_MS:
        return ttl_s
    return None if minutes_s is None else max(TEN_MINUTES_KEPT_S, minutes_s)


def level_for(start_ms: int, end_ms: int, rows: int = MAX_ROWS) -> int:
    """Returns the shortest level, in ms, that has at most `rows` rows in [start_ms, end_ms).

    Raises:
        ValueError: every level has more.
    """
    for length_ms in LEVELS_MS:
        if -(-end_ms // length_ms) - start_ms // length_ms <= rows:
            return length_ms
    days = (end_ms - start_ms) / DAY_MS
    raise ValueError(f"a span of {days:.0f} days has more than {rows} rows; the longest row is one day")


def level_below(length_ms: int) -> int:
    """Returns the next shorter level. Raises ValueError for the shortest, and for no level."""
    place = _place(length_ms)
    if place == 0:
        raise ValueError(f"{length_ms} ms is the shortest level of the trends; there is no shorter one")
    return LEVELS_MS[place - 1]


def level_above(length_ms: int) -> int | None:
    """The next longer level; None above the day. Raises ValueError where `length_ms` is not a level."""
    place = _place(length_ms) + 1
    return LEVELS_MS[place] if place < len(LEVELS_MS) else None


def _place(length_ms: int) -> int:
    if length_ms not in LEVELS_MS:
        allowed = ", ".join(map(str, LEVELS_MS))
        raise ValueError(f"{length_ms} ms is not a level of the trends; want one of {allowed}")
    return LEVELS_MS.index(length_ms)


def merged(box_id: str, start_ms: int, length_ms: int, parts: Sequence[Trend]) -> Trend:
    """Merges parts, none longer than the row, into one row; a part with unknown coverage counts as whole.

    A part of which each Measurement is flagged widens no limits, as a flagged Measurement widens none in it.
    """
    sums: dict[str, tuple[float, float, float, int]] = {}
    bins: dict[str, dict[int, int]] = {}
    covered_ms = 0
    for part in parts:
        time_ms = part.time_ms
        covered_ms += time_ms
        weight = max(1, time_ms)
        all_flagged = is_all_flagged(part.metrics)
        for key, (low, high, average) in part.metrics.items():
            if not isfinite(low + high + average):
                continue
            before = sums.get(key)
            if all_flagged and has_no_limits(part.metrics, key):
                low, high = inf, -inf
            sums[key] = (
                (low, high, average * weight, weight)
                if before is None
                else (
                    low if low < before[0] else before[0],
                    high if high > before[1] else before[1],
                    before[2] + average * weight,
                    before[3] + weight,
                )
            )
            if key in HISTOGRAM_METRICS:
                counts = bins.setdefault(key, {})
                known = part.histograms.get(key)
                if known is not None:
                    known.add_to(counts)
                elif (place := bin_of(key, average)) is not None:
                    counts[place] = counts.get(place, 0) + max(1, round(time_ms / 1000))
    metrics = {
        key: (low, high, mean) if low <= high else (mean, mean, mean)
        for key, (low, high, total, time) in sums.items()
        for mean in [total / time]
    }
    if FLAGGED in metrics and any(FLAGGED not in part.metrics for part in parts):
        metrics[FLAGGED] = (0.0, *metrics[FLAGGED][1:])
    histograms = {key: TrendHistogram.of(counts) for key, counts in bins.items()}
    return Trend(box_id, start_ms, metrics, length_ms, covered_ms, histograms)


def _grouped(box_id: str, length_ms: int, parts: Sequence[Trend]) -> Iterator[Trend]:
    """Yields rows of a level, merged from parts in time order."""
    for start_ms, group in groupby(parts, key=lambda part: part.start_ms // length_ms * length_ms):
        yield merged(box_id, start_ms, length_ms, list(group))


def read_level(stored: StoredRows, box_id: str, start_ms: int, end_ms: int, length_ms: int) -> list[Trend]:
    """Returns the rows that begin in [start_ms rounded down, end_ms).

    These are the stored rows, then up to OPEN_ROWS that are not rolled up yet, made from the levels below.
    """
    start_ms = start_ms // length_ms * length_ms
    end_ms = -(-end_ms // length_ms) * length_ms
    return _read(stored, box_id, start_ms, end_ms, length_ms, end_ms - OPEN_ROWS * length_ms)


def _read(
    stored: StoredRows, box_id: str, start_ms: int, end_ms: int, length_ms: int, open_ms: int
) -> list[Trend]:
    """Reads one level; rows that begin before `open_ms` and are not stored are left out."""
    rows = stored(box_id, length_ms, start_ms, end_ms)
    if _place(length_ms) == 0:
        return rows
    open_ms = max(open_ms, rows[-1].start_ms + length_ms if rows else start_ms)
    if open_ms < end_ms:
        below = _read(stored, box_id, open_ms, end_ms, level_below(length_ms), open_ms)
        rows.extend(_grouped(box_id, length_ms, below))
    return rows
