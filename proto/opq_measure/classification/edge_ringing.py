"""A ringing at the beginning of a dip, swell or interruption that drowns in the noise of single samples.

    before: steady wave, fitted -----> carried on to the edge |
                                       after: steady wave, fitted, carried back
    what both leave --> weighed with a decaying sine of each frequency, from each instant near the edge on

The mean cycle shows nothing there: no cycle at an edge is like others. So the waves on both sides are fitted
apart, switched where that leaves the least energy, and the rest is weighed as in `faint_transients`; only few
instants are tried, so that a ringing of 0.15 of the peak stands out at 20 dB.

Source: matched filter for a known shape in white noise, Turin 1960; classes of IEEE 1159-2019, 4.2.
"""

import math

import numpy as np

from opq_measure.classification.faint_transients import CHANCE, FRAME_S, RING_DECAY_S, FaintTransient
from opq_measure.signal import FloatArray
from opq_measure.waveform.transients import CUTOFF_HZ

BESIDE_CYCLES = 1.25
"""The crossing of the rms is so near to the edge."""
FIT_CYCLES = 5.0
LEAST_CYCLES = 1.5
ORDERS = np.arange(1, 14)
"""Harmonics of the waves on both sides."""
DEAD_CYCLES = 1.0
"""An interruption with less to fit after its edge is taken to leave nothing."""
STEP_SAMPLES = 3
SWITCHED_SAMPLES = 16
LATER_POWER = 3.0
"""A phase that jumps some samples beside the edge leaves a block there and nothing later: so much of the
noise's power has to be there after these samples, at its frequency; noise has it in one of twenty."""
LINE_POWER = 2.5
"""A frequency that has so many times the noise's power before the edge, in the median, has a line there: what
begins at the edge is counted against that, or each interharmonic would ring at each dip."""
OFF_SAMPLES = 24
"""The instant that leaves least energy is half a wave of the ringing late: 300 Hz at 12 kS/s."""


def edge_ringing(
    volts: FloatArray, rate_hz: float, hz: float, start: float, end: float, dead: bool
) -> FaintTransient | None:
    """The ringing at the beginning of what lasts from `start` to `end`, in samples of `volts`.

    Args:
        hz: of the fundamental.
        dead: it is an interruption.
    Returns:
        None where nothing stands out of the noise, or too little is before it to know the wave.
    """
    cycle = rate_hz / hz
    low, high = round(start - BESIDE_CYCLES * cycle), round(start + BESIDE_CYCLES * cycle)
    frame = max(16, round(FRAME_S * rate_hz))
    first = max(0, round(low - FIT_CYCLES * cycle))
    stop = min(round(end - BESIDE_CYCLES * cycle), round(high + FIT_CYCLES * cycle), len(volts))
    if low - first < LEAST_CYCLES * cycle or high + frame > len(volts):
        return None
    shows_after = stop - high >= DEAD_CYCLES * cycle
    if not (shows_after or dead):
        return None
    basis = _basis(first, max(high + frame, stop), hz / rate_hz)
    sizes = _solved(basis[: low - first], volts[first:low])
    ahead = volts[first:low] - basis[: low - first] @ sizes
    sigma = float(np.sqrt(np.mean(ahead * ahead)))
    if not sigma > 0:
        return None
    part, beside = volts[low : high + frame], basis[low - first : high + frame - first]
    before, after = beside @ sizes, np.zeros(len(part))
    if shows_after:
        after = beside @ _solved(basis[high - first : stop - first], volts[high:stop])
    early, late = part - before, part - after
    energy = np.concatenate(([0.0], np.cumsum(early * early - late * late)))
    edge = int(np.argmin(energy[: high - low]))
    left = np.concatenate((early[:edge], late[edge:])) / sigma
    shape = np.exp(-np.arange(frame) / (RING_DECAY_S * rate_hz))
    begins = np.arange(
        max(0, edge - OFF_SAMPLES), min(len(left) - frame, edge + STEP_SAMPLES) + 1, STEP_SAMPLES
    )
    if len(begins) == 0:
        return None
    lines = np.fft.rfft(np.stack([left[at : at + frame] for at in begins]) * shape, axis=1)
    bins_hz = np.fft.rfftfreq(frame, 1 / rate_hz)
    column = int(np.searchsorted(bins_hz, CUTOFF_HZ))
    weight = float(np.sum(shape * shape))
    power = np.abs(lines[:, column:-1]) ** 2 / weight
    frames = np.lib.stride_tricks.sliding_window_view(ahead / sigma, frame)[:: frame // 4]
    usual = np.median(np.abs(np.fft.rfft(frames * shape, axis=1)[:, column:-1]) ** 2, axis=0) / weight
    usual /= math.log(2)
    power /= np.where(usual > LINE_POWER, usual, 1.0)
    row, order = np.unravel_index(int(np.argmax(power)), power.shape)
    most = float(power[row, order])
    if most < math.log(power.size / CHANCE):
        return None
    later = left[edge + SWITCHED_SAMPLES :][:frame]
    goes_on = np.abs(
        np.fft.rfft(later * shape[: len(later)], frame)[column:-1][max(0, order - 1) : order + 2]
    )
    if float(goes_on.max()) ** 2 < LATER_POWER * weight:
        return None
    peak = 2 * sigma * float(np.abs(lines[row, column + order])) / weight
    begin = low + int(begins[row])
    return FaintTransient(
        begin,
        begin + round(2.3 * RING_DECAY_S * rate_hz),
        peak,
        float(bins_hz[column + order]),
        math.sqrt(2 * most),
    )


def _solved(basis: FloatArray, volts: FloatArray) -> FloatArray:
    """(26,) what fits best; over a cycle and more its columns are nearly orthogonal."""
    return np.asarray(np.linalg.solve(basis.T @ basis, basis.T @ volts), dtype=np.float64)


def _basis(first: int, last: int, turns: float) -> FloatArray:
    """(last - first, 26) cosines and sines."""
    angles = 2 * math.pi * turns * np.arange(first, last)[:, None] * ORDERS
    return np.hstack((np.cos(angles), np.sin(angles)))
