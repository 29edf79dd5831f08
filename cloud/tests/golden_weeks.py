"""Weeks with known statistics: intervals whose shares, percentiles and cells follow by counting."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from opq_cloud.reports.verdicts import BoxWeek
from opq_cloud.reports.week import ReportWeek, week_of
from opq_cloud.reports.week_report import Place, PlacedBox
from opq_proto.measurement.intervals import Disturbance, IntervalColumns

TEN_MS, TWO_HOURS_MS, TEN_S_MS, THREE_S_MS = 600_000, 7_200_000, 10_000, 3_000
ZONE = "Europe/Berlin"
WEEKS = {167: "2026-W13", 168: "2026-W47", 169: "2026-W43"}
"""Hours of a week of Berlin -> the week: clocks change on 29 March and 25 October 2026."""


def golden_week(hours: int = 168) -> ReportWeek:
    return week_of(WEEKS[hours], ZONE, 0)


def starts_of(week: ReportWeek, length_ms: int) -> NDArray[np.int64]:
    """Every interval of UTC's grid that begins in the week."""
    length_ns = length_ms * 10**6
    first = -(-week.start_ns // length_ns)
    return np.arange(first, -(-week.end_ns // length_ns), dtype=np.int64) * length_ns


def columns(
    starts_ns: NDArray[np.int64],
    length_ms: int,
    values: Mapping[str, object],
    flagged: Sequence[int] = (),
    missing: Sequence[int] = (),
    coverage: Mapping[int, float] | None = None,
    box_id: str = "1",
) -> IntervalColumns:
    """Intervals of a whole week; `flagged`, `missing` and `coverage` name them by their place."""
    count = len(starts_ns)
    kept = np.ones(count, bool)
    kept[list(missing)] = False
    flags = np.zeros(count, bool)
    flags[list(flagged)] = True
    covered = np.ones(count, np.float32)
    for place, share in (coverage or {}).items():
        covered[place] = share
    whole = {name: np.asarray(each, np.float32) for name, each in values.items()}
    spread = {
        name: np.broadcast_to(each, (count, *each.shape[1:]) if each.ndim else (count,))
        for name, each in whole.items()
    }
    return IntervalColumns(
        box_id,
        length_ms,
        starts_ns[kept],
        starts_ns[kept] + length_ms * 10**6,
        flags[kept],
        covered[kept],
        {name: each[kept] for name, each in spread.items()},
    )


def harmonics(count: int, fundamental_v: float = 230.0, **orders: object) -> NDArray[np.float64]:
    """(count, 50) volts; `h5=6.0` sets order 5 to 6 % of the fundamental, a number or (count,)."""
    found = np.zeros((count, 50))
    found[:, 0] = fundamental_v
    for name, percent in orders.items():
        found[:, int(name[1:]) - 1] = np.asarray(percent) / 100 * fundamental_v
    return found


def place_of(
    *columns_of: IntervalColumns,
    disturbances: Sequence[Disturbance] = (),
    nominal_v: float = 230.0,
    nominal_hz: float = 50.0,
    outages: Sequence[tuple[int, int | None]] = (),
) -> Place:
    """A Box 1 alone with these intervals."""
    week = BoxWeek("1", nominal_v, nominal_hz, {each.length_ms: each for each in columns_of})
    box = PlacedBox("1", "Box 1", None, week, tuple(disturbances), tuple(outages))
    return Place("Box 1", None, (box,), {})


def disturbance(
    week: ReportWeek,
    kind: str,
    at_s: float,
    seconds: float | None,
    residual_percent: float,
    box_id: str = "1",
    group: int = 0,
) -> Disturbance:
    start_ns = week.start_ns + round(at_s * 1e9)
    end_ns = None if seconds is None else start_ns + round(seconds * 1e9)
    return Disturbance(box_id, kind, start_ns, end_ns, 1000, 2.3 * residual_percent, group)
