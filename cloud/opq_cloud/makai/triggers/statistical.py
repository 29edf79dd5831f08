"""Statistical: a figure of a window lies far outside what this Box has at this hour of the day.

In: Measurement.  Out: at most one Decision.  State: per Box and hour, median and 90th percentile of four
figures: the rms' range in the window, the frequency's range, the largest THD, the largest `trans`.
So it finds disturbances without a fixed limit: the edges of a direct voltage, a weak interharmonic, ripple
control. z is (figure - 90th percentile) / (90th percentile - median): 8 is beyond once in 10^7 windows where
extremes have Gumbel's law, far rarer for Gaussian noise. A value that lasts for half an hour becomes usual.
A window with a dip or a swell is not judged. What follows a dip, a swell or a step without a usual window
between them belongs to it for 10 s: the voltage that comes back, the frequency after a fault. Nothing is
decided in a Box's first `warm_up_windows`.
Source: ours; the percentiles follow by steps (Robbins and Monro, 1951), rolling by their constant size.
"""

from array import array
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.judging.batch_rows import (
    in_any,
    none_of,
    unflagged,
    windows_with,
)
from opq_cloud.makai.judging.excursions import SHORT_NS, Excursions, WatchedLimit, is_flagged, window_metric
from opq_measure.written_numbers import significant
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.fields import METRIC_NAMES
from opq_proto.messages import Measurement
from opq_proto.time_units import HOUR_NS

name = "statistical"
kind = "trigger"

FIGURES = (("rms", "V"), ("f", "Hz"), ("thd", ""), ("trans", "V"))
"""Metric and unit: its range in the window for the first two, its largest value for the others."""
PLACES = [METRIC_NAMES.index(metric) for metric, _ in FIGURES]
LEAST_SCALES = (3e-5, 3e-4, 1e-5, 1e-4)
"""Least scale: of nominal volts, hertz, ratio, of nominal volts. Smaller differences are rounding."""
WINDOWS_PER_STEP = 16
"""Windows from one step of the percentiles to the next; each window is judged."""
PERCENTILE_STEP = 0.05
"""Size of a step, in units of the scale."""
LEAVE_DIVISOR = 4
"""A figure is usual again below this part of the limit."""
QUIET_S = 120.0
"""A figure that is unusual again within this time flaps, and waits longer; each figure separately, so that a
keyed tone is not missed because a motor started at the same Box some minutes before.
"""
STEP_PU = 0.05
"""A range of the rms beyond this share of nominal is a step: EN 50160:2010, 4.2.3.1."""
UNKNOWN = [float("inf")] * len(FIGURES)


@dataclass(frozen=True, slots=True)
class Config:
    """The least z, and the warm-up."""

    z: float = field(default=8.0, metadata={"minimum": 3, "maximum": 1000})
    warm_up_windows: int = field(default=120, metadata={"minimum": 20, "maximum": 10_000})


@dataclass(slots=True)
class UsualFigures:
    """Usual figures of one Box at this hour of the day."""

    count: int = 0
    hour: int = -1
    seen: list[tuple[float, ...]] = field(default_factory=list)
    """The first windows' figures, until percentiles are known."""
    low: list[float] = field(default_factory=lambda: UNKNOWN)
    high: list[float] = field(default_factory=lambda: UNKNOWN)
    """Median and 90th percentile by figure."""
    limits: list[float] = field(default_factory=lambda: UNKNOWN)
    """Limits by figure: values above are far outside."""
    hours: dict[int, "array[float]"] = field(default_factory=dict)
    """Hour of the day -> medians and 90th percentiles of the other hours."""


@dataclass(slots=True)
class StatisticalState:
    """The trigger's memory of all Boxes."""

    boxes: dict[str, UsualFigures] = field(default_factory=dict)
    excursions: Excursions = field(default_factory=lambda: Excursions(30.0, calm_s=QUIET_S, with_tail=False))
    steps_ns: dict[str, int] = field(default_factory=dict)
    """Boxes without a usual window since a dip, a swell or a step: the end of its last window."""


def begin(config: Config) -> StatisticalState:
    """Begins without usual figures."""
    return StatisticalState()


def enters(batch: Measurements, config: Config, state: StatisticalState) -> NDArray[np.bool_]:
    """Returns (n,) the windows with an unusual figure, or after one; the usual figures follow the others."""
    if batch.backfilled:
        return none_of(batch)
    there = windows_with(batch, *METRIC_NAMES)
    boxes = [_usual_of(box_id, state) for box_id in batch.ids]
    figures = _figures_of(batch)
    of_all = chain.from_iterable(usual.limits for usual in boxes)
    limits = np.fromiter(of_all, np.float64, len(batch) * len(FIGURES)).reshape(-1, len(FIGURES))
    close = in_any(batch, state.excursions.active, state.steps_ns) | ~unflagged(batch)
    close |= ~np.logical_and.reduce(figures <= limits, axis=1)
    warm = config.warm_up_windows - 1
    rows = zip(boxes, (there & ~close).tolist(), figures.tolist(), batch.end_ns.tolist(), strict=True)
    for at, (usual, quiet, own, end_ns) in enumerate(rows):
        if not quiet:
            continue
        usual.count += 1
        if usual.low is UNKNOWN and len(usual.seen) < warm:  # the same as `_update_limits`, at once
            usual.seen.append(tuple(own))
        elif usual.low is UNKNOWN or usual.count % WINDOWS_PER_STEP == 0:
            _update_limits(usual, tuple(own), config, _floors(batch.nominal(at)), end_ns)
    return close & there


def decide(
    measurement: Measurement, nominal: Nominal, config: Config, state: StatisticalState
) -> tuple[Decision | None, StatisticalState]:
    """Decides on the figure that is furthest outside, and on its end."""
    return None if measurement.backfilled else _decision(measurement, nominal, config, state), state


def _usual_of(box_id: str, state: StatisticalState) -> UsualFigures:
    usual = state.boxes.get(box_id)
    if usual is None:
        usual = state.boxes[box_id] = UsualFigures()
    return usual


def _figures_of(columns: Measurements) -> NDArray[np.float64]:
    """Returns (n, 4) figures of each Measurement."""
    least, most, _ = columns.values[PLACES].transpose(1, 0, 2)
    most[:2] -= least[:2]
    figures: NDArray[np.float64] = most.T
    return figures


def _decision(
    measurement: Measurement, nominal: Nominal, config: Config, state: StatisticalState
) -> Decision | None:
    usual = _usual_of(measurement.box_id, state)
    rms, f, thd, trans = (window_metric(measurement, metric) for metric, _ in FIGURES)
    if rms is None or f is None or thd is None or trans is None:
        return None
    usual.count += 1
    if is_flagged(rms, nominal):
        if usual.limits is not UNKNOWN:
            state.steps_ns[measurement.box_id] = window_ns(measurement)[1]
        return None
    figures = (rms.max - rms.min, f.max - f.min, thd.max, trans.max)
    if any(each != each for each in figures):
        return None
    return _judged(measurement, nominal, config, state, usual, figures)


def _judged(
    measurement: Measurement,
    nominal: Nominal,
    config: Config,
    state: StatisticalState,
    usual: UsualFigures,
    figures: tuple[float, ...],
) -> Decision | None:
    floors, end_ns = _floors(nominal), window_ns(measurement)[1]
    if usual.low is UNKNOWN:
        _update_limits(usual, figures, config, floors, end_ns)
        return None
    scales = _scales(usual, floors)
    far = [(each - high) / scale for each, high, scale in zip(figures, usual.high, scales, strict=True)]
    is_unusual = any(each > limit for each, limit in zip(figures, usual.limits, strict=True))
    if usual.count % WINDOWS_PER_STEP == 0:
        _update_limits(usual, figures, config, floors, end_ns)
    worst = max(range(len(far)), key=far.__getitem__)
    box_id, is_active = measurement.box_id, measurement.box_id in state.excursions.active
    if (step_ns := state.steps_ns.get(box_id)) is not None:
        if far[worst] > config.z / LEAVE_DIVISOR and 0 <= end_ns - step_ns <= SHORT_NS:
            if not is_active:
                return None
        else:
            del state.steps_ns[box_id]
    if not is_unusual and not is_active:
        return None
    metric, unit = FIGURES[worst]
    value = f"{metric}{' range' if worst < 2 else ''} {significant(figures[worst], 4)} {unit}".rstrip()
    limit = WatchedLimit(name, metric, "", config.z, config.z / LEAVE_DIVISOR, f"{value}, unusual by z =")
    decision = state.excursions.follow(box_id, measurement, far[worst], limit, (box_id, metric))
    if not is_active and figures[0] > STEP_PU * nominal.volts and box_id in state.excursions.active:
        state.excursions.remove(box_id)
        state.steps_ns[box_id] = end_ns
    return decision


def _update_limits(
    usual: UsualFigures, figures: tuple[float, ...], config: Config, floors: tuple[float, ...], end_ns: int
) -> None:
    hour = end_ns // HOUR_NS % 24
    if usual.low is not UNKNOWN:
        _follow(usual, figures, config, floors, hour)
        return
    usual.seen.append(figures)
    if len(usual.seen) >= config.warm_up_windows:
        _settle(usual, config, floors, hour)


def _floors(nominal: Nominal) -> tuple[float, ...]:
    volts = nominal.volts
    return LEAST_SCALES[0] * volts, LEAST_SCALES[1], LEAST_SCALES[2], LEAST_SCALES[3] * volts


def _scales(usual: UsualFigures, floors: tuple[float, ...]) -> list[float]:
    return [max(high - low, floor) for high, low, floor in zip(usual.high, usual.low, floors, strict=True)]


def _settle(usual: UsualFigures, config: Config, floors: tuple[float, ...], hour: int) -> None:
    """Computes the first percentiles, from all figures seen."""
    columns = [sorted(column) for column in zip(*usual.seen, strict=True)]
    usual.low = [column[len(column) // 2] for column in columns]
    usual.high = [column[len(column) * 9 // 10] for column in columns]
    usual.seen, usual.hour = [], hour
    _limit(usual, config, floors)


def _follow(
    usual: UsualFigures, figures: tuple[float, ...], config: Config, floors: tuple[float, ...], hour: int
) -> None:
    if hour != usual.hour:
        _turn(usual, hour)
    scales = _scales(usual, floors)
    for at, (figure, scale) in enumerate(zip(figures, scales, strict=True)):
        usual.low[at] += PERCENTILE_STEP * scale * (0.5 if figure > usual.low[at] else -0.5)
        usual.high[at] += PERCENTILE_STEP * scale * (0.9 if figure > usual.high[at] else -0.1)
        usual.high[at] = max(usual.high[at], usual.low[at])
    _limit(usual, config, floors)


def _limit(usual: UsualFigures, config: Config, floors: tuple[float, ...]) -> None:
    scales = _scales(usual, floors)
    usual.limits = [high + config.z * scale for high, scale in zip(usual.high, scales, strict=True)]


def _turn(usual: UsualFigures, hour: int) -> None:
    """Changes the hour: takes the wider of its values the day before and those of the last hour."""
    usual.hours[usual.hour] = array("d", [*usual.low, *usual.high])
    usual.hour = hour
    known = usual.hours.pop(hour, None)
    if known is None:
        usual.low, usual.high = list(usual.low), list(usual.high)
        return
    count = len(FIGURES)
    usual.low = [min(pair) for pair in zip(usual.low, known[:count], strict=True)]
    usual.high = [max(pair) for pair in zip(usual.high, known[count:], strict=True)]
