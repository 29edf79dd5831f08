"""Transients: short, fast deviations that do not recur in the cycle before or after.

Found above 240 Hz, where a sample differs from the same place in the cycle before and in the cycle after: so
harmonics and periodic notches of any size do not count. Measured on the residual after the steady wave
before, extrapolated, and the one after, extrapolated back; a dip's edge between the two does not count.

Source: IEEE 1159-2019, 4.2 (impulsive and oscillatory transients, spectral content and duration).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from opq_measure.signal import BoolArray, FloatArray, SignalArray
from opq_measure.timebase.cycles import Track
from opq_measure.waveform.between_waves import residuals_between, waves_around
from opq_measure.waveform.change import Change, changes_in
from opq_measure.waveform.high_pass import high_pass, tap_count
from opq_measure.waveform.pulse import MIN_HALF_WAVES, Pulse, pulse_in
from opq_measure.waveform.residual import phases_rad
from opq_measure.waveform.steady import Steady

CUTOFF_HZ = 240.0
"""Middle of a transition of 350 Hz: the fundamental is down by 60 dB, ringing of 300 Hz passes."""
MIN_PU = 0.05
"""Least peak over the fundamental's; the original's noise floor was 6 V of 170 V, 0.035."""
PEAK_SIGMAS = 6.0
"""Least peak over the noise: exceeded by chance once in 10^9 samples."""
LONG_IMPULSE_CYCLES = 1 / 16
"""A longer impulse is one only if the wave is steady after it; an inrush is not."""
ALIKE_CORRELATION = 0.5
"""Least correlation of the differences of successive cycles where a wave fades; noise has -0.5."""
LEFT_SHARE = 0.25
"""Each of these differences is at least this share of the one before."""
QUIET_S = 0.004
"""Deviations closer together than this are one transient; the original's max.lull.ms."""
MIRRORED_CYCLES = 0.1
"""Least length in which a load's harmonics are recognised. They are mostly odd, so they return half a cycle
later with the other sign."""
MIRRORED_SHARE = 0.05
"""Largest share of the energy that may differ half a cycle later."""
LONGEST_S = 0.5
"""Longer than any transient; a signal that is never quiet is cut here, so that memory is bounded."""


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
    """Number of half waves of at least 20 % of the peak, of alternating sign."""
    frequency_hz: float
    damping_s: float
    ringing: float
    point_on_wave_degrees: float
    """Angle of the fundamental at `start`, 0 at the rising zero crossing."""
    first_sample: int
    waveform: FloatArray = field(repr=False, compare=False)
    """(m,) the residual from `first_sample` on, some milliseconds more than the transient."""

    @property
    def oscillatory(self) -> bool:
        """It swings at least three times; otherwise it is impulsive. IEEE 1159-2019, 4.2.1 and 4.2.2."""
        return self.half_waves >= MIN_HALF_WAVES

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
    volts: SignalArray,
    tracked: Track,
    least_pu: float = MIN_PU,
    most: int = 1000,
    changes: Callable[[], tuple[Change, ...]] | None = None,
) -> tuple[Transient, ...]:
    """Every transient of a stretch, in time order.

    Args:
        volts: (n,) counts or volts, the waveform of an event; with two cycles or more around each transient.
        least_pu: least peak over the fundamental's peak; never less than 6 sigma of the noise.
        most: only the first so many transients are measured, so that the time is bounded.
        changes: returns `changes_in` of `volts`; called only where a transient is.
    Raises:
        ValueError: `least_pu` is not positive.

    For a stream: call it on each window with its context and keep those whose peak lies in the window
    (test_measure_quiet.py).

    Error: ringings of 0.3 to 4 kHz and 0.15 to 1 pu at 60 dB, 12 kS/s, also on the edge of a dip: peak 0.9 %,
    frequency 0.01 %, damping 0.3 %, start 24 us, energy 1 %, angle 0.5 degrees rms; impulses as sampled
    (test_measure_transient.py).
    """
    if not 0 < least_pu < math.inf:
        raise ValueError(f"least_pu is {least_pu:g}, want a positive number")
    usual = tracked.amplitude[tracked.known]
    peak = float(np.median(usual)) if len(usual) else 0.0
    if tracked.rate_hz <= 2 * CUTOFF_HZ:
        return ()  # such a rate contains nothing that fast
    if not peak > 0 or len(volts) < tap_count(tracked.rate_hz) + 3 * tracked.rate_hz / tracked.nominal_hz:
        return ()
    groups = _groups(_unlike_neighbours(volts, tracked, least_pu * peak), tracked.rate_hz)
    if not groups:
        return ()
    steps = changes_in(volts, tracked) if changes is None else changes()
    found: list[Transient] = []
    for index, (begin, end) in enumerate(groups[:most]):
        beside = (
            (groups[index - 1][1] if index else 0),
            (groups[index + 1][0] if index + 1 < len(groups) else len(volts)),
        )
        waves = waves_around(volts, tracked, begin, end, beside, steps)
        measured = _measured(volts, tracked, begin, end, waves, least_pu, peak)
        if measured is not None and waves[1] is None and _is_load(volts, waves[0], measured.start):
            break
        if measured is not None and not (found and _tail(found[-1], measured)):
            found.append(measured)
    return tuple(found)


def _is_load(volts: SignalArray, before: Steady | None, start: float) -> bool:
    """Whether what begins at `start` and lasts to the end are the harmonics of a load that was switched."""
    if before is None:
        return False
    first, half = math.ceil(start), round(before.rate_hz / before.hz / 2)
    left = np.asarray(volts[first:], dtype=np.float64) - before.volts(first, len(volts))
    early, late = left[:-half], left[half:]
    if len(early) < 2 * half * MIRRORED_CYCLES:
        return False
    both = early + late
    return bool(both @ both <= MIRRORED_SHARE * (early @ early + late @ late))


def _tail(before: Transient, measured: Transient) -> bool:
    """Whether it is the tail of the one before: it begins before that ends, and is smaller."""
    return measured.start < before.stop and abs(measured.peak_v) < abs(before.peak_v)


def _unlike_neighbours(volts: SignalArray, tracked: Track, least: float) -> BoolArray:
    """(n,) where the fast part differs from that of the cycle before and that of the cycle after."""
    rate_hz = tracked.rate_hz
    fast = high_pass(volts, rate_hz, CUTOFF_HZ)
    first = tap_count(rate_hz) // 2
    at = np.arange(first, first + len(fast), dtype=np.float64)
    phase = phases_rad(tracked, at)
    edges = tracked.edges(1)
    period = np.median(np.diff(edges)) if len(edges) > 1 else rate_hz / tracked.nominal_hz
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
    least = max(0.6 * least, PEAK_SIGMAS * noise if math.isfinite(noise) else 0.0)
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
    noise = max(_noise(volts, each) for each in (before, behind) if each is not None)
    residuals = residuals_between(volts, before, behind, first, stop)
    pulses = [pulse_in(residual, rate_hz, noise) for residual in residuals]
    residual, pulse = _cleanest(residuals, pulses)
    if pulse is None or abs(pulse.peak) < max(least_pu * usual, PEAK_SIGMAS * noise):
        return None
    ring = pulse.ring
    start = first + pulse.start
    if pulse.half_waves < MIN_HALF_WAVES and _fades(volts, tracked, start, first + pulse.stop):
        return None
    return Transient(
        start=start,
        stop=first + pulse.stop,
        start_s=start / rate_hz,
        duration_s=(pulse.stop - pulse.start) / rate_hz,
        peak_position=first + pulse.place,
        peak_v=pulse.peak,
        peak_pu=abs(pulse.peak) / usual,
        rise_s=pulse.rise_samples / rate_hz,
        energy_v2s=pulse.energy,
        half_waves=pulse.half_waves,
        frequency_hz=ring.frequency_hz if ring else math.nan,
        damping_s=ring.damping_s if ring else math.nan,
        ringing=ring.share if ring else math.nan,
        point_on_wave_degrees=math.degrees(wave.phase_rad(start)) % 360.0,
        first_sample=first,
        waveform=residual,
    )


def _fades(volts: SignalArray, tracked: Track, start: float, stop: float) -> bool:
    """Whether a long deviation comes again in the next three cycles, less each time."""
    at = np.arange(math.floor(start), math.ceil(stop) + 1, dtype=np.float64)
    if len(at) < LONG_IMPULSE_CYCLES * tracked.rate_hz / tracked.nominal_hz:
        return False
    phase = phases_rad(tracked, at)
    places = [
        np.interp(phase + 2 * math.pi * turn, tracked.phase_rad, tracked.positions, right=np.nan)
        for turn in range(4)
    ]
    if not np.isfinite(places[-1]).all():
        return False
    cycles = np.stack([np.interp(place, np.arange(len(volts)), volts) for place in places])
    apart = cycles[:-1] - cycles[1:]
    size = np.sqrt(np.sum(apart**2, axis=1))
    return all(
        LEFT_SHARE * size[k] <= size[k + 1] < size[k]
        and float(apart[k] @ apart[k + 1]) >= ALIKE_CORRELATION * size[k] * size[k + 1]
        for k in (0, 1)
    )


def _noise(volts: SignalArray, wave: Steady) -> float:
    """Sigma around a transient by the median, which ignores another transient but not a burst of noise."""
    left = np.asarray(volts[wave.start : wave.stop], dtype=np.float64) - wave.volts(wave.start, wave.stop)
    return min(wave.rest, 1.4826 * float(np.median(np.abs(left))))


def _cleanest(residuals: list[FloatArray], pulses: list[Pulse | None]) -> tuple[FloatArray, Pulse | None]:
    """The residual and pulse of the step's instant that leaves one ringing, or one impulse, most purely.

    Without a ringing for any instant, those of the first one, which has the least energy.
    """
    both = list(zip(residuals, pulses, strict=True))
    if not any(pulse is not None and pulse.ring is not None for pulse in pulses):
        return both[0]
    return min(both, key=lambda each: math.inf if each[1] is None else each[1].unexplained)
