"""The rms of every cycle and half cycle of a signal, and the frequency of every cycle, in time order."""

import numpy as np

from opq_measure.analysis.growing import Growing
from opq_measure.frequency.per_window import cycle_frequency_hz
from opq_measure.rms import half_cycle_rms_v
from opq_measure.timebase.windows import Window

APART = 1 / 8
"""Of a cycle: an edge nearer to the last one is the same, of two windows that overlap at a tick."""


class CycleCourse:
    """Windows in, in order; their cycles one behind the other. A cycle is Urms(1/2) of its first half."""

    def __init__(self) -> None:
        self.starts, self.rms_v, self.frequency_hz = Growing(), Growing(), Growing()
        """Per cycle, (c,); starts are samples on the Box's axis."""
        self.half_starts, self.half_rms_v = Growing(), Growing()
        """Urms(1/2), (h,)."""
        self._last = -np.inf

    def push(self, window: Window) -> None:
        """The next window, or what is left of a run behind its last one."""
        halves = window.half_edges
        if np.isfinite(window.next_half):
            halves = np.append(halves, window.next_half)
        rms_v = half_cycle_rms_v(window.volts, halves)
        starts = window.first_sample + halves[: len(rms_v)]
        cycles = len(window.edges) - 1
        hz = cycle_frequency_hz(window.edges, window.rate_hz)
        hz[~window.track.known_between(window.edges[:-1], window.edges[1:])] = np.nan
        new = int(np.searchsorted(starts, self._last + APART * window.rate_hz / window.nominal_hz))
        self.half_starts.add(starts[new:])
        self.half_rms_v.add(rms_v[new:])
        first = (new + 1) // 2
        self.starts.add(starts[::2][first:cycles])
        self.rms_v.add(rms_v[::2][first:cycles])
        self.frequency_hz.add(hz[first:])
        if len(starts):
            self._last = float(starts[-1])
