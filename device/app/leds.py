"""LEDs: the state of the Box, readable from across a room.

status   dark: no samples     blinks: samples, but no command yet    on: samples, and a gateway sent a command
time     dark: no time        blinks fast: acquiring    on: locked to GPS    blinks slowly: holdover
fault    dark: no fault       blinks: on battery        on: an error in the last minute
"""

import time

import power
from opq import board, clock, settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from power import Power
    from receiver import Receiver
    from sampler import Sampler
    from supervisor import Supervisor

SLOW_MS = 1000
FAST_MS = 250
MOVED_MS = 500
ERROR_MS = 60_000


class Leds:
    def __init__(
        self,
        sampler: "Sampler",
        receiver: "Receiver",
        power_state: "Power",
        supervisor: "Supervisor",
        ticks_ms: "Callable[[], int]" = time.ticks_ms,
    ) -> None:
        self._sampler = sampler
        self._receiver = receiver
        self._power = power_state
        self._supervisor = supervisor
        self._ticks_ms = ticks_ms

    def show(self) -> None:
        """Runs every 50 ms: sets each LED."""
        now_ms = self._ticks_ms()
        slow = now_ms // SLOW_MS % 2 == 0
        fast = now_ms // FAST_MS % 2 == 0
        lit = settings.integer("led_percent") > 0  # 0: all LEDs stay dark
        moving = self._sampler.running and time.ticks_diff(now_ms, self._sampler.moved_ms) < MOVED_MS
        state = self._receiver.state
        failed_ms = self._supervisor.failed_ms
        failed = failed_ms is not None and time.ticks_diff(now_ms, failed_ms) < ERROR_MS
        if not failed:
            self._supervisor.failed_ms = None  # ticks wrap within a week
        board.led(board.LED_STATUS, lit and moving and (self._sampler.commanded or slow))
        locked = (
            state == clock.LOCKED or (state == clock.ACQUIRING and fast) or (state == clock.HOLDOVER and slow)
        )
        board.led(board.LED_TIME, lit and locked)
        board.led(board.LED_FAULT, lit and (failed or (self._power.state != power.MAINS and slow)))
