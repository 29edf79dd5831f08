"""Health: sends Health each second, Losses and facts of the chip when they change; watches the free heap.

`low_water` is the least free heap right after a collection. A leak would lower it second by second.
"""

import gc
import math

import codes
from journal import Journal
from opq import acquire, board, clock, pipeline
from power import Power
from user_program import UserProgram

THRESHOLD_BYTES = 8192
"""A collection runs after so many bytes were allocated; usually the one of each second comes first."""
LOW_BYTES = 6144
"""Less free heap is logged: the answer with all settings and one piece of an update need about 4 KB."""

AGAIN_S = 60
"""Losses, facts and the last crash are sent again so often: for a gateway that has just started."""


class Health:
    def __init__(self, journal: Journal, power: Power, program: UserProgram) -> None:
        gc.collect()
        gc.threshold(THRESHOLD_BYTES)
        self.low_water = gc.mem_free()
        self._journal = journal
        self._power = power
        self._program = program
        self._low_logged = False
        self._reset_cause = board.reset_cause()
        self._sent_s = AGAIN_S

    def second(self) -> None:
        gc.collect()
        free = gc.mem_free()
        self.low_water = min(self.low_water, free)
        if free < LOW_BYTES and not self._low_logged:
            self._low_logged = True
            self._journal.put(codes.HEAP_LOW, free, self.low_water)
        supply_v, battery_v = self._power.supply_v, self._power.battery_v
        pipeline.health(
            acquire.slow()[3],
            math.nan if supply_v is None else supply_v,
            math.nan if battery_v is None else battery_v,
            self.low_water,
            self._reset_cause,
        )
        self._sent_s += 1
        again = self._sent_s >= AGAIN_S
        sent = pipeline.losses(clock.damaged(), again)
        pipeline.facts(again, self._program.state, self._program.crc32)
        if again and sent:
            pipeline.crash()
            self._sent_s = 0
