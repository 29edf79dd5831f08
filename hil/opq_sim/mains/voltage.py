"""A mains voltage as one converter sees it, whole or in pieces with stamps and gaps as a Box delivers them.

Everything before noise and converter is a closed form of time. Sample k is a function of the settings, the
seed and k alone: made on a lattice of chunks that begins at sample 0, so that blocks of any size give the
same bits. Four harmonics and noise cost 0.6 ms of CPU per second of signal (1,600 x real time), with
wander 2.3 ms; 49 orders, 1/f noise, jitter, converter and a sag every 0.1 s 4.2 ms.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import SignalPiece
from opq_sim.mains.disturbance import Instants, MainsDisturbance, PlacedDisturbance, place_all
from opq_sim.mains.grid import Grid
from opq_sim.mains.profiles import FloatArray
from opq_sim.mains.sampling import TRUE, Converter, SampleClock, pink, white
from opq_sim.mains.wave import Wave

CHUNK = 4096
"""Samples made at once; all are made on the lattice of such chunks."""
BURST_STREAM = 50
"""Number of the first stream for noise of disturbances."""


@dataclass(frozen=True, slots=True)
class Mains:
    """A voltage from sample 0 on, as one converter sees it.

    Raises:
        ValueError: a rate or frequency that is not positive, a frequency beyond half the rate, a voltage or
            noise that is not a number from 0, DC or a phase that is not a number.
    """

    rate_hz: float = 12_000.0
    grid: Grid = field(default_factory=Grid)
    wave: Wave = field(default_factory=Wave)
    disturbances: tuple[MainsDisturbance, ...] = ()
    noise_v: float = 0.0
    """rms, white."""
    pink_v: float = 0.0
    """rms, 1/f."""
    converter: Converter | None = None
    clock: SampleClock = TRUE
    seed: int = 0
    placed: tuple[PlacedDisturbance, ...] = field(init=False, repr=False, compare=False)
    turned_grid: Grid = field(init=False, repr=False, compare=False)
    """The grid with all changes of the phase by disturbances."""
    _chunks: dict[int, FloatArray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise ValueError(f"rate_hz is {self.rate_hz}; want a positive number")
        if not (math.isfinite(self.grid.frequency_hz) and self.grid.frequency_hz > 0):
            raise ValueError(f"frequency_hz is {self.grid.frequency_hz}; want a positive number")
        if not (0 <= self.noise_v < math.inf and 0 <= self.pink_v < math.inf):
            raise ValueError(f"noise_v is {self.noise_v}, pink_v {self.pink_v}; want numbers from 0")
        if not (0 <= self.wave.fundamental_v < math.inf and math.isfinite(self.wave.dc_v)):
            problem = f"fundamental_v is {self.wave.fundamental_v}, dc_v {self.wave.dc_v}"
            raise ValueError(f"{problem}; want a number from 0, and a number")
        if not math.isfinite(self.grid.phase_cycles):
            raise ValueError(f"phase_cycles is {self.grid.phase_cycles}; want a number")
        if not self.highest_hz < self.rate_hz / 2:
            problem = f"{self.highest_hz:g} Hz at {self.rate_hz:g} samples/s"
            raise ValueError(f"{problem}; want below half of it, or it folds back")
        placed, grid = place_all(self.disturbances, self.grid)
        object.__setattr__(self, "placed", placed)
        object.__setattr__(self, "turned_grid", grid)
        object.__setattr__(self, "_chunks", {})

    @property
    def highest_hz(self) -> float:
        """Highest frequency of harmonics, tones and added volts of disturbances; steps have none."""
        orders = [1, *(harmonic.order for harmonic in self.wave.harmonics)]
        tones_hz = [abs(tone.hz) for tone in self.wave.tones]
        on_top_hz = [each.highest_hz(self.grid.frequency_hz) for each in self.disturbances]
        return max([max(orders) * self.grid.frequency_hz, *tones_hz, *on_top_hz])

    def volts(self, first: int, count: int) -> FloatArray:
        """(count,) float64, volts from sample `first` on: the converter's counts, times its v_per_lsb.

        Without a converter: with noise, but neither rounded nor clipped.
        """
        parts = [np.empty(0)]
        for chunk in range(first // CHUNK, (first + count - 1) // CHUNK + 1):
            start = chunk * CHUNK
            parts.append(self._chunk(chunk)[max(0, first - start) : first + count - start])
        return np.concatenate(parts)

    def counts(self, first: int, count: int) -> NDArray[np.int16]:
        """(count,) int16 of the converter.

        Raises:
            ValueError: there is no converter.
        """
        if self.converter is None:
            raise ValueError("these mains have no converter; give one")
        return np.rint(self.volts(first, count) / self.converter.v_per_lsb).astype(np.int16)

    def clean_v(self, t_s: FloatArray) -> FloatArray:
        """(n,) volts at any rising moments, before noise and converter; the closed form."""
        at = Instants(t_s, self.turned_grid.cycles(t_s))
        volts = self.wave.alternating_v(t_s, at.cycles)
        for one in self.placed:
            one.scale(volts, at, self.wave)
        volts += self.wave.dc_v
        for one in self.placed:
            one.add(volts, at, self.wave)
        return volts

    def share(self, t_s: FloatArray) -> FloatArray:
        """(n,) factor of all disturbances on the steady voltage at any rising moments."""
        at = Instants(t_s, self.turned_grid.cycles(t_s))
        total = np.ones(len(t_s))
        for one in self.placed:
            one.scale(total, at, self.wave)
        return total

    def _chunk(self, chunk: int) -> FloatArray:
        if chunk in self._chunks:
            return self._chunks[chunk]
        first = chunk * CHUNK
        t_s = self.clock.t_s(np.arange(first, first + CHUNK, dtype=np.float64), self.rate_hz)
        t_s = t_s + self.clock.jitter_s(self.seed, first, CHUNK)
        volts = self.clean_v(t_s)
        if self.noise_v:
            volts += self.noise_v * white(self.seed, first, CHUNK)
        if self.pink_v:
            volts += self.pink_v * pink(self.seed, first, CHUNK)
        for number, one in enumerate(self.placed):
            burst_v = one.disturbance.noise_v(self.wave)
            if burst_v and (inside := one.during(t_s)) is not None:
                volts[inside] += burst_v * white(self.seed, first, CHUNK, BURST_STREAM + number)[inside]
        if self.converter is not None:
            volts = np.asarray(self.converter.counts(volts) * self.converter.v_per_lsb, dtype=np.float64)
        while len(self._chunks) > 1:
            del self._chunks[next(iter(self._chunks))]
        self._chunks[chunk] = volts
        return volts


def pieces(
    mains: Mains,
    count: int,
    start_ns: int | None = None,
    sizes: Sequence[int] = (2400,),
    first: int = 0,
    measured: bool = True,
) -> Iterator[SignalPiece]:
    """The samples that arrive, of `count` from `first` on.

    Args:
        start_ns: true UTC of sample 0; None: pieces carry no time.
        sizes: of the pieces, repeated; a gap cuts a piece short.
        measured: each piece carries the clock's true rate at its start, as PPS shows it; else the nominal
            rate.
    Returns:
        Counts with their gain if the mains have a converter, else volts.
    Raises:
        ValueError: a size is below 1.
    """
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes are {list(sizes)}; want whole numbers from 1")
    clock, converter = mains.clock, mains.converter
    wanted = cycle(sizes)
    for begin, end in clock.runs(first + count):
        at = max(begin, first)
        while at < end:
            size = min(next(wanted), end - at)
            yield SignalPiece(
                volts=mains.volts(at, size) if converter is None else mains.counts(at, size),
                first_sample=at,
                rate_hz=clock.rate_hz(at, mains.rate_hz) if measured else mains.rate_hz,
                start_ns=None
                if start_ns is None
                else clock.stamp_ns(mains.seed, at, mains.rate_hz, start_ns),
                v_per_lsb=1.0 if converter is None else converter.v_per_lsb,
            )
            at += size
