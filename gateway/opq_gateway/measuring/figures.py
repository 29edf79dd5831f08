"""Figures: the quantities of 10/12-cycle windows, of one Box or of many, each defined in `opq_measure`. Pure.

The windows of many Boxes go through one call where that pays (the spectrum: a third less).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from opq_measure.harmonics.interharmonics import interharmonic_subgroups
from opq_measure.harmonics.spectrum import ORDERS, spectrum_of
from opq_measure.rms import energies, energies_together
from opq_measure.signal import FloatArray, like_rate_hz
from opq_measure.timebase.window import Window
from opq_measure.waveform.high_pass import cycle_peaks_v

AT_ONCE = 8
"""Windows in one call: 200 kB of samples and 80 kB of lines stay in the cache."""
NOTHING = np.empty(0)
UNKNOWN = np.full(ORDERS, np.nan)


@dataclass(slots=True)
class Figures:
    """Of one window; NaN is unknown.

    `half_energy` (2 c,) V^2 times samples and `half_samples` (2 c,) per half cycle: Urms(1/2) of any
    neighbours, over the joint to the next window too, and the rms of any number of cycles.
    """

    window: Window
    half_energy: FloatArray
    half_samples: FloatArray
    trans_v: FloatArray
    """(c,) per cycle, the largest magnitude above 400 Hz."""
    thd: float
    harmonics_v: FloatArray
    """(50,) subgroups of order 1 .. 50; NaN without a fundamental."""
    interharmonics_v: FloatArray
    """(50,) centred subgroups above order 0 .. 49."""

    @property
    def rms_v(self) -> float:
        """10/12-cycle rms."""
        return math.sqrt(
            max(float(np.add.reduce(self.half_energy)) / float(np.add.reduce(self.half_samples)), 0.0)
        )


class Extent(NamedTuple):
    """Of the Urms(1/2) that end in a window: least, most and last, V."""

    least: float
    most: float
    last: float


def extent_of(half_energy: FloatArray, half_samples: FloatArray) -> Extent:
    """Of two half cycles or more."""
    square = (half_energy[1:] + half_energy[:-1]) / (half_samples[1:] + half_samples[:-1])
    least, most = float(np.minimum.reduce(square)), float(np.maximum.reduce(square))
    return Extent(*(math.sqrt(max(each, 0.0)) for each in (least, most, float(square[-1]))))


def figures_of(windows: Sequence[Window]) -> list[Figures]:
    """The figures of whole windows, in their order; they may be of 10 and of 12 cycles and of any rate."""
    found: dict[int, Figures] = {}
    kinds: dict[tuple[int, float], list[int]] = {}
    for at, window in enumerate(windows):
        kinds.setdefault((len(window.edges) - 1, like_rate_hz(window.rate_hz)), []).append(at)
    for (cycles, _), places in kinds.items():
        for first in range(0, len(places), AT_ONCE):
            part = places[first : first + AT_ONCE]
            found.update(zip(part, _alike([windows[at] for at in part], cycles), strict=True))
    return [found[at] for at in range(len(windows))]


def rest_figures(window: Window) -> Figures:
    """Of what is left of a run behind its last window: some half cycles, no spectrum."""
    peaks_v = cycle_peaks_v([window.volts], window.edges[np.newaxis], window.rate_hz)[0]
    trans_v = NOTHING if np.isnan(peaks_v).any() else peaks_v  # shorter than the filter
    return Figures(window, *_halves(window), trans_v, np.nan, UNKNOWN, UNKNOWN)


def urms_v(half_energy: FloatArray, half_samples: FloatArray) -> FloatArray:
    """(n - 1,) Urms(1/2): rms of each two neighbouring half cycles (61000-4-30, 5.4)."""
    energy = np.maximum(half_energy[1:] + half_energy[:-1], 0.0)
    found: FloatArray = np.sqrt(energy / (half_samples[1:] + half_samples[:-1]))
    return found


def _alike(windows: list[Window], cycles: int) -> list[Figures]:
    spectrum = spectrum_of(windows, cycles)
    thd = spectrum.thd().tolist()
    harmonics_v, interharmonics_v = spectrum.subgroups(), interharmonic_subgroups(spectrum)
    edges = np.array([window.half_edges for window in windows])
    volts = [window.volts for window in windows]
    energy, samples = energies_together(volts, edges), np.diff(edges)
    trans_v = cycle_peaks_v(volts, edges[:, ::2], windows[0].rate_hz)
    return [
        Figures(
            window,
            energy[at],
            samples[at],
            trans_v[at],
            thd[at] if window.known else math.nan,
            harmonics_v[at] if window.known else UNKNOWN,
            interharmonics_v[at] if window.known else UNKNOWN,
        )
        for at, window in enumerate(windows)
    ]


def _halves(window: Window) -> tuple[FloatArray, FloatArray]:
    edges = window.half_edges
    return energies(window.volts, edges), edges[1:] - edges[:-1]
