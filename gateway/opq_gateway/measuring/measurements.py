"""Measurements: a few numbers of one window, each defined in `opq_measure`.

    rms    V      Urms(1/2): rms of every full cycle, renewed each half cycle (61000-4-30, 5.4)
    f      Hz     per 10/12-cycle window (61000-4-30, 5.1)
    thd    ratio  per 10/12-cycle window, subgroups to order 50 (61000-4-7)
    trans  V      per cycle, the largest magnitude above 400 Hz (the original's definition)

Each as minimum, maximum and mean over the measurement's window. The 10/12-cycle windows are
counted back from its end; where its cycles are no multiple of 10 or 12 the earliest reaches into
the cycles before it. Pure.
"""

import numpy as np

from opq_gateway.measuring.windows import Window
from opq_measure.frequency.per_window import cycles_per_window
from opq_measure.harmonics.spectrum import thd_ratio
from opq_measure.rms import half_cycle_rms_v
from opq_measure.signal import FloatArray
from opq_measure.waveform.high_pass import high_pass, tap_count
from opq_proto.messages import Measurement, Metric


def measure(window: Window, box_id: str, sequence: int | None, nominal_v: float | None = None) -> Measurement:
    """The Measurement of a window; a key is absent where its quantity is not known.

    `nominal_v` and the window's hertz go along: who compares with them cannot ask the Box.
    `timestamp_ms` is the end of the window, rounded (the original's meaning). Nothing is queued
    on disk yet, so the oldest sequence that the Box still holds is its own.
    """
    return Measurement(
        box_id=box_id,
        timestamp_ms=(window.end_ns + 500_000) // 1_000_000,
        metrics=metrics(window),
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        uncertainty_ns=window.uncertainty_ns,
        source=window.source,
        sequence=sequence,
        oldest_sequence=sequence,
        nominal_v=nominal_v,
        nominal_hz=window.nominal_hz,
    )


def metrics(window: Window) -> dict[str, Metric]:
    """All quantities of a window that are known."""
    groups = _groups(window)
    values = {
        "rms": half_cycle_rms_v(window.volts, _half_edges(window)),
        "f": _frequency_hz(window, groups),
        "thd": _thd(window, groups),
        "trans": _transient_v(window),
    }
    found = {}
    for key, each in values.items():
        each = each[np.isfinite(each)]
        if len(each):
            found[key] = Metric(float(each.min()), float(each.max()), float(each.mean()))
    return found


def _half_edges(window: Window) -> FloatArray:
    """Half-cycle boundaries from the window's start to its end."""
    start, end = window.edges[window.first], window.edges[-1]
    quarter = (end - start) / window.cycles / 4
    half = window.track.edges(2)
    inside = half[(half > start + quarter) & (half < end - quarter)]
    if not len(inside):  # one cycle over which the phase jumped
        inside = np.array([(start + end) / 2])
    return np.concatenate(([start], inside, [end]))


def _groups(window: Window) -> list[tuple[float, float]]:
    """Spans of the 10/12-cycle windows, counted back from the end; none where samples lack."""
    size = cycles_per_window(window.nominal_hz)
    edges = window.edges
    groups = []
    stop = len(edges) - 1
    while stop > window.first and stop >= size:
        groups.append((float(edges[stop - size]), float(edges[stop])))
        stop -= size
    return groups[::-1]


def _frequency_hz(window: Window, groups: list[tuple[float, float]]) -> FloatArray:
    """Hz per 10/12-cycle window; of the whole window where it is the stream's short first."""
    spans = groups or [(float(window.edges[window.first]), float(window.edges[-1]))]
    return np.array([window.track.frequency_hz(start, stop) for start, stop in _seen(window, spans)])


def _thd(window: Window, groups: list[tuple[float, float]]) -> FloatArray:
    return np.array(
        [
            thd_ratio(window.volts, start, stop, cycles_per_window(window.nominal_hz))
            for start, stop in _seen(window, groups)
        ]
    )


def _seen(window: Window, spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those spans in which the fundamental was there for at least half of the time."""
    if not spans:
        return []
    starts, stops = np.array(spans).T
    known = window.track.known_between(starts, stops)
    return [span for span, seen in zip(spans, known, strict=True) if seen]


def _transient_v(window: Window) -> FloatArray:
    """V per cycle: the largest magnitude above 400 Hz."""
    rate_hz = window.rate_hz
    reach = tap_count(rate_hz) // 2
    edges = np.rint(window.edges[window.first :]).astype(np.int64)
    low = max(0, int(edges[0]) - reach)
    high = min(len(window.volts), int(edges[-1]) + reach)
    fast = np.abs(high_pass(window.volts[low:high], rate_hz))
    if not len(fast):
        return np.empty(0)
    starts = np.clip(edges[:-1] - low - reach, 0, len(fast) - 1)
    peaks: FloatArray = np.maximum.reduceat(fast, np.unique(starts))
    return peaks
