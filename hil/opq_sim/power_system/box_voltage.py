"""The voltage at one outlet of a simulated network: the interface between physics and Boxes.

    cause -> BoxVoltage -> samples (box, gateway's measuring code) or closed-form Measurements (fleet)

`BoxVoltage` is all that a Box of any depth needs of the network.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from opq_sim.mains.profiles import FloatArray


@dataclass(frozen=True, slots=True)
class SteadyVoltage:
    """A voltage while nothing changes but the frequency."""

    fundamental_v: float
    """rms."""
    ratios: NDArray[np.complex128]
    """(50,) orders 1 .. 50 relative to the fundamental; the angle is the a in sin(order phase + a)."""
    dc_v: float = 0.0

    @property
    def rms_v(self) -> float:
        """True rms by Parseval, volts; without orders above 50."""
        return float(np.hypot(self.fundamental_v * np.linalg.norm(self.ratios), self.dc_v))

    @property
    def thd(self) -> float:
        """Orders 2 .. 50 relative to the fundamental, a ratio; IEC 61000-4-7:2002, 3.3.1."""
        return float(np.linalg.norm(self.ratios[1:]))


class BoxVoltage(Protocol):
    """The voltage at one outlet.

    `t_s` is (n,) float64 seconds after the run's start in true time, rising; each result
    depends on its own moment alone, so that any block size gives the same numbers.
    """

    @property
    def nominal_v(self) -> float: ...

    @property
    def nominal_hz(self) -> float: ...

    def volts(self, t_s: FloatArray) -> FloatArray:
        """(n,) instantaneous volts at the terminals, without noise and converter."""
        ...

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """(n,) phase of its fundamental in cycles, rising; a rising zero crossing is a whole number."""
        ...

    def steady(self, start_s: float, end_s: float) -> SteadyVoltage | None:
        """The voltage of [start_s, end_s); None: something changes within the span."""
        ...

    def changes(self, start_s: float, end_s: float) -> tuple[float, ...]:
        """Moments within [start_s, end_s), rising, at which a disturbance begins or ends."""
        ...
