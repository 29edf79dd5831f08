"""Transients: what is short and fast, and does not come again in the cycle before or behind.

Found above 240 Hz, where a sample differs from the same place in the cycle before and from that in the cycle
behind: so harmonics and periodic notches are none, whatever their size. Measured on the residual after the
steady wave before, carried over, and the one behind, carried back; a dip's edge between the two is none.

Source: IEEE 1159-2019, 4.2 (impulsive and oscillatory transients, spectral content and duration).
"""

import math
from dataclasses import dataclass, field

import numpy as np

from opq_measure.change import Change, change_between, changes_in
from opq_measure.cycles import Track
from opq_measure.oscillation import Oscillation, oscillation
from opq_measure.residual import phases_rad, wave_before, wave_behind
from opq_measure.signal import BoolArray, FloatArray, SignalArray
from opq_measure.steady import Steady
from opq_measure.transient import high_pass, tap_count

CUTOFF_HZ = 240.0
"""Half way of a transition of 350 Hz: the fundamental is down by 60 dB, ringing of 300 Hz is in."""
LEAST_PU = 0.05
"""Least peak, of the fundamental's; the original's noise floor was 6 V of 170 V, 0.035."""
SIGMAS = 6.0
"""Least peak, of the noise: once in 10^9 samples."""
QUIET_S = 0.004
"""What is nearer together is one transient; the original's max.lull.ms."""
LONGEST_S = 0.5
"""Longer than any transient; a signal that is never quiet is cut here, so that memory is bounded."""
END = 0.1
"""Of the peak: where a transient begins and ends."""
GAP_S = 0.002
"""Between two half waves above `END`: half a period of 250 Hz."""
LOBE = 0.2
"""Of the peak: a half wave of a ringing; a filter's ripple beside an impulse is smaller."""
STEP = 0.02
"""Change of the fundamental from which the waves before and behind are not blended but switched."""
CLEAN = 0.95
"""Share of the energy in one ringing, from which its peak is taken between samples."""
GRAIN = 3
"""Samples around a switch in which a sampler's filter rings: only beyond both waves counts."""
CARRIED_CYCLES = 4.0
"""How far the wave before is carried on: 0.01 Hz of wander leaves 0.4 % of the fundamental."""
CLEAR_CYCLES, BEHIND_CYCLES = 0.1, 0.5
"""Left out before and behind a transient when the waves are fitted."""


@dataclass(frozen=True, slots=True)
class Transient:
    """One transient; positions in fractional samples of the signal, times from its sample 0.

    It begins and ends where its residual passes 10 % of its peak (or 4 sigma of the noise). `peak_v` is
    signed, in the signal's unit, `peak_pu` of the fundamental's peak. `frequency_hz`, `damping_s` and
    `ringing` (the share of its energy in one damped oscillation) are NaN with fewer than 3 half waves.
    """

    start: float
    stop: float
    start_s: float
    duration_s: float
    peak_position: float
    peak_v: float
    peak_pu: float
    rise_s: float
    """From 10 to 90 % of the first half wave's extreme."""
    energy_v2s: float
    half_waves: int
    """Of at least 20 % of the peak, of alternating sign."""
    frequency_hz: float
    damping_s: float
    ringing: float
    point_on_wave_degrees: float
    """Of the fundamental at `start`, 0 at the rising zero crossing."""
    first_sample: int
    waveform: FloatArray = field(repr=False, compare=False)
    """(m,) the residual from `first_sample` on, some milliseconds more than the transient."""

    @property
    def oscillatory(self) -> bool:
        """It swings at least three times; otherwise it is impulsive. IEEE 1159-2019, 4.2.1 and 4.2.2."""
        return self.half_waves >= 3

    @property
    def band(self) -> str | None:
        """`low` below 5 kHz, `medium` to 500 kHz, `high`; None for an impulse. IEEE 1159-2019, table 2."""
        if not math.isfinite(self.frequency_hz):
            return None
        return "low" if self.frequency_hz < 5e3 else "medium" if self.frequency_hz < 5e5 else "high"

    def spectrum(self, rate_hz: float) -> tuple[FloatArray, FloatArray]:
        """(m,) Hz and (m,) volt seconds, the magnitude of the residual's Fourier transform."""
        size = max(256, 1 << (2 * len(self.waveform) - 1).bit_length())
        density: FloatArray = np.abs(np.fft.rfft(self.waveform, size)) / rate_hz
        hz = np.arange(len(density), dtype=np.float64) * (rate_hz / size)
        return np.asarray(hz, dtype=np.float64), density


def transients_in(
    volts: SignalArray, tracked: Track, least_pu: float = LEAST_PU, most: int = 1000
) -> tuple[Transient, ...]:
    """Every transient of a stretch, in time order.

    Args:
        volts: (n,) counts or volts, the waveform of an event; two cycles or more around what is looked for.
        least_pu: least peak, of the fundamental's peak; never less than 6 sigma of the noise.
        most: transients measured at most, the first ones, so that the time is bounded.
    Raises:
        ValueError: `least_pu` is not positive.

    Error: at 60 dB peak 0.5 %, frequency 0.1 %, start 20 us, all rms (test_measure_transient.py).
    """
    if not 0 < least_pu < math.inf:
        raise ValueError(f"least_pu is {least_pu:g}, want a positive number")
    usual = tracked.amplitude[tracked.known]
    peak = float(np.median(usual)) if len(usual) else 0.0
    if not peak > 0 or len(volts) < tap_count(tracked.rate_hz) + 3 * tracked.rate_hz / tracked.nominal_hz:
        return ()
    groups = _groups(_unlike_neighbours(volts, tracked, least_pu * peak), tracked.rate_hz)
    changes = changes_in(volts, tracked) if groups else ()
    found = []
    for index, (begin, end) in enumerate(groups[:most]):
        beside = (
            (groups[index - 1][1] if index else 0),
            (groups[index + 1][0] if index + 1 < len(groups) else len(volts)),
        )
        waves = _waves(volts, tracked, begin, end, beside, changes)
        measured = _measured(volts, tracked, begin, end, waves, least_pu, peak)
        if measured is not None:
            found.append(measured)
    return tuple(found)


def _unlike_neighbours(volts: SignalArray, tracked: Track, least: float) -> BoolArray:
    """(n,) where the fast part is unlike that of the cycle before and that of the cycle behind."""
    rate_hz = tracked.rate_hz
    fast = high_pass(volts, rate_hz, CUTOFF_HZ)
    first = tap_count(rate_hz) // 2
    at = np.arange(first, first + len(fast), dtype=np.float64)
    phase = phases_rad(tracked, at)
    period = (
        np.median(np.diff(tracked.edges(1))) if len(tracked.edges(1)) > 1 else rate_hz / tracked.nominal_hz
    )
    apart = np.full(len(fast), np.inf)
    noise = np.inf
    for turn in (-2 * math.pi, 2 * math.pi):
        place = np.interp(phase + turn, phase, at, left=np.nan, right=np.nan) - first
        inside = np.isfinite(place) & (np.abs(place - np.arange(len(fast))) < 1.5 * period)
        whole = np.clip(np.where(inside, place, 0.0).astype(np.int64), 1, len(fast) - 3)
        around = np.stack([fast[whole + step] for step in (-1, 0, 1, 2)])
        unlike = np.maximum(fast - around.max(axis=0), around.min(axis=0) - fast)
        if inside.any():
            beside = np.abs(fast - around[1])[inside]
            noise = min(noise, float(np.median(beside)) / (0.6745 * math.sqrt(2)))
        apart = np.where(inside, np.minimum(apart, unlike), apart)
    least = max(0.6 * least, SIGMAS * noise if math.isfinite(noise) else 0.0)
    found = np.zeros(len(volts), dtype=np.bool_)
    found[first : first + len(fast)] = np.isfinite(apart) & (apart > least)
    return found


def _groups(unlike: BoolArray, rate_hz: float) -> list[tuple[int, int]]:
    """Spans of samples that are unlike their neighbours, bridged over short quiet."""
    at = np.flatnonzero(unlike)
    if len(at) == 0:
        return []
    parts = np.split(at, np.flatnonzero(np.diff(at) > QUIET_S * rate_hz) + 1)
    longest = int(LONGEST_S * rate_hz)
    return [
        (start, min(start + longest, int(part[-1]) + 1))
        for part in parts
        for start in range(int(part[0]), int(part[-1]) + 1, longest)
    ]


def _measured(
    volts: SignalArray,
    tracked: Track,
    begin: int,
    end: int,
    waves: tuple[Steady | None, Steady | None],
    least_pu: float,
    usual: float,
) -> Transient | None:
    rate_hz = tracked.rate_hz
    period = rate_hz / tracked.nominal_hz
    before, behind = waves
    wave = before or behind
    if wave is None:
        return None
    first = max(0, math.floor(begin - period / 4))
    stop = min(len(volts), math.ceil(end + period / 2))
    residual = _residual(volts, before, behind, first, stop)
    noise = min(each.rest for each in (before, behind) if each is not None)
    largest = int(np.argmax(np.abs(residual)))
    peak = float(residual[largest])
    if abs(peak) < max(least_pu * usual, SIGMAS * noise):
        return None
    level = max(END * abs(peak), 4 * noise)
    low, high = _extent(np.abs(residual) > level, largest, round(GAP_S * rate_hz))
    lobes = _lobes(residual[low:high], max(LOBE * abs(peak), 4 * noise))
    ring = oscillation(residual[low:high], rate_hz) if len(lobes) >= 3 else None
    place = float(first + largest)
    start = first + _passing(residual, low, level, -1)
    if ring is not None and ring.share > CLEAN:
        place, peak = _between_samples(ring, first + low, first + largest, start, rate_hz)
    last = first + _passing(residual, high - 1, level, 1)
    return Transient(
        start=start,
        stop=last,
        start_s=start / rate_hz,
        duration_s=(last - start) / rate_hz,
        peak_position=place,
        peak_v=peak,
        peak_pu=abs(peak) / usual,
        rise_s=_rise(residual, low, lobes) / rate_hz,
        energy_v2s=float(np.sum(residual[low:high] ** 2)) / rate_hz,
        half_waves=len(lobes),
        frequency_hz=ring.frequency_hz if ring else math.nan,
        damping_s=ring.damping_s if ring else math.nan,
        ringing=ring.share if ring else math.nan,
        point_on_wave_degrees=math.degrees(wave.phase_rad(start)) % 360.0,
        first_sample=first,
        waveform=residual,
    )


def _waves(
    volts: SignalArray,
    tracked: Track,
    begin: int,
    end: int,
    beside: tuple[int, int],
    changes: tuple[Change, ...],
) -> tuple[Steady | None, Steady | None]:
    """The steady waves on both sides, over no change; where they are too short, those of the change.

    Other transients, `beside`, are kept out as far as two cycles are left.
    """
    period = tracked.rate_hz / tracked.nominal_hz
    low, high = begin - CLEAR_CYCLES * period, end + BEHIND_CYCLES * period
    last = max((change for change in changes if change.position < low), key=_place, default=None)
    coming = min((change for change in changes if change.position > high), key=_place, default=None)
    within = [change for change in changes if low <= change.position <= high]
    room = (low - last.position if last else low) / period - CLEAR_CYCLES
    clear = (low - beside[0]) / period - BEHIND_CYCLES
    before = wave_before(volts, tracked, low, min(6.0, room, clear if clear >= 2 else room))
    room = ((coming.position if coming else len(volts)) - high) / period - CLEAR_CYCLES
    clear = (beside[1] - high) / period - CLEAR_CYCLES
    behind = wave_behind(volts, tracked, high, min(6.0, room, clear if clear >= 2 else room))
    if within:
        return before or within[0].before, behind or within[-1].after
    return before or (last.after if last else None), behind or (coming.before if coming else None)


def _place(change: Change) -> float:
    return change.position


def _residual(
    volts: SignalArray, before: Steady | None, behind: Steady | None, first: int, stop: int
) -> FloatArray:
    """Without the wave before, carried on; over long stretches blended into the next, switched at steps."""
    part = np.asarray(volts[first:stop], dtype=np.float64)
    if before is None or behind is None:
        wave = before or behind
        return part if wave is None else part - wave.volts(first, stop)
    early, late = before.volts(first, stop), behind.volts(first, stop)
    middle = (first + stop) / 2
    turn = np.exp(1j * (behind.phase_rad(middle) - before.phase_rad(middle)))
    ratio = behind.amplitude * turn - before.amplitude
    if abs(ratio) < STEP * max(before.amplitude, behind.amplitude):
        if (stop - first) * before.hz < CARRIED_CYCLES * before.rate_hz:
            return part - early  # the wave behind may hold the tail of a ringing
        share = np.linspace(0.0, 1.0, stop - first)
        return part - (1 - share) * early - share * late
    position = round(change_between(volts, before, behind, first, stop)[0] + 0.5) - first
    residual = np.concatenate((part[:position] - early[:position], part[position:] - late[position:]))
    near = slice(max(0, position - GRAIN), position + GRAIN)
    above = np.maximum(part[near] - np.maximum(early[near], late[near]), 0.0)
    below = np.minimum(part[near] - np.minimum(early[near], late[near]), 0.0)
    residual[near] = above + below
    return residual


def _extent(above: BoolArray, largest: int, gap: int) -> tuple[int, int]:
    """The span around the largest sample that is above the level with no longer gap."""
    at = np.flatnonzero(above)
    middle = int(np.searchsorted(at, largest))
    breaks = np.flatnonzero(np.diff(at) > gap)
    low = breaks[breaks < middle]
    high = breaks[breaks >= middle]
    return int(at[low[-1] + 1] if len(low) else at[0]), int(at[high[0]] if len(high) else at[-1]) + 1


def _lobes(residual: FloatArray, level: float) -> list[int]:
    """Places of the extremes of half waves beyond the level, of alternating sign."""
    beyond = np.flatnonzero(np.abs(residual) >= level)
    if len(beyond) == 0:
        return []
    signs = np.sign(residual[beyond])
    runs = np.split(beyond, np.flatnonzero(np.diff(signs) != 0) + 1)
    return [int(run[np.argmax(np.abs(residual[run]))]) for run in runs]


def _passing(residual: FloatArray, inner: int, level: float, way: int) -> float:
    """Where the magnitude passes the level between the sample `inner` and the next outward."""
    outer = inner + way
    inside = abs(float(residual[inner]))
    outside = abs(float(residual[outer])) if 0 <= outer < len(residual) else 0.0
    if not outside < level <= inside:
        return float(inner)
    return inner + way * (inside - level) / (inside - outside)


def _rise(residual: FloatArray, low: int, lobes: list[int]) -> float:
    """Samples from 10 to 90 % of the first half wave, straight lines between samples."""
    if not lobes:
        return math.nan
    top = low + lobes[0]
    size = abs(float(residual[top]))
    sign = math.copysign(1.0, float(residual[top]))
    begin = top
    while begin > 0 and sign * residual[begin - 1] < sign * residual[begin]:
        begin -= 1
    climb = sign * residual[begin : top + 1]
    if len(climb) < 2:
        return 0.0
    at = np.arange(len(climb), dtype=np.float64)
    return float(np.interp(0.9 * size, climb, at) - np.interp(0.1 * size, climb, at))


def _between_samples(
    ring: Oscillation, low: int, largest: int, start: float, rate_hz: float
) -> tuple[float, float]:
    """Place and value of the extreme of a ringing beside its largest sample, as fitted."""
    fine = np.linspace(start, largest + 1.0, 16 * math.ceil(largest + 2.0 - start))
    values = ring.values((fine - low) / rate_hz)
    best = int(np.argmax(np.abs(values)))
    return float(fine[best]), float(values[best])
