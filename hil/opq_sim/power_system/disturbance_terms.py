"""The effect of a solved cause on voltages: factors on the fundamental, slip, and added voltages.

    v(t) = sqrt(2) |V0 prod f_k| shape(phase) + sum of the added voltages
    phase = grid + angle(V0 prod f_k) / 2 pi + slip, in cycles

Each term has one course in time, common to all outlets, and one complex size per outlet: a network is
linear, so the effects of one source at two outlets differ only by a factor. All are closed forms or
fixed tables of the time since the term began, so any moment can be computed without earlier ones.
"""

import cmath
import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from opq_sim.mains.profiles import FloatArray, FrequencyProfile

ComplexArray = NDArray[np.complex128]

TAIL_CONSTANTS = 20.0
"""Time constants after which a decay counts as zero: 2e-9, below a microvolt at an outlet."""


MODULATION_STEP_S = 5e-4
"""Sines of 25 Hz between two such steps are off by 1e-7 of themselves at most, (h w)^4 / 384."""
MODULATION_STEPS = 1000
"""Steps that are summed at once: half a second."""
MODULATION_PIECES = 16
"""How many such pieces are kept."""


class TermProfile(Protocol):
    """The course of a term after its begin."""

    @property
    def constant(self) -> bool:
        """True if it is 1 at any time."""
        ...

    def at(self, since_s: FloatArray) -> ComplexArray:
        """(n,) factor on the size per outlet, `since_s` (n,) seconds after it began."""
        ...


@dataclass(frozen=True, slots=True)
class ConstantProfile:
    """Always 1."""

    constant: bool = True

    def at(self, since_s: FloatArray) -> ComplexArray:
        return np.ones(len(since_s), dtype=np.complex128)


@dataclass(frozen=True, slots=True)
class TableProfile:
    """Straight lines between points; before the first and after the last point constant."""

    seconds: FloatArray
    """(m,) rising."""
    values: ComplexArray
    """(m,)."""
    constant: bool = False

    def at(self, since_s: FloatArray) -> ComplexArray:
        real = np.interp(since_s, self.seconds, self.values.real)
        return np.asarray(real + 1j * np.interp(since_s, self.seconds, self.values.imag))


@dataclass(frozen=True, slots=True)
class ModulationProfile:
    """A mean and a sum of sines: the power of a load that fluctuates.

    The sines are summed every `MODULATION_STEP_S`, for all outlets; a moment between two such steps is the
    cubic through both values and slopes.
    """

    mean: float
    hz: FloatArray
    peaks: FloatArray
    starts_rad: FloatArray
    constant: bool = False
    _pieces: dict[int, tuple[FloatArray, FloatArray]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def at(self, since_s: FloatArray) -> ComplexArray:
        steps = np.maximum(since_s, 0.0) / MODULATION_STEP_S
        numbers = np.floor(steps).astype(np.int64)
        total = np.empty(len(since_s))
        pieces = numbers // MODULATION_STEPS
        for piece in np.unique(pieces).tolist():
            here = pieces == piece
            low = numbers[here] - piece * MODULATION_STEPS
            total[here] = _cubic(*self._piece(piece), low, steps[here] - numbers[here])
        return (self.mean + total).astype(np.complex128)

    def _piece(self, piece: int) -> tuple[FloatArray, FloatArray]:
        """Values, and slopes per step, at the steps of a piece and the first of the next."""
        if piece not in self._pieces:
            while len(self._pieces) >= MODULATION_PIECES:
                del self._pieces[next(iter(self._pieces))]
            since_s = MODULATION_STEP_S * (piece * MODULATION_STEPS + np.arange(MODULATION_STEPS + 1))
            turns = np.mod(np.multiply.outer(since_s, self.hz), 1.0) * (2 * math.pi) + self.starts_rad
            slopes = self.peaks * (2 * math.pi * MODULATION_STEP_S) * self.hz
            self._pieces[piece] = (
                np.sum(np.sin(turns) * self.peaks, axis=1),
                np.sum(np.cos(turns) * slopes, axis=1),
            )
        return self._pieces[piece]


def _cubic(values: FloatArray, slopes: FloatArray, low: NDArray[np.int64], part: FloatArray) -> FloatArray:
    """(n,) Hermite's cubic `part` of a step after the steps `low`."""
    begin, end = values[low], values[low + 1]
    into, out = slopes[low], slopes[low + 1]
    rise = end - begin
    bend = 3 * rise - 2 * into - out + part * (into + out - 2 * rise)
    return np.asarray(begin + part * (into + part * bend))


@dataclass(frozen=True, slots=True)
class KeyedProfile:
    """A telegram: 1 during the ones of `bits`, else 0; IEC 61000-2-2:2002, 4.10 has the allowed levels."""

    bits: str
    bit_s: float
    constant: bool = False

    def at(self, since_s: FloatArray) -> ComplexArray:
        number = np.floor(since_s / self.bit_s + 1e-9).astype(np.int64)
        on = np.array([bit == "1" for bit in self.bits] + [False])
        return on[np.clip(number, 0, len(self.bits))].astype(np.complex128)


CONSTANT = ConstantProfile()


@dataclass(frozen=True, slots=True)
class FundamentalTerm:
    """A factor 1 + changes * course on the fundamental of each outlet."""

    start_s: float
    end_s: float
    changes: ComplexArray
    """(outlets,) relative to the voltage there before."""
    profile: TermProfile = CONSTANT

    def affects(self, index: int) -> bool:
        """True if it changes the voltage of an outlet."""
        return bool(self.changes[index] != 0)

    def factor(self, since_s: FloatArray, index: int) -> ComplexArray:
        """(n,) factor on the voltage of an outlet."""
        return np.asarray(1 + self.changes[index] * self.profile.at(since_s))


@dataclass(frozen=True, slots=True)
class SlipTerm:
    """A part of the network at its own frequency: cycles gained against the grid."""

    start_s: float
    end_s: float
    profile: FrequencyProfile
    """The frequency by seconds since the begin."""
    outlets: NDArray[np.bool_]
    """(outlets,) True for outlets in that part."""
    back_deg: float = 0.0
    """Jump of the phase at the end, if it ends."""

    @property
    def whole_system(self) -> bool:
        """True if every outlet is in that part."""
        return bool(self.outlets.all())

    def affects(self, index: int) -> bool:
        """True if an outlet is in that part."""
        return bool(self.outlets[index])

    def cycles(self, since_s: FloatArray) -> FloatArray:
        """(n,) cycles gained."""
        return self.profile.cycles(since_s)


class AddedTerm(Protocol):
    """Volts added to the fundamental."""

    @property
    def start_s(self) -> float: ...

    @property
    def end_s(self) -> float: ...

    def affects(self, index: int) -> bool:
        """True if it changes the voltage of an outlet."""
        ...

    def volts_at(self, since_s: FloatArray, grid: FloatArray, index: int) -> FloatArray:
        """(n,) instantaneous volts at an outlet, `since_s` after it began, at the grid's phase in cycles."""
        ...


@dataclass(frozen=True, slots=True)
class HarmonicTerm:
    """An added harmonic: sqrt(2) Im(volts course exp(2 pi j order cycles)).

    The cycles are those of the grid there, with what it has slipped. Order 0 is a direct voltage:
    Re(volts course).
    """

    start_s: float
    end_s: float
    order: int
    volts: ComplexArray
    """(outlets,) rms."""
    profile: TermProfile = CONSTANT

    def affects(self, index: int) -> bool:
        return bool(self.volts[index] != 0)

    def volts_at(self, since_s: FloatArray, grid: FloatArray, index: int) -> FloatArray:
        sized = self.volts[index] * self.profile.at(since_s)
        if self.order == 0:
            return np.asarray(sized.real)
        turn = np.exp(2j * math.pi * np.mod(self.order * grid, 1.0))
        return np.asarray(math.sqrt(2) * (sized * turn).imag)


@dataclass(frozen=True, slots=True)
class ToneTerm:
    """An added tone with its own frequency: sqrt(2) Im(volts course exp(2 pi j hz t)), t since it began."""

    start_s: float
    end_s: float
    hz: float
    volts: ComplexArray
    """(outlets,) rms."""
    profile: TermProfile = CONSTANT

    def affects(self, index: int) -> bool:
        return bool(self.volts[index] != 0)

    def volts_at(self, since_s: FloatArray, grid: FloatArray, index: int) -> FloatArray:
        turn = np.exp(2j * math.pi * np.mod(self.hz * since_s, 1.0))
        return np.asarray(math.sqrt(2) * (self.volts[index] * self.profile.at(since_s) * turn).imag)


@dataclass(frozen=True, slots=True)
class RingingTerm:
    """A damped oscillation: Im(volts exp((-1 / decay_s + 2 pi j hz) t)), t since it began."""

    start_s: float
    hz: float
    decay_s: float
    volts: ComplexArray
    """(outlets,) peak."""

    @property
    def end_s(self) -> float:
        return self.start_s + TAIL_CONSTANTS * self.decay_s

    def affects(self, index: int) -> bool:
        return bool(self.volts[index] != 0)

    def peak_v(self, index: int) -> float:
        """Its largest absolute value: at once, or at its first crest, reduced by the decay."""
        volts, speed = complex(self.volts[index]), -1 / self.decay_s + 2j * math.pi * self.hz
        crest_s = (-cmath.phase(volts * speed) % math.pi) / (2 * math.pi * self.hz)
        return max(abs(volts.imag), abs((volts * cmath.exp(speed * crest_s)).imag))

    def volts_at(self, since_s: FloatArray, grid: FloatArray, index: int) -> FloatArray:
        speed = -1 / self.decay_s + 2j * math.pi * self.hz
        return np.asarray((self.volts[index] * np.exp(speed * since_s)).imag)


@dataclass(frozen=True, slots=True)
class ImpulseTerm:
    """A surge of two exponentials whose largest value is `volts`; rise_s below decay_s (time constants).

    Source: the double exponential of IEC 60060-1:2010, annex B.
    """

    start_s: float
    rise_s: float
    decay_s: float
    volts: FloatArray
    """(outlets,) peak, with sign."""

    @property
    def end_s(self) -> float:
        return self.start_s + TAIL_CONSTANTS * self.decay_s

    @property
    def top(self) -> float:
        """Largest value of exp(-t / decay_s) - exp(-t / rise_s)."""
        rise, decay = self.rise_s, self.decay_s
        top_s = math.log(decay / rise) * rise * decay / (decay - rise)
        return math.exp(-top_s / decay) - math.exp(-top_s / rise)

    def affects(self, index: int) -> bool:
        return bool(self.volts[index] != 0)

    def volts_at(self, since_s: FloatArray, grid: FloatArray, index: int) -> FloatArray:
        since = np.maximum(since_s, 0.0)
        surge = np.exp(-since / self.decay_s) - np.exp(-since / self.rise_s)
        return np.asarray(self.volts[index] / self.top * surge)


@dataclass(frozen=True, slots=True)
class DisturbanceTerms:
    """All terms of one disturbance; times are those at its place, an outlet sees them `delays_s` later."""

    start_s: float
    delays_s: FloatArray
    """(outlets,) from its place to each outlet."""
    fundamental: tuple[FundamentalTerm, ...] = ()
    slips: tuple[SlipTerm, ...] = ()
    added: tuple[AddedTerm, ...] = ()
    last_s: float = field(init=False)
    """End of its last term at the furthest outlet; inf: never."""

    def __post_init__(self) -> None:
        ends = [self.start_s, *(term.end_s for term in self.terms)]
        object.__setattr__(self, "last_s", max(ends) + float(self.delays_s.max(initial=0.0)))

    @property
    def terms(self) -> tuple[FundamentalTerm | SlipTerm | AddedTerm, ...]:
        """All terms."""
        return (*self.fundamental, *self.slips, *self.added)

    def moments_s(self, index: int) -> tuple[float, ...]:
        """Finite moments at an outlet at which one of its terms begins or ends, rising, each once."""
        delay_s = float(self.delays_s[index])
        found: set[float] = set()
        for term in self.terms:
            if term.affects(index):
                found |= {term.start_s + delay_s, term.end_s + delay_s}
        return tuple(sorted(moment for moment in found if math.isfinite(moment)))
