"""A past with known content: a site of three phases, of which one has a bad day, one a harmonic, one a gap.

Weeks of ten-minute intervals with harmonics, of two hours of Plt, and of trends, by closed form: every figure
that a page shows of it follows by counting.
"""

import math
from collections.abc import Iterator, Sequence

from opq_cloud.store import BoxRecord, CloudStore
from opq_proto.messages import Interval, Measurement, TimeSource, Trend

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
TEN_MS, TWO_HOURS_MS = 10 * MINUTE_MS, 2 * HOUR_MS
NOMINAL_V, NOMINAL_HZ = 230.0, 50.0
PHASES = {"1": "L1", "2": "L2", "4": "L3"}
BAD_DAY = 3
"""Box 1 has 260 V on the whole third day before today (UTC): 113 % of 230 V."""
H5_PERCENT = {"1": 2.0, "2": 7.0, "4": 3.0}
"""Of the fundamental; EN 50160 allows 6 %."""
GAP_DAY = 5
"""Box 4 measured nothing on the fifth day before today."""
FLAGGED_EVERY = 48


def volts_of(box_id: str, back: int, of_day_ms: int) -> float:
    """230 V with a swing of 4 V over each day, in phase for all Boxes."""
    if box_id == "1" and back == BAD_DAY:
        return 260.0
    return NOMINAL_V + 4.0 * math.sin(2 * math.pi * of_day_ms / DAY_MS)


def interval_rows(box_id: str, today_ms: int, days: int, until_ms: int) -> Iterator[Measurement]:
    """Intervals of 10 min and 2 h of whole days before today, and of today up to `until_ms`."""
    number = int(box_id) * 1_000_000
    for back in range(days, -1, -1):
        if box_id == "4" and back == GAP_DAY:
            continue
        day_ms = today_ms - back * DAY_MS
        for place, start_ms in enumerate(range(day_ms, min(day_ms + DAY_MS, until_ms - TEN_MS), TEN_MS)):
            volts = volts_of(box_id, back, start_ms - day_ms)
            orders = [volts, *(volts * 0.002 for _ in range(49))]
            orders[4] = volts * H5_PERCENT[box_id] / 100
            hertz = NOMINAL_HZ + 0.02 * math.sin(2 * math.pi * place / 36)
            values: dict[str, float | tuple[float, ...]] = {
                "rms_v": volts,
                "rms_min_v": volts - 1.0,
                "rms_max_v": volts + 1.0,
                "f_hz": hertz,
                "f_min_hz": hertz - 0.005,
                "f_max_hz": hertz + 0.005,
                "thd_ratio": 0.03,
                "thd_max_ratio": 0.04,
                "pst": 0.4,
                "harmonics_v": tuple(orders),
            }
            number += 1
            flagged = place % FLAGGED_EVERY == 0
            yield row_of(box_id, start_ms, number, Interval(TEN_MS, flagged, 1.0, values))
        for start_ms in range(day_ms, min(day_ms + DAY_MS, until_ms - TWO_HOURS_MS), TWO_HOURS_MS):
            number += 1
            yield row_of(box_id, start_ms, number, Interval(TWO_HOURS_MS, False, 1.0, {"plt": 0.5}))


def row_of(box_id: str, start_ms: int, sequence: int, interval: Interval) -> Measurement:
    start_ns = start_ms * 1_000_000
    end_ns = start_ns + interval.length_ms * 1_000_000
    return Measurement(
        box_id,
        end_ns // 1_000_000,
        {},
        source=TimeSource.NTP,
        start_ns=start_ns,
        end_ns=end_ns,
        sequence=sequence,
        interval=interval,
    )


def fill_past(
    store: CloudStore, now_ms: int, days: int = 14, boxes: Sequence[str] = tuple(PHASES), trends: bool = True
) -> int:
    """Fills a store; returns the beginning of today, UTC."""
    today_ms = now_ms // DAY_MS * DAY_MS
    for box_id in boxes:
        store.put_box(
            BoxRecord(
                box_id,
                f"Box {box_id}",
                nominal_v=NOMINAL_V,
                nominal_hz=NOMINAL_HZ,
                region="north",
                feeder="F1",
                site="mill",
                phase=PHASES[box_id],
            )
        )
        store.intervals.append(interval_rows(box_id, today_ms, days, now_ms))
        if trends:
            store.put_trends(trend_rows(box_id, today_ms, days, now_ms))
    while store.intervals.settle(now_ms):
        pass
    while store.roll_up(now_ms, 2000):
        pass
    return today_ms


def trend_rows(box_id: str, today_ms: int, days: int, now_ms: int) -> Iterator[Trend]:
    """A minute of each ten, which stands for all ten."""
    for back in range(days, -1, -1):
        if box_id == "4" and back == GAP_DAY:
            continue
        day_ms = today_ms - back * DAY_MS
        for start_ms in range(day_ms, min(day_ms + DAY_MS, now_ms - 2 * MINUTE_MS), TEN_MS):
            volts = volts_of(box_id, back, start_ms - day_ms)
            yield Trend(
                box_id,
                start_ms,
                {
                    "rms": (volts - 1.0, volts + 1.0, volts),
                    "f": (49.99, 50.01, 50.0),
                    "thd": (0.03, 0.03, 0.03),
                },
                covered_ms=TEN_MS,
            )
