"""The residual between two steady waves: the wave before, extrapolated, and the wave after, extrapolated
back.

Around a transient both are fitted where nothing else happens, and subtracted. Where they differ, as at the
edge of a dip, the one is switched to the other. With a ringing on the edge the instant of least energy is
half a wave late, so that the onset is returned as a second choice.
"""

import cmath

import numpy as np

from opq_measure.signal import FloatArray, SignalArray
from opq_measure.timebase.cycles import Track
from opq_measure.waveform.change import Change, change_between
from opq_measure.waveform.residual import wave_after, wave_before
from opq_measure.waveform.steady import Steady

FITTED_CYCLES = 6.0
"""Cycles fitted on either side."""
SWITCH_SHARE = 0.02
"""Change of the fundamental from which the waves before and after are switched instead of blended."""
HARMONIC_STEP = 0.04
"""The same for the harmonics, which a load switches; a ringing leaves less in six cycles."""
SMALL_HARMONIC_STEP = 0.01
"""A smaller step of the harmonics also counts, if switching leaves little of the residual."""
LEFT_SHARE = 1 / 16
"""Largest share of the residual's energy that switching leaves then."""
RINGING_SAMPLES = 3
"""Samples around a switch in which a sampler's filter rings, so that only values beyond both waves count."""
RINGING_SHARE = 0.3
"""Share of the residual at a switch that the rest has to reach; otherwise the residual there comes from the
filter."""
CARRIED_CYCLES = 4.0
"""Length over which the wave before is extrapolated: 0.01 Hz of wander leaves 0.4 % of the fundamental."""
CLEAR_CYCLES = 0.1
"""Cycles left out before a transient when the waves are fitted."""
BEHIND_CYCLES = 0.5
"""Cycles left out after a transient when the waves are fitted."""
ONSET_SIGMAS = 6.0


def waves_around(
    volts: SignalArray,
    tracked: Track,
    begin: int,
    end: int,
    beside: tuple[int, int],
    changes: tuple[Change, ...],
) -> tuple[Steady | None, Steady | None]:
    """The steady waves on both sides, containing no change; where they are too short, those of the change.

    Other transients, `beside`, are left out as long as two cycles remain.
    """
    period = tracked.rate_hz / tracked.nominal_hz
    low, high = begin - CLEAR_CYCLES * period, end + BEHIND_CYCLES * period
    last = max((change for change in changes if change.position < low), key=_place, default=None)
    coming = min((change for change in changes if change.position > high), key=_place, default=None)
    within = [change for change in changes if low <= change.position <= high]
    room = (low - last.position if last else low) / period - CLEAR_CYCLES
    clear = (low - beside[0]) / period - BEHIND_CYCLES
    before = wave_before(volts, tracked, low, min(FITTED_CYCLES, room, clear if clear >= 2 else room))
    room = ((coming.position if coming else len(volts)) - high) / period - CLEAR_CYCLES
    clear = (beside[1] - high) / period - CLEAR_CYCLES
    behind = wave_after(volts, tracked, high, min(FITTED_CYCLES, room, clear if clear >= 2 else room))
    if within:
        return before or within[0].before, behind or within[-1].after
    return before or (last.after if last else None), behind or (coming.before if coming else None)


def _place(change: Change) -> float:
    return change.position


def residuals_between(
    volts: SignalArray, before: Steady | None, behind: Steady | None, first: int, stop: int
) -> list[FloatArray]:
    """(stop - first,) samples `first` .. `stop` - 1 without both waves; at a step, for two instants of it.

    Without a step the wave before is extrapolated; over long stretches it is blended into the one after.
    """
    part = np.asarray(volts[first:stop], dtype=np.float64)
    if before is None or behind is None:
        wave = before or behind
        return [part if wave is None else part - wave.volts(first, stop)]
    early, late = before.volts(first, stop), behind.volts(first, stop)
    middle = (first + stop) / 2
    turn = cmath.exp(1j * (behind.phase_rad(middle) - before.phase_rad(middle)))
    most = max(before.amplitude, behind.amplitude)
    apart = _harmonics_apart(before, behind, middle)
    is_step = (
        abs(behind.amplitude * turn - before.amplitude) >= SWITCH_SHARE * most
        or apart >= HARMONIC_STEP * most
    )
    if not is_step and apart < SMALL_HARMONIC_STEP * most:
        return [_unswitched(part, early, late, before)]
    position = round(change_between(volts, before, behind, first, stop)[0] + 0.5) - first
    if not is_step:
        switched, whole = _switched(part, early, late, position), part - early
        is_load = float(switched @ switched) <= LEFT_SHARE * float(whole @ whole)
        return [switched if is_load else _unswitched(part, early, late, before)]
    left = np.flatnonzero(np.abs(part - early) > ONSET_SIGMAS * before.rest)
    onset = int(left[0]) if len(left) else position
    places = [position] if onset >= position or position - onset > len(part) / 4 else [position, onset]
    return [_switched(part, early, late, place) for place in places]


def _unswitched(part: FloatArray, early: FloatArray, late: FloatArray, before: Steady) -> FloatArray:
    if len(part) * before.hz < CARRIED_CYCLES * before.rate_hz:
        return part - early  # the wave after may contain the tail of a ringing
    share = np.linspace(0.0, 1.0, len(part))
    return part - (1 - share) * early - share * late


def _harmonics_apart(before: Steady, behind: Steady, position: float) -> float:
    """Distance between the harmonics of two waves at one place, in the signal's unit."""
    orders = np.arange(2, min(len(before.lines), len(behind.lines)))
    there, here = (
        wave.lines[orders] * np.exp(1j * orders * wave.step_rad * (position - wave.middle))
        for wave in (before, behind)
    )
    return float(np.linalg.norm(here - there))


def _switched(part: FloatArray, early: FloatArray, late: FloatArray, position: int) -> FloatArray:
    residual = np.concatenate((part[:position] - early[:position], part[position:] - late[position:]))
    near = np.zeros(len(part), dtype=np.bool_)
    near[max(0, position - RINGING_SAMPLES) : position + RINGING_SAMPLES] = True
    apart = np.abs(residual)
    if apart[~near].max(initial=0.0) < RINGING_SHARE * apart[near].max(initial=0.0):
        above = np.maximum(part - np.maximum(early, late), 0.0)
        below = np.minimum(part - np.minimum(early, late), 0.0)
        residual[near] = (above + below)[near]
    return residual
