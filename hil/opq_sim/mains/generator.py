"""A mains signal with its truth: fundamental, harmonics, noise, DC, events, converter; made while it is read.

Sample k is a function of the seed and k alone: blocks are the same whatever their size and
order. Made in chunks of one nominal cycle, the last of which is stored. `opq_sim.mains` makes whole signals
with all their truth; both use the same parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from opq_sim.mains.agenda import Agenda
from opq_sim.mains.disturbance import Instants, MainsDisturbance, PlacedDisturbance
from opq_sim.mains.grid import FloatArray, Grid
from opq_sim.mains.grid_events import GridEvent, Recurring
from opq_sim.mains.wave import Harmonic, MainsTone, Wave, powers_of, turn_of

KEPT_BASES = 16
"""Number of stored chunks: a second of samples with two sets of orders, 200 kB each."""


@dataclass(frozen=True, slots=True)
class PhaseBasis:
    """Sine and cosine of every order for (n,) samples, shared by all Boxes of a grid that sample alike.

    They are most of a sample's cost; the Boxes differ only by size and angle of their harmonics. The
    bits are those of `Wave.alternating_v` (test_hil_generator.py).
    """

    sine: FloatArray
    """(n,) of the fundamental."""
    powers: tuple[tuple[FloatArray, FloatArray], ...]
    """Sine and cosine of each order, (n,)."""

    def shape(self, ratios: Sequence[complex], at: slice) -> FloatArray:
        """Samples `at` of fundamental and harmonics, in shares of the fundamental's peak.

        Args:
            ratios: of each order to the fundamental, as `Harmonic.ratio`.
        """
        total = self.sine[at].copy()
        one, other = np.empty_like(total), np.empty_like(total)
        for ratio, (sine, cosine) in zip(ratios, self.powers, strict=True):
            np.multiply(sine[at], ratio.real, out=one)
            np.multiply(cosine[at], ratio.imag, out=other)
            one += other
            total += one
        return total


@lru_cache(maxsize=KEPT_BASES)
def phase_basis(grid: Grid, rate_hz: float, first: int, count: int, orders: tuple[int, ...]) -> PhaseBasis:
    """The basis for samples `first` and on; `orders` rise."""
    turn = turn_of(grid.cycles(np.arange(first, first + count) / rate_hz))
    powers = tuple((power.imag.copy(), power.real.copy()) for power in powers_of(turn, orders))
    return PhaseBasis(np.sin(turn), powers)


__all__ = ["Generator", "Harmonic", "MadeSamples", "MainsSignal"]

CHUNK_SAMPLES = 200
NOISE_CHUNK_SAMPLES = 2400
"""Noise is drawn for longer spans at once, because seeding a generator costs 20 us."""
KEPT_CHUNKS = 8


@dataclass(frozen=True, slots=True)
class MainsSignal:
    """The steady voltage at one Box, and its converter."""

    fundamental_v: float = 120.0
    """rms."""
    harmonics: tuple[Harmonic, ...] = ()
    dc_v: float = 0.0
    noise_v: float = 0.01
    """rms, white."""
    v_per_lsb: float = 0.0068
    rate_millihz: int = 12_000_000
    nominal_v: float = 120.0
    nominal_hz: float = 60.0
    effective_bits: float = 15.0
    tones: tuple[MainsTone, ...] = ()

    @property
    def wave(self) -> Wave:
        """The steady voltage."""
        return Wave(self.fundamental_v, self.harmonics, self.tones, self.dc_v)

    @property
    def rms_v(self) -> float:
        """True rms without noise: harmonics, tones and DC included."""
        return self.wave.rms_v

    @property
    def thd(self) -> float:
        """True THD, ratio."""
        return self.wave.thd


@dataclass(frozen=True, slots=True)
class MadeSamples:
    """Components of samples: (n,) arrays for n samples."""

    phase_cycles: FloatArray
    frequency_hz: FloatArray
    share: FloatArray
    """Relative to the steady voltage."""
    volts: FloatArray
    """Before noise and the converter."""


class Generator:
    """Counts of one Box on a grid; a `Source`.

    `add` places events where nothing has been read yet; `recurring` ones come by themselves.
    """

    offset_ns = 0

    def __init__(
        self,
        signal: MainsSignal | None = None,
        grid: Grid | None = None,
        seed: int = 1,
        recurring: tuple[Recurring, ...] = (),
    ) -> None:
        self.signal = signal or MainsSignal()
        self.grid = grid or Grid(self.signal.nominal_hz)
        self.seed = seed
        self._wave = self.signal.wave
        harmonics = sorted(self._wave.harmonics, key=lambda harmonic: harmonic.order)
        self._orders = tuple(harmonic.order for harmonic in harmonics)
        self._ratios = [harmonic.ratio for harmonic in harmonics]
        self._rate_hz = self.signal.rate_millihz / 1000
        self._agenda = Agenda(self.grid, self._rate_hz, recurring)
        self._chunks: dict[int, NDArray[np.int16]] = {}
        self._noise: tuple[int, FloatArray] = (-1, np.empty(0))
        self._horizon = 0  # first sample that was never made

    @property
    def rate_millihz(self) -> int:
        return self.signal.rate_millihz

    @property
    def v_per_lsb(self) -> float:
        return self.signal.v_per_lsb

    @property
    def nominal_v(self) -> float:
        return self.signal.nominal_v

    @property
    def nominal_hz(self) -> float:
        return self.signal.nominal_hz

    @property
    def effective_bits(self) -> float:
        return self.signal.effective_bits

    def add(self, event: GridEvent | MainsDisturbance) -> GridEvent | PlacedDisturbance:
        """Adds an event at the first possible cycle not before its own; returns it as placed."""
        return self._agenda.add(event, self._horizon)

    def counts(self, first: int, count: int) -> NDArray[np.int16]:
        """(count,) int16 from sample `first` on."""
        if count > CHUNK_SAMPLES and self._agenda.is_empty:
            return self._undisturbed(first, count)
        parts = []
        for chunk in range(first // CHUNK_SAMPLES, (first + count - 1) // CHUNK_SAMPLES + 1):
            start = chunk * CHUNK_SAMPLES
            counts = self._chunk(chunk)
            parts.append(counts[max(0, first - start) : first + count - start])
        return np.concatenate(parts) if parts else np.empty(0, np.int16)

    def truth(self, first: int, count: int) -> MadeSamples:
        """The components of samples first .. first + count - 1."""
        t_s = np.arange(first, first + count) / self._rate_hz
        at = Instants(t_s, self._agenda.own.cycles(t_s))
        share = np.ones(count)
        self._scale(share, at)
        return MadeSamples(at.cycles, self._agenda.own.hz(t_s), share, self._volts(t_s))

    def marks(self, first: int, count: int) -> tuple[int, ...]:
        """Samples in the span at which an event begins to count (`GridEvent.mark_cycles`)."""
        return self._agenda.marks(first, count)

    def _volts(self, t_s: FloatArray) -> FloatArray:
        """(n,) volts without noise at rising moments."""
        agenda, wave = self._agenda, self._wave
        at = Instants(t_s, agenda.own.cycles(t_s))
        volts = wave.alternating_v(t_s, at.cycles)
        self._scale(volts, at)
        volts += wave.dc_v
        if any(event.impulse for event in agenda.events):
            cycles = self.grid.cycles(t_s)
            for event in agenda.events_during(cycles):
                if event.impulse:
                    volts += wave.fundamental_v * event.added(cycles, self.grid.frequency_hz)
        for one in agenda.placed:
            one.add(volts, at, wave)
        return volts

    def _scale(self, volts: FloatArray, at: Instants) -> None:
        """Multiply by the shares of all events, in place."""
        agenda = self._agenda
        if agenda.events:
            cycles = at.cycles if agenda.own is self.grid else self.grid.cycles(at.t_s)
            for event in agenda.events_during(cycles):
                volts *= event.share(cycles)
        for one in agenda.placed:
            one.scale(volts, at, self._wave)

    def _noise_v(self, t_s: FloatArray) -> FloatArray | float:
        """rms of the noise at moments, with that of disturbances."""
        square: FloatArray | float = self.signal.noise_v**2
        for one in self._agenda.placed:
            burst_v = one.disturbance.noise_v(self._wave)
            if burst_v and (inside := one.during(t_s)) is not None:
                square = square + np.where(inside, burst_v**2, 0.0)
        return np.sqrt(square)

    def _undisturbed(self, first: int, count: int) -> NDArray[np.int16]:
        """The same bits as by chunks, made in long pieces by the phase that all Boxes of the grid share."""
        end, noise_v = first + count, self.signal.noise_v
        self._horizon = max(self._horizon, -(-end // CHUNK_SAMPLES) * CHUNK_SAMPLES)
        found = np.empty(count, np.int16)
        at = first
        while at < end:
            chunk, into = divmod(at, NOISE_CHUNK_SAMPLES)
            stop = min(end, at - into + NOISE_CHUNK_SAMPLES)
            volts = self._steady_v(chunk, slice(into, into + stop - at))
            if noise_v:
                volts += noise_v * self._noise_of(at, stop - at)
            found[at - first : stop - first] = self._read(volts)
            at = stop
        return found

    def _steady_v(self, chunk: int, at: slice) -> FloatArray:
        """(n,) volts without noise for some samples of an undisturbed chunk."""
        first, wave = chunk * NOISE_CHUNK_SAMPLES, self._wave
        if wave.tones:
            return self._volts(np.arange(first + at.start, first + at.stop) / self._rate_hz)
        basis = phase_basis(self._agenda.own, self._rate_hz, first, NOISE_CHUNK_SAMPLES, self._orders)
        volts = basis.shape(self._ratios, at)
        volts *= wave.peak_v
        volts += wave.dc_v
        return volts

    def _read(self, volts: FloatArray) -> FloatArray:
        """The converter's counts; overwrites `volts`."""
        volts /= self.signal.v_per_lsb
        np.rint(volts, out=volts)
        np.minimum(volts, 32767.0, out=volts)
        return np.maximum(volts, -32768.0, out=volts)

    def _chunk(self, chunk: int) -> NDArray[np.int16]:
        if chunk in self._chunks:
            return self._chunks[chunk]
        first = chunk * CHUNK_SAMPLES
        self._horizon = max(self._horizon, first + CHUNK_SAMPLES)
        self._agenda.plan_until(first + CHUNK_SAMPLES)
        t_s = np.arange(first, first + CHUNK_SAMPLES) / self._rate_hz
        volts = self._volts(t_s)
        noise_v = self._noise_v(t_s)
        if np.any(noise_v):
            volts += noise_v * self._noise_of(first)
        counts = self._read(volts).astype(np.int16)
        self._chunks[chunk] = counts
        while len(self._chunks) > KEPT_CHUNKS:
            del self._chunks[next(iter(self._chunks))]
        return counts

    def _noise_of(self, first: int, count: int = CHUNK_SAMPLES) -> FloatArray:
        chunk, at = divmod(first, NOISE_CHUNK_SAMPLES)
        if self._noise[0] != chunk:
            drawn = np.random.default_rng((self.seed, chunk)).standard_normal(NOISE_CHUNK_SAMPLES)
            self._noise = (chunk, drawn)
        return self._noise[1][at : at + count]
