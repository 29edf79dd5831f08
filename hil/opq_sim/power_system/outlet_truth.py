"""The expected findings of a Box in a disturbance: its class, residual, phase jump and arrival at one outlet.

Computed from the terms alone, whatever the cause: the residual is the lowest (of a rise: the highest) rms of
any one cycle of the disturbance's own factor on the fundamental. Limits are those of contracts and
`opq_measure`.
"""

import cmath
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from opq_measure.flicker.lamps import lamp_for
from opq_sim.mains.profiles import FloatArray
from opq_sim.power_system.disturbance_terms import (
    ComplexArray,
    DisturbanceTerms,
    FundamentalTerm,
    HarmonicTerm,
    ImpulseTerm,
    ModulationProfile,
    RingingTerm,
    SlipTerm,
    ToneTerm,
)

SAG_PU = 0.9
"""A lower rms is a sag: IEC 61000-4-30:2015, 5.4."""
SWELL_PU = 1.1
"""A higher rms is a swell: the same clause."""
INTERRUPTION_PU = 0.1
"""A lower rms is an interruption: IEEE 1159-2019, table 2."""
RAPID_CHANGE_PU = 0.05
"""Change between steady states within the limits above; IEC 61000-4-30:2015, 5.11."""
CHANGE_MARGIN = 0.0005
"""A change is so much beyond it: harmonics that were there before change the rms that a Box measures."""
INRUSH_S = 0.5
"""Part of an inrush in which its largest change is searched."""
STEPS_OF_WAVE = 128
"""Steps per cycle of that search."""
STEADY_S = 1.0
"""A state that lasts this long is steady: the steps of a tap changer each count alone."""
LASTING_S = 60.0
"""Longer: undervoltage, overvoltage; IEEE 1159-2019, table 2."""
TRANSIENT_PU = 0.05
"""Share of the nominal peak; `opq_measure.waveform.transients.MIN_PU`."""
JUMP_DEG = 6.0
"""`opq_measure.analysis.sudden.MIN_JUMP_DEGREES`."""
THD_PU = 0.08
"""IEC 61000-2-2:2002, 4.6."""
MIN_THD_S = 3.0
SIGNAL_PU = 0.003
"""The lowest level that a meter must find; IEC 61000-4-30:2015, 5.10."""
DEVIATION_SHARE = 0.01
"""Share of nominal frequency; EN 50160:2010, 4.2.1."""
DEVIATION_BACK_SHARE = 0.9
"""A deviation ends where it stays below this share of the limit."""
DEVIATION_S = 1.2
"""How long it has to stay there: the second of `opq_measure`'s conditions, wherever its windows of a fifth
of a second lie."""
PASSING_STEPS = 5000
"""Steps of 10 us in which the passing of the limit is searched."""
PST = 1.0
DEAD_PU = 1e-3
EXAMINED_S = 120.0
"""Span in which the frequency is searched for the passing of its limit."""
EXAMINED_STEP_S = 0.05
"""Step of that search."""
STEPS_PER_CYCLE = 16
PST_OF_PINST = 0.714
"""Pst of a steady Pinst of 1: sqrt(0.5096); IEC 61000-4-15:2010, 5.7."""

Energy = tuple[FloatArray, FloatArray]
"""Moments, and the integral of the square of the voltage until then; 1 in each second before."""


@dataclass(frozen=True, slots=True)
class OutletTruth:
    """One Box's part of a disturbance."""

    kind: str
    """A class of the contract, or several joined by `+`."""
    residual_pu: float | None
    """Residual voltage relative to nominal; None: the class has none."""
    phase_jump_deg: float
    """Jump of the fundamental's phase at the begin; positive: ahead."""
    arrival_s: float
    """When the first part that its class names begins here: the first moment at which the voltage differs
    from the undisturbed one; for a slow dip or swell and for a frequency, the moment at which it passes its
    limit. For an island that only jumps: when it is closed again. For a phase that only the breaker makes
    dead: when that opens."""
    downstream: bool
    """True if it is fed through the place of the cause."""


@dataclass(frozen=True, slots=True)
class FrequencyDeviation:
    """A slip by which the frequency passes its limit at `at_s`, at the place of its cause."""

    slip: SlipTerm
    at_s: float


def outlet_truth(
    terms: DisturbanceTerms,
    index: int,
    before_v: complex,
    nominal_v: float,
    hz: float,
    downstream: bool,
    deviations: Sequence[FrequencyDeviation] = (),
    cycles: float = 0.0,
) -> OutletTruth | None:
    """The effect of a disturbance at an outlet; None: nothing that a Box would report.

    Args:
        before_v, nominal_v: rms at the outlet before, with its angle, and declared.
        hz: nominal frequency.
        deviations: of its slips.
        cycles: of the grid when the disturbance begins there.
    """
    moments_s, before_pu = terms.moments_s(index), abs(before_v) / nominal_v
    if not moments_s or before_pu < DEAD_PU:
        return None
    profile = _Factors.of(terms, index, nominal_v, hz)
    kinds = set[str]()
    residual_pu, beyond_s = None, 0.0
    if len(profile.factors):
        least, most = profile.extremes(hz)
        residual_pu = before_pu * (least if 1 - least >= most - 1 else most)
        sag_pu, swell_pu = _limits_pu(before_pu)
        kind = _rms_kind(residual_pu, sag_pu, swell_pu, profile.longest_beyond_s(before_pu, sag_pu, swell_pu))
        beyond_s = profile.beyond_after_s(before_pu, sag_pu, swell_pu)
        if kind is None:
            turn = cycles + cmath.phase(before_v) / (2 * math.pi)
            seen = profile.seen_change(hz, turn, _energy_of_wave(terms, index, before_v, hz, cycles))
            kind, residual_pu = _change_kind(profile, before_pu, seen), None
        if kind:
            kinds.add(kind)
    jump_deg = profile.jump_deg
    if residual_pu is None and abs(jump_deg) >= JUMP_DEG:
        kinds.add("phase_jump")
    added = _added_kinds(terms, index, nominal_v, hz)
    passes = [each.at_s + float(terms.delays_s[index]) for each in deviations if each.slip.affects(index)]
    begins_s = list(passes)
    if residual_pu is not None:
        begins_s.append(moments_s[0] + beyond_s)
    if added or (kinds and residual_pu is None) or abs(jump_deg) >= JUMP_DEG:
        begins_s.append(moments_s[0])
    kinds |= added | ({"frequency_deviation"} if passes else set())
    arrival_s, back_s = min(begins_s, default=moments_s[0]), _jump_back_s(terms, index)
    if back_s is not None:
        arrival_s = arrival_s if kinds else back_s
        kinds.add("phase_jump")
    if not kinds:
        return None
    return OutletTruth("+".join(sorted(kinds)), residual_pu, jump_deg, arrival_s, downstream)


def _jump_back_s(terms: DisturbanceTerms, index: int) -> float | None:
    """When an outlet's phase first jumps because its part of the network is closed out of phase."""
    ends_s = [slip.end_s for slip in terms.slips if slip.affects(index) and abs(slip.back_deg) >= JUMP_DEG]
    return min(ends_s) + float(terms.delays_s[index]) if ends_s else None


def _limits_pu(before_pu: float) -> tuple[float, float]:
    """Limits below which it is a sag and above which it is a swell, relative to nominal.

    If the voltage was beyond one of the limits before, this disturbance did not cause that state. It then
    counts only if it changes the earlier voltage by as much (sliding reference; IEC 61000-4-30:2015, 5.4.1).
    """
    sag_pu = SAG_PU * before_pu if before_pu < SAG_PU else SAG_PU
    swell_pu = SWELL_PU * before_pu if before_pu > SWELL_PU else SWELL_PU
    return sag_pu, swell_pu


def _rms_kind(residual_pu: float, sag_pu: float, swell_pu: float, seconds: float) -> str | None:
    if residual_pu < INTERRUPTION_PU:
        return "interruption"
    if residual_pu < sag_pu:
        return "undervoltage" if seconds > LASTING_S else "sag"
    if residual_pu > swell_pu:
        return "overvoltage" if seconds > LASTING_S else "swell"
    return None


def _change_kind(profile: "_Factors", before_pu: float, seen: float) -> str | None:
    """`seen`: the change that a Box sees, relative to the voltage before."""
    if profile.pst >= PST:
        return "flicker"
    change = min(profile.largest_step(), seen)
    return "rapid_voltage_change" if before_pu * change >= RAPID_CHANGE_PU + CHANGE_MARGIN else None


def _added_kinds(terms: DisturbanceTerms, index: int, nominal_v: float, hz: float) -> set[str]:
    """Classes of the added voltages."""
    kinds: set[str] = set()
    distortion_v2 = 0.0
    for term in terms.added:
        if not term.affects(index):
            continue
        if isinstance(term, RingingTerm) and term.peak_v(index) >= TRANSIENT_PU * math.sqrt(2) * nominal_v:
            kinds.add("oscillatory_transient")
        elif (
            isinstance(term, ImpulseTerm)
            and abs(term.volts[index]) >= TRANSIENT_PU * math.sqrt(2) * nominal_v
        ):
            kinds.add("impulsive_transient")
        elif isinstance(term, ToneTerm) and abs(term.volts[index]) >= SIGNAL_PU * nominal_v:
            kinds.add("mains_signalling")
        elif (
            isinstance(term, HarmonicTerm)
            and term.profile.constant
            and term.end_s - term.start_s >= MIN_THD_S
        ):
            distortion_v2 += abs(term.volts[index]) ** 2 if term.order > 1 else 0.0
    if math.sqrt(distortion_v2) >= THD_PU * nominal_v:
        kinds.add("harmonics")
    return kinds


def frequency_deviations(
    slips: Sequence[SlipTerm], hz: float, hz_in: Callable[[SlipTerm, FloatArray], FloatArray]
) -> tuple[FrequencyDeviation, ...]:
    """The slips that take the frequency across the limit for long enough.

    Args:
        hz_in: frequency of a slip's part of the network at moments, with all that moves it.
    """
    found = ((slip, _passes_limit_s(slip, hz, hz_in)) for slip in slips)
    return tuple(FrequencyDeviation(slip, at_s) for slip, at_s in found if at_s is not None)


def _passes_limit_s(
    slip: SlipTerm, hz: float, hz_in: Callable[[SlipTerm, FloatArray], FloatArray]
) -> float | None:
    def off(at_s: FloatArray) -> FloatArray:
        return np.asarray(np.abs(hz_in(slip, at_s) - hz) / (DEVIATION_SHARE * hz))

    at_s = slip.start_s + np.arange(0.0, min(slip.end_s - slip.start_s, EXAMINED_S), EXAMINED_STEP_S)
    seen = off(at_s)
    first = int(np.argmax(seen >= 1.0))
    if not len(seen) or seen[first] < 1.0:
        return None
    back = np.flatnonzero(seen[first:] < DEVIATION_BACK_SHARE)
    last = int(back[0]) if len(back) else len(seen) - first
    if last * EXAMINED_STEP_S < DEVIATION_S:
        return None
    fine_s = np.linspace(at_s[max(0, first - 1)], at_s[first], PASSING_STEPS + 1)
    return float(fine_s[int(np.argmax(off(fine_s) >= 1.0))])


@dataclass(frozen=True, slots=True)
class _Factors:
    """A disturbance's own factor on the fundamental at one outlet, in steps of `STEPS_PER_CYCLE`."""

    factors: ComplexArray
    seconds: FloatArray
    """Duration of each step."""
    pst: float

    @classmethod
    def of(cls, terms: DisturbanceTerms, index: int, nominal_v: float, hz: float) -> "_Factors":
        factors = [term for term in terms.fundamental if term.affects(index)]
        pst = sum(_pst(term, index, nominal_v, hz) for term in factors)
        moments_s = sorted({moment for term in factors for moment in (term.start_s, term.end_s)})
        step_s = 1 / (STEPS_PER_CYCLE * hz)
        parts: list[ComplexArray] = []
        lengths: list[FloatArray] = []
        for begin_s, end_s in pairwise(moments_s):
            inside = [term for term in factors if term.start_s <= begin_s and term.end_s >= end_s]
            length_s = end_s - begin_s
            if all(term.profile.constant for term in inside):
                count = (
                    min(2 * STEPS_PER_CYCLE, max(1, round(length_s / step_s))) if length_s < math.inf else 1
                )
            else:
                count = max(1, min(round(length_s / step_s), 20_000))
            each_s = length_s / count
            spread_s = each_s if math.isfinite(each_s) else 0.0
            at_s = np.asarray(begin_s + (np.arange(count) + 0.5) * spread_s, dtype=np.float64)
            product = np.ones(count, dtype=np.complex128)
            for term in inside:
                product = product * term.factor(at_s - term.start_s, index)
            parts.append(product)
            lengths.append(np.full(count, each_s))
        if not parts:
            return cls(np.empty(0, np.complex128), np.empty(0), pst)
        return cls(np.concatenate(parts), np.concatenate(lengths), pst)

    def extremes(self, hz: float) -> tuple[float, float]:
        """Minimum and maximum rms of any one cycle, relative to the voltage before."""
        energy = self._energy(hz)
        rms = _cycle_rms(energy[0][energy[0] >= 1 / hz], energy, hz)
        return float(rms.min()), float(rms.max())

    def seen_change(self, hz: float, turn: float, energy: Energy | None = None) -> float:
        """The largest distance of a Urms(1/2) from the mean of a second that holds it and the one before.

        Args:
            turn: cycles of the fundamental at the begin; the half cycles of a Box begin where it is zero.
            energy: of the whole wave; None: of the fundamental alone.
        """
        energy = energy or self._energy(hz)
        first_s = 1 / hz + (math.ceil(2 * turn) - 2 * turn) / (2 * hz)
        off = _cycle_rms(np.arange(first_s, energy[0][-1], 1 / (2 * hz)), energy, hz) - 1
        own = np.convolve(off, (1.0, 1.0))[: len(off)] / (2 * hz)
        return float(np.abs(off - own).max(initial=0.0))

    def _energy(self, hz: float) -> Energy:
        """With a cycle before, and one after; long steps cut."""
        cycle_s = 1 / hz
        squares = np.concatenate(([1.0], np.abs(self.factors) ** 2, [1.0]))
        ends_s = np.concatenate(([cycle_s], cycle_s + np.cumsum(np.minimum(self.seconds, 10 * cycle_s))))
        ends_s = np.append(ends_s, ends_s[-1] + cycle_s)
        energy = np.concatenate(([0.0], np.cumsum(squares * np.diff(ends_s, prepend=0.0))))
        return np.concatenate(([0.0], ends_s)), energy

    def longest_beyond_s(self, before_pu: float, sag_pu: float, swell_pu: float) -> float:
        """Longest time in a row below or above the limits of sag and swell."""
        sizes = before_pu * np.abs(self.factors)
        return _longest((sizes < sag_pu) | (sizes > swell_pu), self.seconds)

    def beyond_after_s(self, before_pu: float, sag_pu: float, swell_pu: float) -> float:
        """Time from the begin until it is beyond the limits of sag or swell; 0 if it never is."""
        sizes = before_pu * np.abs(self.factors)
        first = int(np.argmax((sizes < sag_pu) | (sizes > swell_pu)))
        return float(self.seconds[:first].sum())

    def largest_step(self) -> float:
        """Largest change from the previous steady state, relative to the first; IEC 61000-4-30:2015, 5.11."""
        steady, largest, now, held_s = 1.0, 0.0, 1.0, 0.0
        for size, seconds in zip(np.abs(self.factors).tolist(), self.seconds.tolist(), strict=True):
            held_s = held_s + seconds if math.isclose(size, now, rel_tol=1e-6) else seconds
            now = size
            largest = max(largest, abs(now - steady))
            if held_s >= STEADY_S:
                steady = now
        return max(largest, abs(1.0 - steady) if math.isfinite(held_s) else 0.0)

    @property
    def jump_deg(self) -> float:
        """Jump of the phase at the begin; 0 if almost no voltage is left."""
        if not len(self.factors) or abs(self.factors[0]) < 0.01:
            return 0.0
        return math.degrees(float(np.angle(self.factors[0])))


def _energy_of_wave(
    terms: DisturbanceTerms, index: int, before_v: complex, hz: float, cycles: float
) -> Energy | None:
    """Of an inrush with its harmonics: they fade within a cycle, and so raise or lower what it has in all.

    None where no harmonics fade.
    """
    fading = [
        term
        for term in terms.added
        if isinstance(term, HarmonicTerm) and not term.profile.constant and term.affects(index)
    ]
    if not fading:
        return None
    ends_s = np.arange(round((INRUSH_S * hz + 1) * STEPS_OF_WAVE) + 1) / (STEPS_OF_WAVE * hz)
    since_s = (ends_s[:-1] + ends_s[1:]) / 2 - 1 / hz
    grid = cycles + hz * since_s
    at_s, on = terms.start_s + since_s, since_s >= 0
    factor = np.ones(len(at_s), dtype=np.complex128)
    for each in terms.fundamental:
        inside = on & (at_s >= each.start_s) & (at_s < each.end_s)
        factor[inside] *= each.factor(at_s[inside] - each.start_s, index)
    volts = math.sqrt(2) * (before_v * factor * np.exp(2j * math.pi * grid)).imag
    for term in fading:
        inside = on & (at_s >= term.start_s) & (at_s < term.end_s)
        volts[inside] += term.volts_at(at_s[inside] - term.start_s, grid[inside], index)
    energy = np.concatenate(([0.0], np.cumsum((volts / abs(before_v)) ** 2 * np.diff(ends_s))))
    return ends_s, energy


def _cycle_rms(stops_s: FloatArray, energy: Energy, hz: float) -> FloatArray:
    """(n,) rms of the cycle that ends at each of `stops_s`, relative to the voltage before."""
    of_cycle = np.interp(stops_s, *energy) - np.interp(stops_s - 1 / hz, *energy)
    found: FloatArray = np.sqrt(of_cycle * hz)
    return found


def _longest(which: NDArray[np.bool_], seconds: FloatArray) -> float:
    """The longest run of `which`, in seconds."""
    ends = np.flatnonzero(np.diff(np.concatenate(([False], which, [False])).astype(np.int8)))
    so_far = np.concatenate(([0.0], np.cumsum(seconds)))
    return float(max(so_far[ends[1::2]] - so_far[ends[::2]], default=0.0))


def _pst(term: FundamentalTerm, index: int, nominal_v: float, hz: float) -> float:
    """Pst of a sum of sines from its mean Pinst: an estimate, for Pst ranks Pinst and does not average it."""
    if not isinstance(term.profile, ModulationProfile):
        return 0.0
    lamp = lamp_for(nominal_v, hz)
    changes = 2 * term.profile.peaks * abs(complex(term.changes[index]).real)
    pinst = changes**2 / 2 * np.abs(lamp.response(term.profile.hz)) ** 2 * lamp.scale()
    return PST_OF_PINST * math.sqrt(float(pinst.sum()))
