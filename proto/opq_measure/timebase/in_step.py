"""Many trackers in step: each call processes the next chunks of all of them, one chunk per row.

A chunk of one signal is fifty numbers, and the calls of NumPy cost more than their arithmetic: sixteen
signals together take a fourth of the time. Rows do not affect each other, and how a chunk is processed
depends on its own signal alone, so the bits are those of a tracker alone (test_measure_in_step.py). A chunk
is quiet if its fundamental is there, at the tuned frequency, and does not step; only quiet chunks are
processed together, any other by its own tracker.
"""

from collections.abc import Sequence

import numpy as np

from opq_measure.signal import BoolArray, FloatArray, SignalArray
from opq_measure.timebase.hops import (
    HOPS_PER_CYCLE,
    MAX_CURVATURE,
    SIDE_HOPS,
    TURN,
    is_steady,
    neighbour_hops,
    straightened,
)
from opq_measure.timebase.phasors import hop_phasors
from opq_measure.timebase.tracker import (
    CONTEXT_HOPS,
    FAINT_SHARE,
    FORGOTTEN_SHARE,
    FUNDAMENTAL_SHARE,
    HIGHEST_SHARE,
    LOWEST_SHARE,
    MISTUNED_SHARE,
    Tracker,
    joined_hops,
)

FEWEST_TRACKERS = 3
"""Fewest trackers for which processing in rows saves time."""
TRACKERS_AT_ONCE = 64
"""Most trackers in one call: 1.5 MB of samples; more do not fit in the cache."""


def feed_all(trackers: Sequence[Tracker], volts: Sequence[SignalArray]) -> list[FloatArray]:
    """`Tracker.feed` of each tracker with its samples, which are checked already; no tracker twice."""
    reported: list[list[FloatArray]] = [[] for _ in trackers]
    for tracker, part in zip(trackers, volts, strict=True):
        tracker.append_volts(part)
    waiting = [at for at, tracker in enumerate(trackers) if tracker.has_chunk]
    while waiting:
        together: dict[tuple[float, float, float], list[int]] = {}
        for at in waiting:
            pace = trackers[at].pace
            if pace is None:
                reported[at].append(trackers[at].step())
            else:
                together.setdefault(pace, []).append(at)
        for group in together.values():
            if len(group) < FEWEST_TRACKERS:
                for at in group:
                    reported[at].append(trackers[at].step())
                continue
            for first in range(0, len(group), TRACKERS_AT_ONCE):
                part_of = group[first : first + TRACKERS_AT_ONCE]
                found = _step([trackers[at] for at in part_of])
                for at, hops in zip(part_of, found, strict=True):
                    reported[at].append(trackers[at].step() if hops is None else hops)
        waiting = [at for at in waiting if trackers[at].has_chunk]
    return [joined_hops(each) for each in reported]


def _step(trackers: Sequence[Tracker]) -> list[FloatArray | None]:
    """The hops that the next chunks make final, for trackers of one pace; None where it is not quiet."""
    rate_hz, nominal_hz, tuned_hz = trackers[0].pace or (0.0, 0.0, 0.0)
    chunks = [tracker.chunk() for tracker in trackers]
    tuned = chunks[0][1]
    blocks = np.array([block for block, _ in chunks])
    hop = blocks.shape[2]
    count = blocks.shape[1] - tuned.pieces + 1
    looked, accepted, first, usual, since, anchor_rad, highest_rad = (
        np.array(each) for each in zip(*(tracker.row() for tracker in trackers), strict=True)
    )
    phase, size, share = hop_phasors(blocks, count, tuned)
    usual, quiet = _usual(size, share, usual)
    per_sample = TURN * tuned_hz / rate_hz
    hz = _frequency_hz(phase, per_sample, hop, rate_hz, nominal_hz)
    quiet &= np.abs(hz / tuned_hz - 1) < MISTUNED_SHARE
    new = np.empty((len(trackers), 5, count))
    new[:, 0] = first[:, np.newaxis] + np.arange(0, count * hop, hop)
    new[:, 1], new[:, 2], new[:, 3], new[:, 4] = phase, size, 1.0, per_sample
    looked = np.concatenate((looked, new), axis=2)
    final = looked[:, :, SIDE_HOPS : SIDE_HOPS + count]
    quiet &= np.logical_and.reduce(is_steady(looked[:, 2], final[:, 3] > 0), axis=1)
    per_hop = (TURN * hz / rate_hz)[:, np.newaxis]
    raw = _unwrapped(final[:, 0], final[:, 1], per_hop, since[:, np.newaxis], anchor_rad[:, np.newaxis])
    newly = np.stack((final[:, 0], raw, final[:, 4]), axis=1)
    phase_rad, gain, smooth = _corrected(
        np.concatenate((accepted[:, :, -CONTEXT_HOPS:], newly), axis=2), hop, per_hop
    )
    quiet &= smooth
    hops = np.empty((len(trackers), 4, count))
    hops[:, 0] = final[:, 0]
    np.maximum.accumulate(phase_rad, axis=1, out=hops[:, 1])
    np.maximum(hops[:, 1], highest_rad[:, np.newaxis], out=hops[:, 1])
    highest = hops[:, 1, -1].tolist()
    hops[:, 1] += np.pi / 2  # from cosine to sine, whose zero crossings are the edges
    np.multiply(final[:, 2], 2.0, out=hops[:, 2])
    hops[:, 2] *= gain
    hops[:, 3] = 1.0
    found: list[FloatArray | None] = []
    rest = looked[:, :, count:].copy()  # a copy, so that no tracker keeps the others' rows alive
    ends = zip(final[:, 0, -1].tolist(), phase_rad[:, -1].tolist(), strict=True)
    rows = zip(trackers, quiet.tolist(), hz.tolist(), usual.tolist(), ends, highest, strict=True)
    for at, (tracker, is_quiet, own_hz, own_usual, anchor, own_highest) in enumerate(rows):
        if is_quiet:
            tracker.set_row(rest[at], newly[at], own_hz, own_usual, anchor, own_highest)
        found.append(hops[at] if is_quiet else None)
    return found


def _usual(size: FloatArray, share: FloatArray, before: FloatArray) -> tuple[FloatArray, BoolArray]:
    """(b,) the usual size of the fundamental, and where it is seen in every hop; see `Tracker._phasors`."""
    upper = 9 * size.shape[1] // 10
    level = np.partition(size, upper, axis=1)[:, upper]
    usual = np.maximum(level, before + FORGOTTEN_SHARE * (level - before))
    seen = (share > FUNDAMENTAL_SHARE) & (size > 0) & (size > FAINT_SHARE * usual[:, np.newaxis])
    return usual, np.logical_and.reduce(seen, axis=1)


def _frequency_hz(
    phase: FloatArray, per_sample: float, hop: int, rate_hz: float, nominal_hz: float
) -> FloatArray:
    """(b,) Hz, each computed like `Tracker._frequency_hz`."""
    cycle = HOPS_PER_CYCLE
    steps = phase[:, cycle:] - (phase[:, :-cycle] + per_sample * cycle * hop)
    steps -= TURN * np.rint(steps / TURN)
    steps.sort(axis=1)
    found = (per_sample + steps[:, steps.shape[1] // 2] / (cycle * hop)) * rate_hz / TURN
    return np.minimum(np.maximum(found, LOWEST_SHARE * nominal_hz), HIGHEST_SHARE * nominal_hz)


def _unwrapped(
    positions: FloatArray,
    angles_rad: FloatArray,
    per_sample: FloatArray,
    since: FloatArray,
    phase: FloatArray,
) -> FloatArray:
    """(b, m) phases, each row computed like `hops.unwrapped`."""
    carrier = phase + per_sample * (positions - since)
    off = (angles_rad - carrier) / TURN
    turns = off.copy()
    turns[:, 1:] -= off[:, :-1]
    found: FloatArray = angles_rad - TURN * np.rint(turns).cumsum(axis=1)
    return found


def _corrected(
    joined: FloatArray, hop: int, per_sample: FloatArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """(b, m) phases and gains like `hops.corrected`; (b,) True where no hop is missing and no phase jumps."""
    position, raw, tuned = joined[:, 0], joined[:, 1], joined[:, 2]
    count = joined.shape[2]
    low, high, apart, off, between = neighbour_hops(count)
    slope = (raw[:, high] - raw[:, low]) / (apart * hop)
    bend = (slope[:, high] - slope[:, low]) / (between * hop)
    most = MAX_CURVATURE * (per_sample / TURN) ** 2
    smooth: BoolArray = np.logical_and.reduce(np.abs(bend) <= most, axis=1)
    smooth &= position[:, -1] - position[:, 0] == (count - 1) * hop
    phase_rad, gain = straightened(raw, slope + bend * (off * hop), bend, tuned)
    return phase_rad[:, CONTEXT_HOPS:], gain[:, CONTEXT_HOPS:], smooth
