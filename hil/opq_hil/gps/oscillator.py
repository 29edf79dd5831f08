"""The Box's oscillator: its own seconds against the true ones.

An emulator's virtual time is the time that the Box's oscillator counts. So a bad oscillator is simulated by
moving the world: with +50 ppm a true second takes 1.00005 virtual seconds, and everything outside the chip
(PPS, GPS text, mains) is placed by `virtual_ns`. Nothing here waits or draws random numbers.
"""

from dataclasses import dataclass
from itertools import pairwise

REFERENCE_C = 25.0
"""Temperature at which the oscillator has its offset alone."""


@dataclass(frozen=True, slots=True)
class Oscillator:
    """A TCXO with a constant offset and a straight temperature coefficient."""

    offset_ppb: float = 0.0
    ppb_per_k: float = 0.0
    temperature: tuple[tuple[float, float], ...] = ((0.0, REFERENCE_C),)
    """(true seconds, Celsius), straight lines between, constant before and after."""

    def __post_init__(self) -> None:
        times = [at for at, _ in self.temperature]
        if not times or times != sorted(set(times)):
            raise ValueError("temperature wants points that rise in time, at least one")

    def celsius(self, true_s: float) -> float:
        """Temperature of the oscillator itself."""
        points = self.temperature
        if true_s <= points[0][0]:
            return points[0][1]
        for (at, low), (to, high) in pairwise(points):
            if true_s < to:
                return low + (high - low) * (true_s - at) / (to - at)
        return points[-1][1]

    def ppb(self, true_s: float) -> float:
        """How much too fast it runs, in ppb."""
        return self.offset_ppb + self.ppb_per_k * (self.celsius(true_s) - REFERENCE_C)

    def ahead_ns(self, true_s: float) -> float:
        """Time gained since 0, the integral of `ppb`; exact, because the course is made of straight lines."""
        corners = [0.0, *(at for at, _ in self.temperature if 0 < at < true_s), true_s]
        return sum((self.ppb(at) + self.ppb(to)) / 2 * (to - at) for at, to in pairwise(corners))

    def virtual_ns(self, true_ns: int) -> int:
        """Virtual time at a true time; both are 0 at power-on."""
        return true_ns + round(self.ahead_ns(true_ns / 1e9))

    def true_ns(self, virtual_ns: int) -> int:
        """The inverse, exact to a nanosecond."""
        found = virtual_ns
        for _ in range(4):  # each turn leaves 1e-4 of the error (100 ppm); the first is below 1 s per hour
            found += virtual_ns - self.virtual_ns(found)
        return found
