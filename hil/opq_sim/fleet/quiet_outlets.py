"""QuietOutlets: which outlets are steady, until when, and their closed forms; it queries the network."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from opq_measure.waveform.high_pass import cycle_peaks_v
from opq_sim.box.source import SampleSource
from opq_sim.fleet.outlets import FleetOutlet
from opq_sim.fleet.quiet_figures import QuietFigures
from opq_sim.power_system.box_voltage import SteadyVoltage

AHEAD_S: Final = 60.0
"""Length of the span queried at once per outlet; if it is not steady, only the Measurement's span."""
BESIDE_S: Final = 0.25
"""Reach of the filters: a disturbance this close to a Measurement still changes its figures."""
TRANS_CYCLES: Final = 12


class QuietOutlets:
    """The steady state of outlets, by the Box's index.

    Attributes:
        until_s: (n,) the time until which each outlet is known to be steady; -inf: it is not steady.
    """

    def __init__(self, outlets: Sequence[FleetOutlet], figures: QuietFigures) -> None:
        self.until_s = np.full(len(outlets), -np.inf)
        self._outlets, self._figures = outlets, figures
        self._known = [0] * len(outlets)  # hash of the steady voltage that `figures` has

    def is_steady(self, box: int, begin_s: float, end_s: float) -> bool:
        """True if the outlet is steady around [begin_s, end_s); stores its closed form in `figures`."""
        outlet = self._outlets[box]
        if not outlet.closed_form:
            return False
        voltage = outlet.voltage
        low, high = max(0.0, begin_s - BESIDE_S), end_s + BESIDE_S
        ahead = max(high, begin_s + AHEAD_S)
        changes = voltage.changes(low, ahead)
        until_s = changes[0] if changes else ahead
        if until_s < high:
            self.until_s[box] = -np.inf
            return False
        steady = voltage.steady(low, until_s)
        if steady is None and until_s > high:
            until_s = high
            steady = voltage.steady(low, until_s)
        self.until_s[box] = -np.inf if steady is None else until_s - BESIDE_S
        if steady is not None:
            self._set_voltage(box, steady, begin_s)
        return steady is not None

    def cycles_beside(self, box: int, t_s: float, common: float) -> float:
        """The outlet's phase less the common one, in cycles, at a moment."""
        return float(self._outlets[box].voltage.cycles(np.array([t_s]))[0]) - common

    def _set_voltage(self, box: int, steady: SteadyVoltage, at_s: float) -> None:
        digest = hash((steady.fundamental_v, steady.dc_v, steady.ratios.tobytes()))
        if digest != self._known[box]:
            self._known[box] = digest
            outlet = self._outlets[box]
            read = SteadyVoltage(
                steady.fundamental_v * outlet.gain, steady.ratios, steady.dc_v * outlet.gain + outlet.offset_v
            )
            self._figures.set_voltage(box, read, outlet.noise_v, trans_of(outlet.samples(), at_s))


def trans_of(source: SampleSource, at_s: float) -> tuple[float, float, float]:
    """Minimum, maximum and mean of the peaks above 400 Hz of twelve cycles from `at_s` on; V.

    Measured as in the gateway (`cycle_peaks_v`), but with cycles of the nominal length.
    """
    rate_hz = source.rate_millihz / 1000
    per_cycle = rate_hz / source.nominal_hz
    context = round(per_cycle)
    first = max(0, round(at_s * rate_hz))
    volts = source.counts(first, round(TRANS_CYCLES * per_cycle) + 2 * context) * source.v_per_lsb
    edges = context + per_cycle * np.arange(TRANS_CYCLES + 1.0)
    peaks_v = cycle_peaks_v([volts], edges[np.newaxis], rate_hz)[0]
    return float(peaks_v.min()), float(peaks_v.max()), float(peaks_v.mean())
