"""The converter: gain and offset error, quantisation, clipping."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_hil.courses import FloatArray


@dataclass(frozen=True, slots=True)
class Converter:
    """A converter of `bits` that holds `full_scale_v` either side; what is beyond is clipped."""

    bits: int = 16
    full_scale_v: float = 400.0
    gain_error: float = 0.0
    """Relative: 0.001 reads 0.1 % too high."""
    offset_v: float = 0.0

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise ValueError(f"bits is {self.bits}; want 2 to 16")
        if not (math.isfinite(self.full_scale_v) and self.full_scale_v > 0):
            raise ValueError(f"full_scale_v is {self.full_scale_v}; want a positive number")

    @property
    def v_per_lsb(self) -> float:
        return self.full_scale_v / (1 << (self.bits - 1))

    @property
    def noise_v(self) -> float:
        """rms of the quantisation, for a signal that moves over many steps."""
        return self.v_per_lsb / math.sqrt(12)

    def counts(self, volts: FloatArray) -> NDArray[np.int16]:
        """(n,) what is read, `bits` wide in int16."""
        most = 1 << (self.bits - 1)
        read = np.rint((volts * (1 + self.gain_error) + self.offset_v) / self.v_per_lsb)
        return np.clip(read, -most, most - 1).astype(np.int16)
