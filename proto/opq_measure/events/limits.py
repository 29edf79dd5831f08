"""Thresholds of dips, swells and interruptions."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds on Urms(1/2), in percent of nominal (or of the sliding reference).

    Raises:
        ValueError: they cannot all hold, e.g. a dip threshold above the swell threshold.
    Source: IEC 61000-4-30:2015, 5.4.2, 5.4.3 and 5.5; the hysteresis of 2 % is the one it recommends.
    """

    sag_percent: float = 90.0
    swell_percent: float = 110.0
    interruption_percent: float = 10.0
    hysteresis_percent: float = 2.0

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}, want a finite number")
        if not 0 < self.interruption_percent < self.sag_percent < self.swell_percent:
            raise ValueError(
                "thresholds must rise, 0 < interruption < dip < swell; they are "
                f"{self.interruption_percent:g}, {self.sag_percent:g} and {self.swell_percent:g} %"
            )
        room = (self.swell_percent - self.sag_percent) / 2
        if not 0 <= self.hysteresis_percent < room:
            raise ValueError(
                f"the hysteresis is {self.hysteresis_percent:g} %, want from 0 to below {room:g} %, half of "
                "the way from the dip to the swell threshold"
            )

    def threshold_percent(self, sign: int) -> float:
        """Where a dip (`sign` -1) or swell (+1) begins."""
        return self.sag_percent if sign < 0 else self.swell_percent

    def back_percent(self, sign: int) -> float:
        """Where it ends: back from the threshold by the hysteresis."""
        return self.threshold_percent(sign) - sign * self.hysteresis_percent


KEPT_SHARE = 0.9967
"""Share of the former reference: Usr(n) = 0.9967 Usr(n-1) + 0.0033 U(10/12)rms, a time constant of 1 min."""
ADDED_SHARE = 0.0033
"""Share of the new 10/12-cycle rms."""


@dataclass(slots=True)
class SlidingReference:
    """Usr of the standard, updated by every 10/12-cycle rms that no event touches.

    It begins at the declared voltage, so it needs some minutes to reach a supply voltage far from that.
    """

    volts: float

    def push_window_rms(self, window_rms_v: float, flagged: bool) -> None:
        """Accepts the next 10/12-cycle rms; a flagged one leaves the reference unchanged."""
        if not flagged:
            self.volts = KEPT_SHARE * self.volts + ADDED_SHARE * window_rms_v
