"""InstantPhasors: one Box's fundamental at the instants of each ten minutes, to join it with other Boxes."""

import cmath
import math

from opq_measure.aggregation.instants import INSTANTS_PER_INTERVAL, is_good_clock, phasor_at, place_of_instant
from opq_measure.timebase.window import Window
from opq_proto.measurement.intervals import AT_INSTANTS
from opq_proto.messages import TimeSource

Clock = tuple[int, TimeSource]
INTERVALS_KEPT = 3
"""Ten minutes that are kept while they are not taken."""


class InstantPhasors:
    """Takes one Box's windows; an instant at which the clock is not good for angles is not known."""

    def __init__(self) -> None:
        self._found: dict[int, dict[int, tuple[complex, Clock]]] = {}
        """Start of the ten minutes -> number of the instant -> phasor and clock."""

    def accept_window(self, window: Window, clock: Clock) -> None:
        """Takes the next window with its clock."""
        place = place_of_instant(window)
        if place is None or not is_good_clock(window.nominal_hz, clock[0]):
            return
        start_ns, number, at_ns = place
        phasor = phasor_at(window, at_ns)
        if cmath.isfinite(phasor):
            self._found.setdefault(start_ns, {})[number] = phasor, clock
        while len(self._found) > INTERVALS_KEPT:
            del self._found[min(self._found)]

    def take(self, start_ns: int, clock: Clock) -> tuple[dict[str, tuple[float, ...]], Clock]:
        """The quantities AT_INSTANTS of ten minutes, none where no instant is known; and the worst clock of
        these instants and of `clock`."""
        found = self._found.pop(start_ns, {})
        if not found:
            return {}, clock
        phasors = [found[number][0] if number in found else None for number in range(INSTANTS_PER_INTERVAL)]
        angles = tuple(math.nan if each is None else math.degrees(cmath.phase(each)) for each in phasors)
        volts = tuple(math.nan if each is None else abs(each) for each in phasors)
        clocks = [clock, *(each for _, each in found.values())]
        worst = max(each[0] for each in clocks), min(each[1] for each in clocks)
        return dict(zip(AT_INSTANTS, (angles, volts), strict=True)), worst
