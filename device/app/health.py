"""Health: once a second to the gateway; what was lost when it changes; and the heap, which must not creep.

`low_water` is the least free heap right after a collection: what a leak would lower, second by second.
"""

import gc
import math

import acquire
import board
import clock
import codes
import pipeline
from journal import Journal
from power import Power

THRESHOLD_BYTES = 8192
"""Collect after so much was allocated: the second's own collection usually comes first."""
LOW_BYTES = 6144
"""Below, it is logged: the settings' answer and one piece of an update need about 4 KB."""

LOSSES_EACH_S = 60
"""A gateway that has just begun knows after so long that nothing was lost."""


class Health:
    def __init__(self, journal: Journal, power: Power) -> None:
        gc.collect()
        gc.threshold(THRESHOLD_BYTES)
        self.low_water = gc.mem_free()
        self._journal = journal
        self._power = power
        self._told_low = False
        self._reset_cause = board.reset_cause()
        self._untold_s = LOSSES_EACH_S

    def second(self) -> None:
        gc.collect()
        free = gc.mem_free()
        self.low_water = min(self.low_water, free)
        if free < LOW_BYTES and not self._told_low:
            self._told_low = True
            self._journal.put(codes.HEAP_LOW, free, self.low_water)
        supply_v, battery_v = self._power.supply_v, self._power.battery_v
        pipeline.health(
            acquire.slow()[3],
            math.nan if supply_v is None else supply_v,
            math.nan if battery_v is None else battery_v,
            self.low_water,
            self._reset_cause,
        )
        self._untold_s += 1
        if pipeline.losses(clock.damaged(), self._untold_s >= LOSSES_EACH_S):
            self._untold_s = 0
