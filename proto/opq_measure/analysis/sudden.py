"""Sudden events of a stream: transients and phase jumps, some windows at a time.

They are rare, so a cheap test goes first: each sample is compared with the same place of the cycle before. A
stretch is analysed closely (`transients`, `phase_jump`) only if they differ by more than noise and a share of
the least transient.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from opq_measure.analysis.occurrence import Occurrence, confidence_of
from opq_measure.signal import FloatArray
from opq_measure.timebase.cycles import Track, track
from opq_measure.timebase.windows import Window
from opq_measure.waveform.change import changes_in
from opq_measure.waveform.phase_jump import PhaseJump, phase_jumps_in
from opq_measure.waveform.transients import MIN_PU as MIN_TRANSIENT_PU
from opq_measure.waveform.transients import Transient, transients_in
from opq_measure.written_numbers import significant

MIN_JUMP_DEGREES = 6.0
"""Least phase jump that is reported; switching of large loads turns the voltage by less."""
SCREENED_SHARE = 0.6
"""Share of the least transient from which on a stretch is analysed; `transients` searches from there, too."""
DIFFERENCE_SIGMAS = 4.6
"""Multiple of the difference's noise, equal to the six sigma of the signal's noise that a transient needs."""
STEP_RMS_SHARE = 0.05
"""Rms of the difference over half a cycle, as a share of the peak; a jump of six degrees has 0.07 over a
whole cycle."""
STEP_OVER_NOISE = 1.4
"""Multiple of the noise's rms over half a cycle, which scatters by 7 % over 100 samples."""
CONTEXT_CYCLES = 12.0
"""Cycles before the last window's end that are used to fit the waves on both sides."""
MAX_LATER_TRANSIENTS = 100
"""Most transients reported after the last window."""
SAME_S = 0.002
"""Within this time an event found in two stretches is the same one."""


class Sudden:
    """Transients and phase jumps of one run; `push_windows` receives its windows in order, some at a time.

    CPU at 12 kS/s: 0.1 ms per second of signal where nothing happens, 3 ms where something does.
    """

    def __init__(self, most: int = 1000) -> None:
        """`most`: only this many transients of a call are measured, which bounds the cost of noise."""
        self.searches = 0
        """Number of stretches that were analysed closely."""
        self._most = most
        self._last = {"transient": -math.inf, "phase_jump": -math.inf}

    def push_windows(self, windows: Sequence[Window]) -> list[Occurrence]:
        """The events that begin in these windows of one run, in time order; positions on the Box's axis."""
        first = windows[0].first_sample
        volts, tracked = _joined(windows)
        apart = _apart(volts, tracked)
        if apart is None:
            return []
        self.searches += 1
        begin = windows[0].edges[0]
        end = windows[-1].first_sample - first + windows[-1].edges[-1]
        slack = SAME_S * tracked.rate_hz
        changes = cache(lambda: changes_in(volts, tracked))
        found: list[Occurrence | None] = []
        if apart.has_transient:
            found += [
                self._new("transient", _transient(each, first, tracked, apart.noise_pu))
                for each in transients_in(volts, tracked, MIN_TRANSIENT_PU, self._most, changes)
                if begin - slack <= each.start < end
            ]
        if apart.has_transient or apart.has_step:
            found += [
                self._new("phase_jump", _jump(each, first, tracked))
                for each in phase_jumps_in(volts, tracked, MIN_JUMP_DEGREES, changes())
                if begin - slack <= each.position < end
            ]
        return sorted((each for each in found if each is not None), key=lambda each: each.start_sample)

    def _new(self, name: str, found: Occurrence) -> Occurrence | None:
        if found.start_sample - self._last[name] <= SAME_S * found.rate_hz:
            return None
        self._last[name] = found.end_sample
        return found


def sudden_after(volts: FloatArray, rate_hz: float, nominal_hz: float, last_stop: float) -> list[Occurrence]:
    """The events that begin after the last whole window of a signal, in up to 0.2 s that no window contains.

    Args:
        volts: (n,) the whole signal.
        last_stop: sample at which the last window ends; 0 without windows.
    """
    first = max(0, round(last_stop - CONTEXT_CYCLES * rate_hz / nominal_hz))
    part = volts[first:]
    tracked = track(part, rate_hz, nominal_hz)
    apart = _apart(part, tracked) if len(tracked.positions) else None
    if apart is None:
        return []
    begin = last_stop - first
    changes = cache(lambda: changes_in(part, tracked))
    found: list[Occurrence] = []
    if apart.has_transient:
        found += [
            _transient(each, first, tracked, apart.noise_pu)
            for each in transients_in(part, tracked, MIN_TRANSIENT_PU, MAX_LATER_TRANSIENTS, changes)
            if each.start >= begin
        ]
    found += [
        _jump(each, first, tracked)
        for each in phase_jumps_in(part, tracked, MIN_JUMP_DEGREES, changes())
        if each.position >= begin
    ]
    return found


def _joined(windows: Sequence[Window]) -> tuple[FloatArray, Track]:
    """One stretch of consecutive windows, with the context of the outer ones, and its track."""
    first = windows[0].first_sample
    volts, stop = [windows[0].volts], windows[0].first_sample + len(windows[0].volts)
    positions, phase, amplitude, known = ([each] for each in _hops(windows[0], first))
    for window in windows[1:]:
        new = stop - window.first_sample
        volts.append(window.volts[new:])
        hops = _hops(window, first)
        later = hops[0] > positions[-1][-1]
        for column, values in zip((positions, phase, amplitude, known), hops, strict=True):
            column.append(values[later])
        stop = max(stop, window.first_sample + len(window.volts))
    tracked = Track(
        stop - first,
        windows[0].rate_hz,
        windows[0].nominal_hz,
        np.concatenate(positions),
        np.concatenate(phase),
        np.concatenate(amplitude),
        np.concatenate(known) > 0,
    )
    return np.concatenate(volts), tracked


def _hops(window: Window, first: int) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    track = window.track
    return (
        track.positions + (window.first_sample - first),
        track.phase_rad,
        track.amplitude,
        track.known.astype(np.float64),
    )


@dataclass(frozen=True, slots=True)
class _Apart:
    """How far the wave is from the cycle before, where that is more than noise."""

    noise_pu: float
    """Noise of the signal itself, over the fundamental's peak."""
    has_transient: bool
    """At least one sample differs."""
    has_step: bool
    """The rms over half a cycle differs, which also shows changes hidden in the noise of single samples."""


def _apart(volts: FloatArray, tracked: Track) -> _Apart | None:
    """The difference from the cycle before; None where it is small, or where there is no mains voltage."""
    seen = tracked.amplitude[tracked.known]
    peak = float(np.median(seen)) if len(seen) else 0.0
    hops = tracked.phase_rad[[0, -1]], tracked.positions[[0, -1]]
    turned = float(hops[0][1] - hops[0][0])
    if not (peak > 0 and turned > 0):
        return None
    period = 2 * math.pi * float(hops[1][1] - hops[1][0]) / turned
    whole = int(period)
    rest = period - whole
    if len(volts) < 2 * whole + 2:
        return None
    before = (1 - rest) * volts[1:-whole] + rest * volts[: -whole - 1]
    apart = np.abs(volts[whole + 1 :] - before)
    most = float(apart.max())
    if most <= SCREENED_SHARE * MIN_TRANSIENT_PU * peak:
        return None
    noise = float(np.median(apart)) / 0.6745
    has_transient = most > DIFFERENCE_SIGMAS * noise
    half = max(1, whole // 2)
    power = np.diff(np.concatenate(([0.0], np.cumsum(apart * apart)))[::half]) / half
    step = math.sqrt(float(power.max())) if len(power) else 0.0
    has_step = step > max(STEP_RMS_SHARE * peak, STEP_OVER_NOISE * noise)
    if not (has_transient or has_step):
        return None
    return _Apart(noise / (math.sqrt(2) * peak), has_transient, has_step)


def _transient(found: Transient, first: int, tracked: Track, noise_pu: float) -> Occurrence:
    kind = "oscillatory_transient" if found.oscillatory else "impulsive_transient"
    ringing = f", {found.frequency_hz:.0f} Hz" if math.isfinite(found.frequency_hz) else ""
    return Occurrence(
        kind=kind,
        start_sample=first + found.start,
        end_sample=first + found.stop,
        rate_hz=tracked.rate_hz,
        nominal_hz=tracked.nominal_hz,
        confidence=confidence_of(found.peak_pu, MIN_TRANSIENT_PU, noise_pu),
        because=(
            f"{significant(found.peak_v, 4, sign=True)} V, {100 * found.peak_pu:.1f} % of the fundamental's "
            f"peak, off the steady wave for {significant(1000 * found.duration_s, 3)} ms{ringing}"
        ),
        figures={
            "peak_v": found.peak_v,
            "peak_pu": found.peak_pu,
            "principal_frequency_hz": found.frequency_hz,
            "rise_s": found.rise_s,
            "energy_v2s": found.energy_v2s,
            "point_on_wave_degrees": found.point_on_wave_degrees,
        },
    )


def _jump(found: PhaseJump, first: int, tracked: Track) -> Occurrence:
    return Occurrence(
        kind="phase_jump",
        start_sample=first + found.position,
        end_sample=first + found.position,
        rate_hz=tracked.rate_hz,
        nominal_hz=tracked.nominal_hz,
        confidence=confidence_of(abs(found.degrees), MIN_JUMP_DEGREES, found.uncertainty_degrees),
        because=f"the fundamental goes on {found.degrees:+.2f} degrees from where it was",
        figures={
            "phase_jump_degrees": found.degrees,
            "uncertainty_degrees": found.uncertainty_degrees,
            "amplitude_ratio": found.amplitude_ratio,
        },
    )
