"""Figures from the signals of Boxes: at a moment, between two moments, over a span. Pure.

Each figure is computed by `opq_measure`; unknown is None, or an empty line where nothing can be computed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_cloud.view.pages.drawing.charts import ChartLine, FloatArray, HalfCycle, peaks, reduce_min_max
from opq_cloud.view.pages.examine.signals import BoxSignal, SignalRun
from opq_measure.harmonics.spectrum import SpectrumWindow, spectrum_of
from opq_measure.timebase.cycles import cycles_per_window
from opq_measure.waveform.residual import fundamental_v, wave_before

MISSING_CYCLES = 120
"""The earlier wave is extended this long after the incident's start; later, its phase is too uncertain."""
BEFORE_CYCLES = 2.0
"""The earlier wave ends this long before the incident, because the tracker smears the beginning."""
ORDERS_SHOWN = 25
COLUMNS = 96
"""Windows of a spectrogram."""
FREQUENCY_CYCLES = 1.0
"""Nominal cycles on each side of a moment, over which its frequency is measured."""
BESIDE_CYCLES = 6.0
"""Cycles further before and after, with whose frequency the one at a moment is compared."""
STEP_HZ = 0.25
"""A frequency this far outside of those before and after is not valid: the phase stepped, as it does at the
edges of a dip. Over two cycles this is a step of some 10 degrees.
"""
STEP_APART_CYCLES = 3.0
"""The tracker smears a step over at most this length, on both sides."""
STEP_NEIGHBOURS = 12
"""Cycles on both sides; the median of each side limits the plausible frequency of a cycle."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One Box at one moment."""

    volts: float | None = None
    rms_v: float | None = None
    """Urms(1/2) of the cycle around the moment."""
    phase_deg: float | None = None
    """Phase of the fundamental: 0 at a rising zero crossing, below 360."""
    f_hz: float | None = None
    steps: bool = False
    """Whether the phase steps within the cycles around the moment; then there is no frequency."""


@dataclass(frozen=True, slots=True)
class CursorDifference:
    """One Box from cursor A to cursor B; None where a gap lies between, or nothing is known."""

    volts: float | None = None
    rms_v: float | None = None
    cycles: float | None = None
    """Cycles of its own fundamental."""
    shift_deg: float | None = None
    """Difference of the phase at B from an even run at the frequency before A, -180 to 180."""


@dataclass(frozen=True, slots=True)
class Harmonics:
    """Subgroups in percent of the fundamental, order 2 up, and THD, of a 10/12-cycle window."""

    start_ms: float
    percents: tuple[float | None, ...]
    thd_percent: float | None


def reading(signal: BoxSignal, t_ms: float, origin_ns: int) -> Reading:
    """The values of a Box at a moment; volts are interpolated linearly between two samples."""
    run = signal.run_at(t_ms, origin_ns)
    if run is None:
        return Reading()
    at = min(max(run.position(t_ms, origin_ns), 0.0), len(run.wave.counts) - 1.0)
    first = min(int(at), max(0, len(run.wave.counts) - 2))
    pair = run.volts(first, first + 2)
    volts = float(np.interp(at - first, np.arange(len(pair)), pair))
    if run.tracked is None:
        return Reading(volts)
    half_cycle = run.wave.rate_hz / run.nominal_hz / 2
    rms_v = None
    if len(run.rms_at):
        near = int(np.abs(run.rms_at - at).argmin())
        rms_v = float(run.rms_v[near]) if abs(run.rms_at[near] - at) <= 2 * half_cycle else None
    reach = 2 * FREQUENCY_CYCLES * half_cycle
    phase_deg = math.degrees(run.tracked.phase_at_rad(at)) % 360.0
    f_hz = run.tracked.frequency_hz(at - reach, at + reach)
    if not math.isfinite(f_hz):
        return Reading(volts, rms_v, phase_deg)
    period = 2 * half_cycle
    apart, beside = STEP_APART_CYCLES * period, BESIDE_CYCLES * period
    beside_hz = [
        each
        for each in (
            run.tracked.frequency_hz(at - apart - beside, at - apart),
            run.tracked.frequency_hz(at + apart, at + apart + beside),
        )
        if math.isfinite(each)
    ]
    if beside_hz and not min(beside_hz) - STEP_HZ <= f_hz <= max(beside_hz) + STEP_HZ:
        return Reading(volts, rms_v, phase_deg, steps=True)
    return Reading(volts, rms_v, phase_deg, f_hz)


def between(signal: BoxSignal, a_ms: float, b_ms: float, origin_ns: int) -> CursorDifference:
    """The differences, B minus A."""
    at_a, at_b = reading(signal, a_ms, origin_ns), reading(signal, b_ms, origin_ns)
    volts = None if at_a.volts is None or at_b.volts is None else at_b.volts - at_a.volts
    rms_v = None if at_a.rms_v is None or at_b.rms_v is None else at_b.rms_v - at_a.rms_v
    run = signal.run_at(a_ms, origin_ns)
    if run is None or run.tracked is None or run is not signal.run_at(b_ms, origin_ns):
        return CursorDifference(volts, rms_v)
    a, b = run.position(a_ms, origin_ns), run.position(b_ms, origin_ns)
    turns = (run.tracked.phase_at_rad(b) - run.tracked.phase_at_rad(a)) / (2 * math.pi)
    period = run.wave.rate_hz / run.nominal_hz
    f_hz = run.tracked.frequency_hz(a - 6 * period, a)
    if not math.isfinite(f_hz):
        f_hz = run.nominal_hz
    off = turns - f_hz * (b - a) / run.wave.rate_hz
    return CursorDifference(volts, rms_v, turns, 360.0 * (off - round(off)))


def wave_lines(
    signal: BoxSignal, start_ms: float, end_ms: float, origin_ns: int, points: int
) -> list[ChartLine]:
    """Volts of a span, one line per run, with every peak."""
    return [
        _reduced(run, run.volts(first, last), first, origin_ns, points)
        for run in signal.runs
        for first, last in (run.within(start_ms, end_ms, origin_ns),)
        if last > first
    ]


def residual_lines(
    signal: BoxSignal, start_ms: float, end_ms: float, origin_ns: int, points: int
) -> list[ChartLine]:
    """Volts of a span less the tracked fundamental (`opq_measure.waveform.residual`)."""
    lines = []
    for run in signal.runs:
        first, last = run.within(start_ms, end_ms, origin_ns)
        if last > first and run.tracked is not None:
            rest = run.volts(first, last) - fundamental_v(run.tracked, first, last)
            lines.append(_reduced(run, rest, first, origin_ns, points))
    return lines


def missing_lines(
    signal: BoxSignal, start_ms: float, end_ms: float, origin_ns: int, points: int
) -> list[ChartLine]:
    """Volts less the extended wave of the last cycles before the incident: openSEE's "missing voltage".

    The line runs from eight cycles before the origin to MISSING_CYCLES after it; there is none where no
    steady wave came before.
    """
    run = signal.run_at(0.0, origin_ns)
    if run is None or run.tracked is None:
        return []
    period = run.wave.rate_hz / run.nominal_hz
    at = run.position(0.0, origin_ns)
    before = wave_before(run.volts(0, len(run.wave.counts)), run.tracked, at - BEFORE_CYCLES * period)
    if before is None:
        return []
    first, last = run.within(start_ms, end_ms, origin_ns)
    first, last = max(first, math.ceil(at - 8 * period)), min(last, math.floor(at + MISSING_CYCLES * period))
    if last <= first:
        return []
    first = max(first, 0)
    return [_reduced(run, run.volts(first, last) - before.volts(first, last), first, origin_ns, points)]


def rms_lines(
    signal: BoxSignal, start_ms: float, end_ms: float, origin_ns: int, points: int
) -> list[ChartLine]:
    """Urms(1/2) (IEC 61000-4-30, 5.4), each value at the middle of its cycle."""
    return [
        reduce_min_max(t_ms, rms_v, points)
        for run in signal.runs
        for t_ms, rms_v in (_spanned(run.t_ms(run.rms_at, origin_ns), run.rms_v, start_ms, end_ms),)
        if len(t_ms)
    ]


def frequency_lines(
    signal: BoxSignal, start_ms: float, end_ms: float, origin_ns: int, points: int
) -> list[ChartLine]:
    """Hertz of each cycle of the tracked fundamental, at its middle.

    A line ends where the phase is not known, and where it stepped.
    """
    lines = []
    for run in signal.runs:
        if run.tracked is None:
            continue
        edges = run.tracked.edges(1)
        known = run.tracked.known_between(edges[:-1], edges[1:])
        f_hz = np.where(known, run.wave.rate_hz / np.maximum(np.diff(edges), 1e-9), np.nan)
        t_ms = run.t_ms((edges[:-1] + edges[1:]) / 2, origin_ns)
        f_hz[stepped(f_hz)] = np.nan
        t_ms, f_hz = _spanned(t_ms, f_hz, start_ms, end_ms)
        seen = np.isfinite(f_hz)
        for part in np.split(np.arange(len(f_hz)), np.flatnonzero(np.diff(seen)) + 1):
            if len(part) and seen[part[0]]:
                lines.append(reduce_min_max(t_ms[part], f_hz[part], points))
    return lines


def stepped(f_hz: FloatArray) -> NDArray[np.bool_]:
    """(n,) True where a cycle's frequency is outside of the medians before and after it by STEP_HZ.

    Args:
        f_hz: (n,) hertz of each cycle; NaN where it is not known.
    """
    found = np.zeros(len(f_hz), dtype=np.bool_)
    seen = f_hz[np.isfinite(f_hz)]
    if not len(seen) or float(np.ptp(seen)) <= STEP_HZ:
        return found
    for k in np.flatnonzero(np.isfinite(f_hz)).tolist():
        parts = f_hz[max(0, k - STEP_NEIGHBOURS) : k], f_hz[k + 1 : k + 1 + STEP_NEIGHBOURS]
        near = [float(np.median(rest)) for part in parts if len(rest := part[np.isfinite(part)])]
        found[k] = bool(near) and not min(near) - STEP_HZ <= f_hz[k] <= max(near) + STEP_HZ
    return found


def harmonics_at(signal: BoxSignal, t_ms: float, origin_ns: int, ends: bool = False) -> Harmonics | None:
    """Harmonics in the first whole window from a moment on, or (`ends`) in the last one before it."""
    run = signal.run_at(t_ms, origin_ns)
    if run is None or run.tracked is None:
        return None
    edges, cycles = run.tracked.edges(1), cycles_per_window(run.nominal_hz)
    at = run.position(t_ms, origin_ns)
    place = int(np.searchsorted(edges, at, "right")) - 1 - cycles if ends else int(np.searchsorted(edges, at))
    if not 0 <= place <= len(edges) - 1 - cycles:
        return None
    window = edges[place : place + cycles + 1]
    found = spectrum_of([_spectrum_window(run, window)], cycles)
    groups = found.subgroups()[0]
    if not groups[0] > 0:
        return None
    percents = 100.0 * groups[1:ORDERS_SHOWN] / groups[0]
    thd = 100.0 * float(found.thd()[0])
    return Harmonics(
        float(run.t_ms(window[:1], origin_ns)[0]),
        tuple(float(each) if math.isfinite(each) else None for each in percents),
        thd if math.isfinite(thd) else None,
    )


def spectrogram(
    signal: BoxSignal, nominal_v: float, start_ms: float, end_ms: float, origin_ns: int
) -> list[tuple[float, float, tuple[float, ...]]]:
    """(start ms, end ms, percent of nominal of orders 2 to ORDERS_SHOWN) of COLUMNS windows of a span.

    Each is a 10/12-cycle window about the middle of its column, so shorter effects appear 0.2 s wide.
    """
    step_ms = (end_ms - start_ms) / COLUMNS
    found: list[tuple[float, float, tuple[float, ...]]] = []
    for run in signal.runs:
        if run.tracked is None:
            continue
        edges, cycles = run.tracked.edges(1), cycles_per_window(run.nominal_hz)
        columns, windows = [], []
        for column in range(COLUMNS):
            middle = run.position(start_ms + (column + 0.5) * step_ms, origin_ns)
            place = int(np.searchsorted(edges, middle)) - cycles // 2
            if 0 <= place <= len(edges) - 1 - cycles:
                columns.append(column)
                windows.append(_spectrum_window(run, edges[place : place + cycles + 1]))
        if not windows:
            continue
        groups = spectrum_of(windows, cycles).subgroups()[:, 1:ORDERS_SHOWN] * (100.0 / nominal_v)
        for column, row in zip(columns, groups, strict=True):
            begin_ms = start_ms + column * step_ms
            found.append((begin_ms, begin_ms + step_ms, tuple(float(each) for each in np.nan_to_num(row))))
    return found


def half_cycles(
    signal: BoxSignal, start_ms: float, end_ms: float, origin_ns: int, rows: int
) -> tuple[HalfCycle, ...]:
    """The half cycles of a span as a table; above `rows`, the lowest and highest of each stretch."""
    found: list[HalfCycle] = []
    for run in signal.runs:
        t_ms = run.t_ms(run.rms_at, origin_ns)
        first, last = (int(each) for each in np.searchsorted(t_ms, (start_ms, end_ms)))
        for k in (first + peaks(run.rms_v[first:last], max(2, rows - len(found)))).tolist():
            cycle = run.volts(math.ceil(run.edges[k]), math.ceil(run.edges[k + 2]))
            found.append(
                HalfCycle(float(t_ms[k]), float(run.rms_v[k]), float(cycle.min()), float(cycle.max()))
            )
    return tuple(found)


def phase_between_deg(one: Reading, other: Reading) -> float | None:
    """By how much the phase of `other` leads that of `one`, -180 to 180."""
    if one.phase_deg is None or other.phase_deg is None:
        return None
    off = other.phase_deg - one.phase_deg
    return off - 360.0 * round(off / 360.0)


def _spectrum_window(run: SignalRun, edges: FloatArray) -> SpectrumWindow:
    """Only the samples around a window, so that not all of a long run is converted to volts."""
    first = max(0, int(edges[0]) - 3)
    last = min(len(run.wave.counts), int(edges[-1]) + 4)
    return SpectrumWindow(run.volts(first, last), edges - first, run.wave.rate_hz)


def _reduced(run: SignalRun, values: FloatArray, first: int, origin_ns: int, points: int) -> ChartLine:
    t_ms = run.t_ms(np.arange(first, first + len(values), dtype=np.float64), origin_ns)
    return reduce_min_max(t_ms, values, points)


def _spanned(
    t_ms: FloatArray, values: FloatArray, start_ms: float, end_ms: float
) -> tuple[FloatArray, FloatArray]:
    """The values within the span, and one more on both sides."""
    first = max(0, int(np.searchsorted(t_ms, start_ms)) - 1)
    last = int(np.searchsorted(t_ms, end_ms)) + 1
    return t_ms[first:last], values[first:last]


def known(values: Sequence[float | None]) -> list[float]:
    return [each for each in values if each is not None]
