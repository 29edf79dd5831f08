"""What thresholds of dips and swells are a share of: the declared voltage, or what was usual lately.

Source: IEC 61000-4-30:2015, 5.4.4 (sliding reference voltage).
"""

from dataclasses import dataclass

KEEP, TAKE = 0.9967, 0.0033
"""Usr(n) = 0.9967 Usr(n-1) + 0.0033 U(10/12)rms: first order, a time constant of 1 min."""


@dataclass(slots=True)
class SlidingReference:
    """Usr of the standard, renewed by every 10/12-cycle rms that no event touches.

    Begins with the declared voltage, so that it needs some minutes to come to a supply that lies far from it.
    """

    volts: float

    def take(self, window_rms_v: float, flagged: bool) -> None:
        """The 10/12-cycle rms that follows; one that is flagged leaves the reference as it is."""
        if not flagged:
            self.volts = KEEP * self.volts + TAKE * window_rms_v
