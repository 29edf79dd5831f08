"""The flicker of a whole signal: a Flickermeter that is begun only when there is enough for it.

Its filters cost 0.7 s to import, longer than a recording of an event takes to analyse.
"""

from dataclasses import replace

import numpy as np

from opq_measure.flicker.lamps import lamp_for
from opq_measure.flicker.meter import LEAST_RATE, MIN_S, Flicker, FlickerInterval, Flickermeter
from opq_measure.signal import Samples


class FlickerCourse:
    """Samples in; intervals of ten minutes when all is over."""

    def __init__(self, nominal_v: float, nominal_hz: float) -> None:
        self._lamp = lamp_for(nominal_v, nominal_hz)
        self._meter: Flickermeter | None = None
        self._waiting: list[Samples] = []
        self._samples_waiting = 0
        self._intervals: list[FlickerInterval] = []

    def push(self, samples: Samples) -> None:
        """The piece that comes next; kept until there are 5 s."""
        if self._meter is not None:
            self._intervals += self._meter.push(samples)
            return
        if samples.rate_hz < LEAST_RATE * self._lamp.nominal_hz:
            return
        self._samples_waiting += len(samples.volts)  # whole numbers, whatever the blocks
        if self._samples_waiting < MIN_S * samples.rate_hz:
            self._waiting.append(replace(samples, volts=np.array(samples.volts)))
            return
        self._meter = Flickermeter(self._lamp)
        for each in (*self._waiting, samples):
            self._intervals += self._meter.push(each)
        self._waiting.clear()

    def end(self) -> list[FlickerInterval]:
        """All ten minutes, or what there is of them."""
        if self._meter is not None:
            self._intervals += self._meter.end()
        return self._intervals

    def found(self) -> Flicker:
        """The largest, after `end`."""
        peaks = [each.pinst_max for each in self._intervals if np.isfinite(each.pinst_max)]
        psts = [each.pst for each in self._intervals if np.isfinite(each.pst)]
        return Flicker(max(peaks) if peaks else None, max(psts) if psts else None)
