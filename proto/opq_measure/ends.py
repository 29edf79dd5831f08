"""When an rms event starts and ends, finer than the half cycles of Urms(1/2).

Urms(1/2) looks at a whole cycle, so by the standard's time stamps a dip of d cycles lasts
d to d + 1.1 cycles (5.4.5.2 allows an error of a cycle). Which events there are and how deep, Urms(1/2) alone
decides; when they start and end is then looked up in a finer quantity, the rms over half a cycle moved
sample by sample: where it passes the threshold, or at a sharp step the step itself.

Source: IEC 61000-4-30:2015, 5.4.
"""

import math

import numpy as np

from opq_measure.signal import FloatArray, SignalArray
from opq_measure.spans import Span

SHARP = 0.1
"""A step is sharp when less than this share of its height lies outside the window around it."""
BESIDE = 0.6
"""Half a window, and room for the rounding of a cycle to whole samples, noise and harmonics."""
SHORT_WINDOWS = 5
"""A span of so few Urms(1/2) may be an event below 1.5 cycles, too short for a cycle beside its step."""
DC_HALF_CYCLES = 16
"""Half cycles before and behind an end in which its DC is looked for."""


class Ends:
    """Finer times of the two ends of a span of Urms(1/2); `sign` is -1 for a dip, +1 for a swell."""

    def __init__(self, volts: SignalArray, half_edges: FloatArray, sign: int) -> None:
        self._volts, self._edges, self._sign = volts, half_edges, sign

    def start(self, span: Span, enter: float) -> float:
        """The middle of the first half cycle beyond `enter`, or of the step there."""
        if span.start == 0:
            return float(self._edges[0])
        return self._crossing(span, span.start, enter, 0)

    def end(self, span: Span, leave: float) -> float:
        """The middle of the last half cycle beyond `leave`, or of the step there."""
        return self._crossing(span, span.stop - 1, leave, -1)

    def _crossing(self, span: Span, window: int, level: float, which: int) -> float:
        """The first (0) or last (-1) sample position in a window of Urms(1/2) whose half cycle is beyond."""
        first, last = max(0, window - 6), min(window + 8, len(self._edges) - 1)
        begin = math.floor(self._edges[first])
        half = max(1, round(float(np.median(np.diff(self._edges)))))
        part = np.asarray(self._volts[begin : math.ceil(self._edges[last])], dtype=np.float64)
        part = part - self._dc(window)
        energy = np.concatenate(([0.0], np.cumsum(part * part)))
        square = (
            energy[half:] - energy[:-half]
        ) / half  # of half a cycle; entry i is centred at i + half / 2
        low = math.floor(self._edges[window]) - begin
        high = math.ceil(self._edges[window + 2]) - begin - half + 1
        beyond = self._sign * (square - level**2) > 0
        inside = np.flatnonzero(beyond[low:high])
        at = low + int(inside[which]) if len(inside) else (low + high) // 2
        way = -1 if which == 0 else 1
        while (
            0 < at < len(square) - 1 and beyond[at + way]
        ):  # half cycles outside the window, but of the same run
            at += way
        near = at + half / 2
        middle = self._middle_of_step(energy, near, 2 * half)
        if middle is None and span.stop - span.start <= SHORT_WINDOWS:
            middle = self._middle_of_step(energy, near, half)
        if middle is None or abs(middle - near) > BESIDE * half:  # a ramp: its middle is not where it passes
            middle = near
        return float(begin) + middle

    def _dc(self, window: int) -> float:
        """The median of the means of the cycles around; a mean across a step is no DC, but most have none."""
        edges = np.rint(self._edges[max(0, window - DC_HALF_CYCLES) : window + DC_HALF_CYCLES]).astype(int)
        part = np.asarray(self._volts[edges[0] : edges[-1]], dtype=np.float64)
        total = np.concatenate(([0.0], np.cumsum(part)))[edges - edges[0]]
        return float(np.median((total[2:] - total[:-2]) / (edges[2:] - edges[:-2])))

    @staticmethod
    def _middle_of_step(energy: FloatArray, near: float, window: int) -> float | None:
        """Where the rms over `window` samples has half the height (in energy) of a sharp step; else None.

        The cycle around a step holds half a cycle of each side, whatever the phase, so this is exact.
        Over half a cycle it is not, but alike at both ends of whole cycles.
        """
        square = energy[window:] - energy[:-window]  # entry i is centred at i + window / 2
        at = round(near - window / 2)
        if not window <= at < len(square) - window:
            return None
        before, after = square[[at - window, at + window]]
        height = after - before
        passed = np.sign(height) * (square[at - window : at + window] - (before + after) / 2) > 0
        step = at - window + int(np.argmax(passed))
        beside = round(BESIDE * window)
        if not beside <= step < len(square) - beside:
            return None
        if max(abs(before - square[step - beside]), abs(after - square[step + beside])) > SHARP * abs(height):
            return None
        return float(step + window / 2)
