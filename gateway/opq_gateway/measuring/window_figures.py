"""Figures: the quantities of 10/12-cycle windows, of one Box or of many, each defined in `opq_measure`. Pure.

The windows of many Boxes go through one call; the results of each are bit for bit the same as alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opq_measure.aggregation.aggregate import Quantity
from opq_measure.cycle_starts import uneven, window_urms_v
from opq_measure.events.quiet import Extent, extents_of
from opq_measure.harmonics.interharmonics import interharmonic_subgroups
from opq_measure.harmonics.signalling import signal_voltage
from opq_measure.harmonics.spectrum import ORDERS, spectrum_of
from opq_measure.rms import energies_together
from opq_measure.signal import FloatArray, like_rate_hz
from opq_measure.timebase.window import Window
from opq_measure.waveform.high_pass import cycle_peaks_v, tap_count

WINDOWS_PER_CALL = 8
"""Most windows in one call: 200 kB of samples and 80 kB of lines stay in the cache."""
QUANTITIES = (
    Quantity("rms_v"),
    Quantity("urms_min_v"),
    Quantity("urms_max_v"),
    Quantity("f_hz", mean="arithmetic"),
    Quantity("thd_ratio"),
    Quantity("under_v"),
    Quantity("over_v"),
    Quantity("harmonics_v", ORDERS),
    Quantity("interharmonics_v", ORDERS),
)
"""The columns of a row. `under_v`, `over_v`: rms, limited to at most or at least the declared voltage;
harmonics are subgroups of order 1 .. 50, interharmonics the centred subgroups above order 0 .. 49. A column
before `under_v` is among the Values of each interval, and a metric of Measurements if
`opq_proto.measurement.fields` has one for it."""
ROW_FLOATS = sum(quantity.width for quantity in QUANTITIES)
PLACES = {each.name: at for at, each in enumerate(QUANTITIES) if each.width == 1}
"""Column -> its place in a row; the wide ones come last."""
THD = PLACES["thd_ratio"]
HARMONICS = slice(len(PLACES), len(PLACES) + ORDERS)
INTERHARMONICS = slice(len(PLACES) + ORDERS, ROW_FLOATS)


@dataclass(slots=True)
class WindowFigures:
    """The figures of one window; NaN is unknown."""

    window: Window
    urms_v: FloatArray
    """(2 c,) Urms(1/2) that ends with each half cycle (61000-4-30, 5.4). The first begins in the window
    before, and is unknown if that window is missing."""
    extent: Extent
    trans_v: FloatArray
    """(c,) per cycle, the largest magnitude above 400 Hz."""
    most_trans_v: float
    row: FloatArray
    """(ROW_FLOATS,) of QUANTITIES."""
    signal_v: float = math.nan
    """Mains signalling voltage; NaN also where it is not measured."""

    @property
    def thd_ratio(self) -> float:
        return float(self.row[THD])

    @property
    def harmonics_v(self) -> FloatArray:
        return self.row[HARMONICS]

    @property
    def interharmonics_v(self) -> FloatArray:
        return self.row[INTERHARMONICS]


def figures_of(
    windows: Sequence[Window], nominals_v: Sequence[float], carrier_hz: float = 0.0
) -> list[WindowFigures]:
    """The figures of whole windows, in their order; each with the declared voltage of its Box.

    `carrier_hz`: frequency of the mains signalling; 0: it is not measured.

    The windows may have 10 or 12 cycles and any rate, and may be the first of a run or later ones.
    """
    found: dict[int, WindowFigures] = {}
    kinds: dict[tuple[int, float, bool], list[int]] = {}
    for at, window in enumerate(windows):
        kind = len(window.edges) - 1, like_rate_hz(window.rate_hz), math.isnan(window.half_before)
        kinds.setdefault(kind, []).append(at)
    for places in kinds.values():
        for first in range(0, len(places), WINDOWS_PER_CALL):
            part = places[first : first + WINDOWS_PER_CALL]
            own = [windows[at] for at in part]
            alike = _alike(own, np.array([nominals_v[at] for at in part]), carrier_hz)
            found.update(zip(part, alike, strict=True))
    return [found[at] for at in range(len(windows))]


def rest_figures(window: Window) -> WindowFigures | None:
    """Figures of the cycles after a run's last window, without a spectrum; None where no cycle is left."""
    if len(window.edges) < 2:
        return None
    urms_v, _, extents, trans_v = _in_time([window], np.array([window.half_edges]))
    unknown = np.full(ROW_FLOATS, np.nan)
    return WindowFigures(window, urms_v[0], extents[0], trans_v[0], float(trans_v[0].max()), unknown)


def _alike(windows: list[Window], nominals_v: FloatArray, carrier_hz: float) -> list[WindowFigures]:
    half_edges = np.array([window.half_edges for window in windows])
    urms_v, rms_v, extents, trans_v = _in_time(windows, half_edges)
    spectrum = spectrum_of(windows, len(windows[0].edges) - 1)
    rows = np.empty((len(windows), ROW_FLOATS))
    columns: dict[str, FloatArray | list[float]] = {
        "rms_v": rms_v,
        "urms_min_v": [extent.least_v for extent in extents],
        "urms_max_v": [extent.most_v for extent in extents],
        "f_hz": [window.frequency_hz for window in windows],
        "thd_ratio": spectrum.thd(),
        "under_v": np.minimum(rms_v, nominals_v),
        "over_v": np.maximum(rms_v, nominals_v),
    }
    for name, place in PLACES.items():
        rows[:, place] = columns[name]
    rows[:, HARMONICS] = spectrum.subgroups()
    rows[:, INTERHARMONICS] = interharmonic_subgroups(spectrum)
    for row, window in zip(rows, windows, strict=True):
        if not window.known:
            row[THD] = row[HARMONICS] = row[INTERHARMONICS] = np.nan
    most_v = np.maximum.reduce(trans_v, axis=1).tolist()
    signal_v = [math.nan] * len(windows)
    if carrier_hz:
        signal_v = signal_voltage(spectrum, carrier_hz).tolist()
    each_window = zip(windows, urms_v, extents, trans_v, most_v, rows, signal_v, strict=True)
    return [WindowFigures(*each) for each in each_window]


def _in_time(
    windows: list[Window], half_edges: FloatArray
) -> tuple[FloatArray, FloatArray, list[Extent], FloatArray]:
    """Urms(1/2) (w, m - 1), rms (w,), extents and transients (w, c) of windows of one shape; half edges (w,
    m).

    Transients are NaN where a run is shorter than the filter.
    """
    volts = [window.volts for window in windows]
    edges = half_edges
    joined = not math.isnan(windows[0].half_before)
    if joined:
        edges = np.concatenate(([[window.half_before] for window in windows], half_edges), axis=1)
    energy, peaks_v = energies_together(volts, edges)
    square = np.maximum(energy[:, 1:] + energy[:, :-1], 0.0) / (edges[:, 2:] - edges[:, :-2])
    urms_v = np.sqrt(square)
    for at in np.flatnonzero(uneven(edges)).tolist():
        urms_v[at] = window_urms_v(windows[at], edges[at])
    if not joined:
        urms_v = np.concatenate((np.full((len(windows), 1), np.nan), urms_v), axis=1)
    whole = np.add.reduce(energy[:, 1:] if joined else energy, axis=1)
    rms_v = np.sqrt(np.maximum(whole, 0.0) / (half_edges[:, -1] - half_edges[:, 0]))
    trans_v = cycle_peaks_v(volts, half_edges[:, ::2], windows[0].rate_hz)
    return urms_v, rms_v, extents_of(urms_v, peaks_v, edges), trans_v


def samples_after(rate_hz: float) -> int:
    """Number of samples after a window that its figures need: half of the high pass."""
    return tap_count(rate_hz) // 2 + 1
