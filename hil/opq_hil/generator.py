"""A mains signal with its truth: fundamental, harmonics, noise, DC, events, converter.

Sample k is a function of the seed and k alone: blocks come out the same whatever their size and
order. Made in chunks of one nominal cycle, the last of which is kept.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_hil.events import GridEvent, Recurring, not_before
from opq_hil.grid import FloatArray, Grid

CHUNK_SAMPLES = 200
NOISE_CHUNK_SAMPLES = 2400
"""Seeding a generator costs 20 us, so noise is drawn for longer at once."""
KEPT_CHUNKS = 8
KEPT_S = 60.0
"""How long events that are over stay known to `truth` and `marks`."""


@dataclass(frozen=True, slots=True)
class Harmonic:
    """One harmonic of the steady voltage: sin(order * phase + phase_deg)."""

    order: int
    percent: float
    """Of the fundamental."""
    phase_deg: float = 0.0


@dataclass(frozen=True, slots=True)
class Signal:
    """What one Box sees of the grid, and its converter."""

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

    @property
    def rms_v(self) -> float:
        """True rms without noise: harmonics and DC included."""
        squares = sum((harmonic.percent / 100) ** 2 for harmonic in self.harmonics)
        return math.sqrt(self.fundamental_v**2 * (1 + squares) + self.dc_v**2)

    @property
    def thd(self) -> float:
        """True THD, ratio."""
        return math.sqrt(sum((harmonic.percent / 100) ** 2 for harmonic in self.harmonics))


@dataclass(frozen=True, slots=True)
class Truth:
    """What was put in: (n,) arrays for n samples."""

    phase_cycles: FloatArray
    frequency_hz: FloatArray
    share: FloatArray
    """Of the steady voltage."""
    volts: FloatArray
    """Before noise and the converter."""


class Generator:
    """Counts of one Box on a grid; a `Source`.

    `add` puts events where nobody has read yet; `recurring` ones come by themselves.
    """

    offset_ns = 0

    def __init__(
        self,
        signal: Signal | None = None,
        grid: Grid | None = None,
        seed: int = 1,
        recurring: tuple[Recurring, ...] = (),
    ) -> None:
        self.signal = signal or Signal()
        self.grid = grid or Grid(self.signal.nominal_hz)
        self.seed = seed
        self._rate_hz = self.signal.rate_millihz / 1000
        self._events: list[GridEvent] = []
        self._marks: list[int] = []  # samples at which events begin to count
        self._recurring = recurring
        self._plays = [0] * len(recurring)  # how many of each are placed
        self._chunks: dict[int, NDArray[np.int16]] = {}
        self._noise: tuple[int, FloatArray] = (-1, np.empty(0))
        self._horizon = 0  # first sample that was never made
        self._looked = 0  # recurring events are placed up to here

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

    def add(self, event: GridEvent) -> GridEvent:
        """Put an event in at the first possible cycle not before its own; returns it as placed."""
        placed = not_before(event, self.grid.cycles_at(self._horizon / self._rate_hz))
        self._put(placed)
        return placed

    def counts(self, first: int, count: int) -> NDArray[np.int16]:
        """(count,) int16 from sample `first` on."""
        parts = []
        for chunk in range(first // CHUNK_SAMPLES, (first + count - 1) // CHUNK_SAMPLES + 1):
            start = chunk * CHUNK_SAMPLES
            counts = self._chunk(chunk)
            parts.append(counts[max(0, first - start) : first + count - start])
        return np.concatenate(parts) if parts else np.empty(0, np.int16)

    def truth(self, first: int, count: int) -> Truth:
        """What samples first .. first + count - 1 were made of."""
        t_s = np.arange(first, first + count) / self._rate_hz
        cycles = self.grid.cycles(t_s)
        share = np.ones(count)
        for event in self._during(cycles):
            share *= event.share(cycles)
        return Truth(cycles, self.grid.hz(t_s), share, self._volts(cycles))

    def marks(self, first: int, count: int) -> tuple[int, ...]:
        """Samples in the span at which an event begins to count (`GridEvent.mark_cycles`)."""
        return tuple(sorted(mark for mark in self._marks if first <= mark < first + count))

    def _volts(self, cycles: FloatArray) -> FloatArray:
        """(n,) volts without noise at a phase."""
        turn = 2 * math.pi * np.mod(cycles, 1.0)
        volts = np.sin(turn)
        for harmonic in self.signal.harmonics:
            phase = math.radians(harmonic.phase_deg)
            volts += harmonic.percent / 100 * np.sin(harmonic.order * turn + phase)
        volts *= self.signal.fundamental_v * math.sqrt(2)
        for event in self._during(cycles):
            volts *= event.share(cycles)
        volts += self.signal.dc_v
        for event in self._during(cycles):
            if event.impulse:
                volts += self.signal.fundamental_v * event.added(cycles, self.grid.frequency_hz)
        return np.asarray(volts)

    def _during(self, cycles: FloatArray) -> list[GridEvent]:
        return [
            event
            for event in self._events
            if len(cycles) and event.start_cycles <= cycles[-1] and event.stop_cycles >= cycles[0]
        ]

    def _put(self, event: GridEvent) -> None:
        self._events.append(event)
        if event.mark_cycles is None:
            return
        at = event.start_cycles + event.mark_cycles
        low, high = 0, 1 << 42
        while low < high:  # the first sample at or after it
            middle = (low + high) // 2
            if self.grid.cycles_at(middle / self._rate_hz) < at:
                low = middle + 1
            else:
                high = middle
        self._marks.append(low)

    def _chunk(self, chunk: int) -> NDArray[np.int16]:
        if chunk in self._chunks:
            return self._chunks[chunk]
        first = chunk * CHUNK_SAMPLES
        self._look_ahead(first + CHUNK_SAMPLES)
        volts = self._volts(self.grid.cycles(np.arange(first, first + CHUNK_SAMPLES) / self._rate_hz))
        if self.signal.noise_v:
            volts = volts + self.signal.noise_v * self._noise_of(first)
        counts = np.clip(np.rint(volts / self.signal.v_per_lsb), -32768, 32767).astype(np.int16)
        self._chunks[chunk] = counts
        while len(self._chunks) > KEPT_CHUNKS:
            del self._chunks[next(iter(self._chunks))]
        return counts

    def _look_ahead(self, horizon: int) -> None:
        """Place recurring events that may begin before `horizon`, forget those long over."""
        self._horizon = max(self._horizon, horizon)
        if horizon < self._looked:
            return
        self._looked = horizon + round(self._rate_hz)
        soon_s = self._looked / self._rate_hz + 1.0
        for number, recurring in enumerate(self._recurring):
            while recurring.first_s + self._plays[number] * recurring.every_s <= soon_s:
                self._put(recurring.placed(self._plays[number], self.grid))
                self._plays[number] += 1
        past = self.grid.cycles_at(max(0.0, soon_s - KEPT_S))
        self._events = [event for event in self._events if event.stop_cycles > past]
        self._marks = [mark for mark in self._marks if mark > horizon - KEPT_S * self._rate_hz]

    def _noise_of(self, first: int) -> FloatArray:
        chunk, at = divmod(first, NOISE_CHUNK_SAMPLES)
        if self._noise[0] != chunk:
            drawn = np.random.default_rng((self.seed, chunk)).standard_normal(NOISE_CHUNK_SAMPLES)
            self._noise = (chunk, drawn)
        return self._noise[1][at : at + CHUNK_SAMPLES]
