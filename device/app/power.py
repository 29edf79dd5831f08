"""Power: which supply the Box runs from, and an orderly stop before the battery is empty.

    MAINS --supply low--> BATTERY --battery low--> STOPPED --supply back--> sampling begins again
      ^---supply back--------'

The supply is measured between the samples (ADC1's injected group). While sampling is stopped, the converter
runs for PROBE_MS every PROBE_EACH_MS, with the line held, to see whether the supply is back.

A Box without a battery, or without the dividers that sense it, stays on MAINS, as it cannot switch.
When the PVD reports that VDD itself falls, sampling stops at once and flash is not written until VDD is back.
"""

import math
import time

import codes
from journal import Journal
from opq import acquire, board, pipeline, settings
from sampler import Sampler
from supervisor import EXEMPT_POWER, Supervisor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAINS = 0
BATTERY = 1
STOPPED = 2
FALLING = 3

READINGS = 3
"""Readings in a row, 100 ms apart, before a change counts: a dip of the mains is not a lost supply."""
HYSTERESIS_V = 0.2
PROBE_EACH_MS = 5000
PROBE_MS = 700
FITTED_V = 1.0
"""With less, nothing is connected to the pin: no Li-ion cell is that empty."""


class Power:
    """`state` is MAINS, BATTERY, STOPPED or FALLING; `supply_v` and `battery_v` are None when not sensed."""

    def __init__(
        self,
        journal: Journal,
        sampler: Sampler,
        supervisor: Supervisor,
        ticks_ms: "Callable[[], int]" = time.ticks_ms,
    ) -> None:
        self.state = MAINS
        self.supply_v: float | None = None
        self.battery_v: float | None = None
        self._journal = journal
        self._sampler = sampler
        self._supervisor = supervisor
        self._ticks_ms = ticks_ms
        self._count = 0
        self._since_ms = 0
        self._no_battery_logged = False
        self._probed_ms = 0
        self._probing = False
        self._senses_supply = False

    def watch(self) -> None:
        """Runs every 100 ms: reads the voltages and changes the state."""
        values = acquire.slow()
        if not math.isnan(values[1]):  # NaN: stopped, or not read yet
            self._senses_supply = self._senses_supply or values[1] >= FITTED_V
            self.supply_v = values[1] if self._senses_supply else None
        if not math.isnan(values[2]):
            self.battery_v = values[2] if values[2] >= FITTED_V else None
        if board.supply_is_low():
            self._fall()
        elif self.state == FALLING:
            self._recover()
        elif self.state == MAINS:
            self._on_mains(values[1])
        elif self.state == BATTERY:
            self._on_battery(values[1])
        else:
            self._probe(values[1])

    def _on_mains(self, supply_v: float) -> None:
        sensed = self.supply_v is not None or self.battery_v is not None
        if not self._for_long(sensed and supply_v < settings.number("supply_low_v")):
            return
        if self.battery_v is None:
            if not self._no_battery_logged:
                self._no_battery_logged = True
                self._journal.put(codes.NO_BATTERY, mv(supply_v), 0)
            return
        self.state = BATTERY
        self._since_ms = self._ticks_ms()
        self._journal.put(codes.ON_BATTERY, mv(supply_v), mv(self.battery_v))

    def _on_battery(self, supply_v: float) -> None:
        if supply_v >= settings.number("supply_low_v") + HYSTERESIS_V:
            self.state = MAINS
            self._count = 0
            on_battery_s = time.ticks_diff(self._ticks_ms(), self._since_ms) // 1000
            self._journal.put(codes.SUPPLY_BACK, mv(supply_v), on_battery_s)
        elif self._for_long(self.battery_v is None or self.battery_v < settings.number("battery_low_v")):
            self._journal.put(codes.BATTERY_LOW, mv(supply_v), mv(self.battery_v or 0.0))
            status = settings.save()  # writes only settings that were changed and not saved
            if status != settings.OK:
                self._journal.put(codes.SETTINGS_FAILED, status)
            self._stop(STOPPED, codes.BATTERY)

    def _probe(self, supply_v: float) -> None:
        waited_ms = time.ticks_diff(self._ticks_ms(), self._probed_ms)
        if not self._probing:
            if waited_ms >= PROBE_EACH_MS:
                self._probed_ms = self._ticks_ms()
                self._probing = True
                pipeline.hold(True)
                self._sampler.launch()
        elif waited_ms >= PROBE_MS:
            self._end_probe()
            if supply_v >= settings.number("supply_low_v") + HYSTERESIS_V:
                self._recover()

    def _end_probe(self) -> None:
        self._probing = False
        acquire.stop()
        pipeline.restart()  # the samples of the probe must not be sent
        pipeline.hold(False)

    def _fall(self) -> None:
        if self.state != FALLING:
            self._stop(FALLING, codes.SUPPLY_LOW)

    def _stop(self, state: int, reason: int) -> None:
        self.state = state
        self._count = 0
        self._probed_ms = self._ticks_ms()
        self._supervisor.exempt |= EXEMPT_POWER
        self._sampler.stop()
        if self._probing:
            self._end_probe()
        self._journal.put(codes.STOPPED, reason)

    def _recover(self) -> None:
        """Starts sampling again; the slow channels run only with it, so readings are counted from 0."""
        self.state = MAINS
        self._count = 0
        self._supervisor.exempt &= ~EXEMPT_POWER
        self._sampler.start()

    def _for_long(self, holds: bool) -> bool:
        self._count = self._count + 1 if holds else 0
        return self._count >= READINGS


def mv(volts: float) -> int:
    """Returns whole millivolts; 0 for unknown."""
    return 0 if math.isnan(volts) else round(volts * 1000)
