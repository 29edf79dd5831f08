"""Pure: a trial of a rule on stored Measurements: the engine's request, and its answer as a drawing."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from opq_proto.messages import Measurement
from opq_rules.measurement_row import row_of

MAX_RECORDS = 10_000
"""This many rows take less than the 4 MiB that an engine reads."""
STRETCH_MS = 1_800_000
COLUMNS = 600
HEIGHT = 120.0
TIMES = ("timestamp_ms", "ts", "end_ms", "start_ms")
"""The first of these keys in a rule's row gives its place in the drawing."""
LEFT_OUT = ("crossing", "backfilled", "sequence", "nominal_v", "nominal_hz")
SHOWN = 50


@dataclass(frozen=True, slots=True)
class TrialDrawing:
    """`path` holds the lowest to highest rms of each column; x from 0 to COLUMNS, y from 0 to HEIGHT."""

    path: str
    marks: tuple[float, ...]
    low_v: float
    high_v: float
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The result of a trial."""

    records: int
    since_ms: int
    """The time of the first record."""
    emissions: int
    rows: tuple[str, ...]
    """The first SHOWN rows, as JSON."""
    placed: int
    """How many rows have a time and are in the drawing."""
    drawing: TrialDrawing | None


def newest_measurements(
    read: Callable[[int, int], list[Measurement]], start_ms: int, end_ms: int
) -> list[Measurement]:
    """The newest MAX_RECORDS of [start_ms, end_ms), oldest first; reads stretches from the end."""
    found: list[Measurement] = []
    while end_ms > start_ms and len(found) < MAX_RECORDS:
        first_ms = max(start_ms, end_ms - STRETCH_MS)
        found = [*read(first_ms, end_ms), *found]
        end_ms = first_ms
    return found[-MAX_RECORDS:]


def trial_body(
    sql: str, stream: str, measured: Sequence[Measurement], nominal_v: float, options: Mapping[str, object]
) -> dict[str, object]:
    """The body for POST /ruletest/run, with these Measurements of a Box as the stream's records.

    nominal_v: that of the Box; stored Measurements do not state it.
    """
    rows = [
        {
            key: _short(value)
            for key, value in row_of(each).items()
            if key not in LEFT_OUT and _is_known(value)
        }
        | {"nominal_v": nominal_v}
        for each in measured
    ]
    span_ms = measured[-1].timestamp_ms - measured[0].timestamp_ms if len(measured) > 1 else 0
    interval_ms = max(1, span_ms // max(1, len(measured) - 1))
    source = {"data": rows, "interval": interval_ms, "loop": False}
    return {"sql": sql, "mockSource": {stream: source}, "options": dict(options)}


def _short(value: object) -> object:
    """A number with the digits that a Measurement has on the wire, which is float32."""
    return float(f"{value:.8g}") if isinstance(value, float) else value


def emission_times(emissions: Sequence[object]) -> tuple[list[int], int]:
    """Unix ms of the rows that state a time, and the number of all rows."""
    found: list[int] = []
    count = 0
    for emission in emissions:
        for row in emission if isinstance(emission, list) else [emission]:
            count += 1
            if isinstance(row, Mapping):
                times = [row[key] for key in TIMES if isinstance(row.get(key), int | float)]
                found += [round(times[0])] if times and _is_known(times[0]) else []
    return found, count


def trial_drawing(measured: Sequence[Measurement], times_ms: Sequence[int]) -> TrialDrawing | None:
    """The drawing; None where nothing was measured."""
    values = [
        (each.timestamp_ms, metric.min, metric.max)
        for each in measured
        if (metric := each.metrics.get("rms")) is not None and _is_known(metric.min) and _is_known(metric.max)
    ]
    if not values:
        return None
    start_ms, end_ms = values[0][0], max(values[-1][0], values[0][0] + 1)
    low, high = min(each[1] for each in values), max(each[2] for each in values)
    room = max(0.5, (high - low) * 0.1)
    low, high = low - room, high + room

    def x_of(t_ms: int) -> float:
        return round((t_ms - start_ms) / (end_ms - start_ms) * COLUMNS, 1)

    def y_of(value: float) -> float:
        return round((high - value) / (high - low) * HEIGHT, 1)

    columns: dict[int, tuple[float, float]] = {}
    for t_ms, least, most in values:
        column = min(COLUMNS - 1, int(x_of(t_ms)))
        before = columns.get(column, (least, most))
        columns[column] = min(before[0], least), max(before[1], most)
    path = "".join(f"M{x} {y_of(a)}V{y_of(b) - 1}" for x, (a, b) in sorted(columns.items()))
    marks = sorted({x_of(each) for each in times_ms if start_ms <= each <= end_ms})
    return TrialDrawing(path, tuple(marks), low, high, start_ms, end_ms)


def _is_known(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
