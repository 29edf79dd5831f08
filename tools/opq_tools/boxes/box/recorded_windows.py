"""The windows that a Box would give to its `box.py`, of a recording.

The figures are those of `opq_gateway.measuring.window_figures`, by the definitions of `opq_measure`, to which
device/tests/test_dsp_measure.py holds the firmware.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from opq_gateway.measuring.window_figures import PLACES, WindowFigures, figures_of
from opq_measure.signal import check_signal
from opq_measure.timebase.window import Window
from opq_measure.timebase.windows import Windows
from opq_proto.errors import RecordingError
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_proto.time_units import NS_PER_S
from opq_recordings.recording import Recording

LARGEST_COUNT = 32767
"""Of the Box's converter, as in a recording of 16-bit counts."""


class BoxWindow(NamedTuple):
    """The argument of `window(w)`, with the names of `Window` in device/app/typings/opq/program.pyi."""

    first_sample: int
    samples: int
    t_ns: int
    """UTC of the first sample; without it, time since the recording's sample 0."""
    uncertainty_ns: int
    source: int
    rms_v: float | None
    f_hz: float | None
    thd: float | None
    trans_v: float | None
    half_cycle_min_v: float | None
    half_cycle_max_v: float | None
    clipped: bool


def recorded_windows(recording: Recording, nominal_hz: float) -> Iterator[BoxWindow]:
    """All whole windows in order; they begin again after each gap, as on the Box.

    A recording states no uncertainty of its time, so it is unknown and its source is FREE.

    Raises:
        RecordingError: fewer than 20 samples per cycle, or values that cannot be measured.
    """
    cutter = Windows(nominal_hz)
    try:
        check_signal(np.empty(0), recording.rate_hz, nominal_hz)
        for piece in recording.pieces():
            untimed = replace(piece, start_ns=None)  # the Box does not begin again at ten minutes of UTC
            yield from _box_windows(recording, cutter.push_samples(untimed))
        yield from _box_windows(recording, cutter.end())
    except ValueError as error:
        raise RecordingError(f"{recording.path}: {error}") from error


def _box_windows(recording: Recording, windows: Iterable[Window]) -> Iterator[BoxWindow]:
    found = list(windows)
    for figures in figures_of(found, [0.0] * len(found)):
        yield _box_window(recording, figures)


def _box_window(recording: Recording, figures: WindowFigures) -> BoxWindow:
    window = figures.window
    begin, end = round(float(window.edges[0])), round(float(window.edges[-1]))
    first = window.first_sample + begin
    t_ns = recording.time_ns(first)
    peak_v = float(np.abs(window.volts[begin:end]).max())
    return BoxWindow(
        first_sample=first,
        samples=end - begin,
        t_ns=round(first * NS_PER_S / recording.rate_hz) if t_ns is None else t_ns,
        uncertainty_ns=UNKNOWN_UNCERTAINTY_NS,
        source=int(TimeSource.FREE),
        rms_v=_known(figures.row[PLACES["rms_v"]]),
        f_hz=_known(window.frequency_hz),
        thd=_known(figures.thd_ratio),
        trans_v=_known(figures.most_trans_v),
        half_cycle_min_v=_known(figures.extent.least_v),
        half_cycle_max_v=_known(figures.extent.most_v),
        clipped=peak_v >= _converter_limit_v(recording),
    )


def _converter_limit_v(recording: Recording) -> float:
    """Magnitude of the largest count; infinite where the values are not counts of 16 bits."""
    channel = recording.channel
    counts = channel.values.dtype.kind == "i" and channel.values.dtype.itemsize == 2 and channel.offset == 0.0
    return (LARGEST_COUNT - 0.5) * abs(channel.gain) if counts else math.inf


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
