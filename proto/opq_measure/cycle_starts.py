"""Where each cycle of Urms(1/2) begins, and how long it is: also beside a jump of the phase.

The tracked half-cycle edges pass over a jump within four cycles, so near one they are the zero crossings of
no wave. Urms(1/2) is the rms "over one cycle, commencing at a fundamental zero crossing" (61000-4-30:2015,
3.25). Its "cycle duration depends on the frequency", which may be that of the last values not flagged (5.4.1,
note). So before a jump a cycle begins at a zero crossing of the wave before it, from the jump on at one of
the wave after it, and lasts one period of the steady wave whatever lies in it. A crossing that a jump repeats
counts once, and one that it leaps over has the place of the next.

The jump is where switching from the wave a cycle earlier to the wave a cycle later leaves least.

Source: as above, clauses from memory; change point, Basseville and Nikiforov 1993, 2.6.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from opq_measure.rms import half_cycle_rms_v, one_cycle_rms
from opq_measure.signal import BoolArray, FloatArray, IndexArray, SignalArray
from opq_measure.timebase.window import Window

MEDIAN_SIDE_HALF_CYCLES = 8
"""The length of a cycle is a median over this many half cycles before and after; a jump affects 7 of the
17."""
SAME_EDGE_SAMPLES = 0.5
"""Edges of a window and of its track that are this close are the same."""
MIN_LENGTHS = 9
"""With fewer half cycles a phase jump is in the median of their lengths."""
MOST_STRETCH = 0.001
"""Share by which a cycle between edges may differ from the usual one: 0.05 % of Urms(1/2). A jump of 1.5
degrees stretches the tracked cycles beside it by more, so a jump is looked for at such cycles alone."""
CYCLES_BEFORE = 2.5
"""Cycles before a start in which jumps are looked for; a window's context has as many."""
CYCLES_AFTER = 3.5
"""Cycles after a start in which jumps are looked for; a window's context has as many."""
DIFFERENCE_SHARE = 0.03
"""Least difference from the cycle before, over the rms: 1.7 degrees; a smaller jump moves Urms(1/2) by
less than 0.01 %."""
OVER_REST = 4.0
"""The difference at a jump has at least this many times the energy of that elsewhere."""
TWO_JUMPS_CYCLES = 1.75
"""A difference from the cycle before, smoothed, lasts 1.1 to 1.5 cycles after a jump. If it is longer, there
were two."""
SEARCH_CYCLES = 0.4
"""Cycles around the first estimate in which a jump is searched."""
LEFT_SHARE = 0.2
"""Most of the energy of the difference that a jump may leave."""
LEAST_WAVE_CYCLES = 1.25
"""A wave that lasts less between two jumps has no zero crossings of its own: those tracked over it count."""
LEAST_FITTED_CYCLES = 0.4
"""Shortest stretch to which a wave is fitted."""
FAINT_SHARE = 0.02
"""A fundamental below this share of the largest beside it has no phase."""
FINENESS = 2.0**20
"""Starts that were found are whole multiples of a millionth of a sample, so that a sum with any whole number
of samples is exact and a stream has the same bits however it was cut."""
STARTS_KEPT = 256
"""Starts that are kept with their samples, some 11 KB each at 12 kHz."""
LEAST_CYCLE_SAMPLES = 12
"""Fewest samples of a cycle in which a jump is looked for."""


def cycle_lengths(half_edges: FloatArray, first: int, stop: int) -> FloatArray:
    """(stop - first,) samples: the median length of a cycle around each of the half edges `first` .. `stop`.

    At the ends of `half_edges` the nearest whole neighbourhood is used; the median follows a frequency ramp.
    """
    lengths = half_edges[2:] - half_edges[:-2]
    around = min(MEDIAN_SIDE_HALF_CYCLES, (len(lengths) - 1) // 2)
    last = len(lengths) - 2 * around - 1
    rows = np.minimum(np.maximum(np.arange(first, stop) - around, 0), last)
    near = lengths[rows[:, None] + np.arange(2 * around + 1)]
    near.sort(axis=1)
    found: FloatArray = near[:, around]
    return found


def usual_length(half_edges: FloatArray) -> float:
    """Samples: the median length of a cycle."""
    return float(np.median(half_edges[2:] - half_edges[:-2]))


def urms_half_v(volts: SignalArray, half_edges: FloatArray) -> FloatArray:
    """(max(0, m - 2),) Urms(1/2) of a signal at its half edges, for drawings and lists as for events.

    `half_cycle_rms_v`, but beside a jump of the phase each cycle begins and lasts as `cycles_from` says: over
    the tracked edges the lowest value of a dip with a jump of 60 degrees is 3 % of nominal off, and class A
    allows 0.2 %.

    Error: 0.1 % of nominal against the same samples at the true zero crossings, in one of 64 at 1.6 kHz 0.6
    %: dips to 30 to 85 % and swells of 4 cycles and more, jumps to 90 degrees, 3 % harmonics, 1.6 to 25.6
    kHz. The instant of a jump lies anywhere between two samples, which adds up to 0.9 % at 1.6 kHz, 0.6 % at
    3.2 kHz, 0.3 % at 6.4 kHz (test_measure_cycle_starts.py has 12.8 and 25.6 kHz).
    """
    found = half_cycle_rms_v(volts, half_edges)
    if len(found) < MIN_LENGTHS:
        return found
    samples = np.asarray(volts, np.float64)
    starts, lengths, beside = cycles_from(samples, half_edges, 0, len(found))
    if beside.any():
        found[beside] = one_cycle_rms(samples, starts[beside], starts[beside] + lengths[beside])
    return found


def window_urms_v(window: Window, half_edges: FloatArray) -> FloatArray:
    """(m - 2,) `urms_half_v` at half edges of a window, with the window's context."""
    around = np.clip(window.track.edges(2), 0.0, len(window.volts))
    at = int(around.searchsorted(half_edges[0] - SAME_EDGE_SAMPLES))
    following = around[around > half_edges[-1] + SAME_EDGE_SAMPLES]
    found = urms_half_v(window.volts, np.concatenate((around[:at], half_edges, following)))
    return found[at : at + len(half_edges) - 2]


def uneven(half_edges: FloatArray) -> BoolArray:
    """(w,) True for windows, whose half edges are (w, m), in which some cycle may be beside a jump."""
    lengths = half_edges[:, 2:] - half_edges[:, :-2]
    return np.asarray(np.ptp(lengths, axis=1) > 2 * MOST_STRETCH * lengths.min(axis=1))


def cycles_from(
    volts: FloatArray, half_edges: FloatArray, first: int, stop: int
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Start and length in samples of the cycles at half edges `first` .. `stop`; which are beside a jump.

    Args:
        volts: (n,) float64.
        half_edges: (m,) rising, fractional positions in `volts`; `stop` is m - 2 at most.
    Returns:
        Three arrays (stop - first,). Each length is the median around. Where the last is False the cycle
        begins at its edge, because there is no jump, or because the cycle that was found leaves the samples.

    A result depends on the edges within MEDIAN_SIDE_HALF_CYCLES and on the samples within 3.5 cycles.
    """
    starts = half_edges[first:stop].copy()
    lengths = cycle_lengths(half_edges, first, stop)
    beside = np.abs(half_edges[first + 2 : stop + 2] - starts - lengths) > MOST_STRETCH * lengths
    usual = float(np.median(lengths)) if len(lengths) else 0.0
    if LEAST_CYCLE_SAMPLES <= usual < len(volts) / 3:
        for at in np.flatnonzero(beside).tolist():
            start = _start(volts, float(starts[at]), float(lengths[at]))
            starts[at] = round(start * FINENESS) / FINENESS
    leaves = (starts < 0) | (starts + lengths > len(volts))
    starts[leaves] = half_edges[first:stop][leaves]
    return starts, lengths, beside & ~leaves


def _start(volts: FloatArray, edge: float, length: float) -> float:
    """The start of the cycle whose tracked edge is `edge`."""
    edge, length = (round(each * FINENESS) / FINENESS for each in (edge, length))
    base = int(edge)
    low = max(0, base - round(CYCLES_BEFORE * length))
    part = volts[low : base + round(CYCLES_AFTER * length) + 1]
    return low + _start_in(part.tobytes(), edge - low, length)


@lru_cache(maxsize=STARTS_KEPT)
def _start_in(samples: bytes, edge: float, length: float) -> float:
    """The same within these samples: a gateway's figures and its detector ask for the same cycles."""
    part, near = np.frombuffer(samples), edge
    jumps = _jumps(part, length)
    if not jumps:
        return edge
    bounds = [0.0, *jumps, float(len(part))]
    here = int(np.searchsorted(jumps, near, side="right"))
    stretches = range(max(0, here - 1), min(len(jumps), here + 1) + 1)
    waves = {each: _crossing(part, length, bounds[each], bounds[each + 1], near) for each in stretches}
    sizes = [size for size, _ in waves.values()]
    if min(sizes) < FAINT_SHARE * max(sizes):
        return edge
    inside = {each: at for each, (_, at) in waves.items() if bounds[each] <= at < bounds[each + 1]}
    if not inside:  # the jump leaps over this crossing
        last = waves[min(here + 1, len(jumps))][1] if waves[here][1] >= bounds[here + 1] else waves[here][1]
        return last + length / 2
    if len(inside) == 1:
        return next(iter(inside.values()))
    first = min(inside)
    level, *values = one_cycle_rms(part, *_spans(bounds[first + 1] - length, inside.values(), length))
    return max(zip(np.abs(np.array(values) - level), inside.values(), strict=True))[1]


def _spans(before: float, crossings: Iterable[float], length: float) -> tuple[FloatArray, FloatArray]:
    starts = np.array([before, *crossings])
    return starts, starts + length


def _jumps(part: FloatArray, length: float) -> list[float]:
    """Places at which the wave changes into another one, in samples; empty if no such place explains it."""
    size = math.ceil(length)
    apart = part[size + 2 :] - _shifted(part, -length, size + 2, len(part))  # from the cycle before
    half = max(2, round(length / 2))
    if len(apart) < 2 * half:
        return []
    square = apart * apart
    smooth = _moving_mean(square, half)  # entry i is centred on i + (half - 1) / 2
    order = np.sort(smooth)
    rest = float(order[len(order) // 4])
    least = max(OVER_REST * rest, (DIFFERENCE_SHARE * float(np.sqrt(np.mean(part * part)))) ** 2)
    most = float(order[-1])
    if most < least:
        return []
    beyond = smooth > max(least, (most + rest) / 4)
    steps = np.flatnonzero(np.diff(np.concatenate(([False], beyond, [False])).astype(np.int8)))
    found: list[float] = []
    offset = size + 2 + (half - 1) / 2
    for begin, end in zip(steps[::2].tolist(), steps[1::2].tolist(), strict=True):
        long = end - begin > TWO_JUMPS_CYCLES * length
        if begin > 0:
            found.append(begin + offset)
        if (long or begin == 0) and end < len(beyond):
            found.append(end + offset - length)
    refined: list[float] = []
    for index, at in enumerate(found):
        bounds = (
            refined[-1] if refined else 0.0,
            found[index + 1] if index + 1 < len(found) else float(len(part)),
        )
        better = _refined(part, length, at, *bounds)
        if better is None or better - bounds[0] < (LEAST_WAVE_CYCLES * length if refined else 0):
            return []
        refined.append(better)
    return refined


def _refined(part: FloatArray, length: float, near: float, first: float, stop: float) -> float | None:
    """The place near `near` at which the wave before passes into the wave after."""
    reach = SEARCH_CYCLES * length
    low, high = (
        max(math.ceil(near - reach), math.ceil(first)),
        min(math.floor(near + reach), math.floor(stop)),
    )
    if high - low < 3:
        return None
    before = _template(part, length, low, high, first, low, -1)
    after = _template(part, length, low, high, high, stop, 1)
    if before is None or after is None:
        return None
    now = part[low:high]
    early, late = (now - before) ** 2, (now - after) ** 2
    cost = np.concatenate(([0.0], np.cumsum(early))) + np.concatenate((np.cumsum(late[::-1])[::-1], [0.0]))
    at = int(np.argmin(cost))
    if cost[at] > LEFT_SHARE * max(float(early.sum()), float(late.sum())):
        return None
    return low + at - 0.5


def _template(
    part: FloatArray, length: float, low: int, high: int, first: float, stop: float, sign: int
) -> FloatArray | None:
    """The wave of the stretch `first` .. `stop`, continued to the samples `low` .. `high`."""
    if first + 2 <= low + sign * length and high + sign * length <= stop - 2:
        return _shifted(part, sign * length, low, high)
    if stop - first < LEAST_FITTED_CYCLES * length:
        return None
    wave = _fitted(part, length, first, stop, low if sign < 0 else high)
    return np.asarray(_basis(np.arange(low, high), length) @ wave)


def _crossing(part: FloatArray, length: float, first: float, stop: float, near: float) -> tuple[float, float]:
    """Size of the fundamental between two places, and its zero crossing that is nearest to `near`."""
    wave = _fitted(part, length, first, stop, near)
    size = math.hypot(wave[1], wave[2])
    turn = math.atan2(wave[1], wave[2]) / (2 * math.pi) * length  # a sine crosses zero at -turn
    return size, -turn + length / 2 * round((near + turn) / (length / 2))


def _fitted(part: FloatArray, length: float, first: float, stop: float, near: float) -> FloatArray:
    """Weights of 1, cosine and sine of the wave between two places, from its whole cycle nearest to `near`.

    They are 0 where the stretch is too short. One shorter than a cycle has no constant, which it cannot show.
    """
    begin, end = math.ceil(first), min(math.floor(stop) + 1, len(part))
    take = min(round(length), end - begin)
    if take < LEAST_FITTED_CYCLES * length:
        return np.zeros(3)
    begin = min(max(begin, round(near - take / 2)), end - take)
    at = np.arange(begin, begin + take)
    basis = _basis(at, length)
    if take < round(length):
        basis[:, 0] = 0.0
    return np.asarray(np.linalg.lstsq(basis, part[at], rcond=None)[0])


def _basis(at: FloatArray | IndexArray, length: float) -> FloatArray:
    turn = 2 * np.pi / length * at
    return np.stack((np.ones(len(turn)), np.cos(turn), np.sin(turn)), axis=1)


def _shifted(part: FloatArray, by: float, first: int, stop: int) -> FloatArray:
    """The values `by` samples after `first` .. `stop`, by the four samples around, which must be there."""
    whole = math.floor(by)
    rest = by - whole
    weights = (
        -rest * (rest - 1) * (rest - 2) / 6,
        (rest + 1) * (rest - 1) * (rest - 2) / 2,
        -(rest + 1) * rest * (rest - 2) / 2,
        (rest + 1) * rest * (rest - 1) / 6,
    )
    found = np.zeros(stop - first)
    for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
        found += weight * part[first + whole + offset : stop + whole + offset]
    return found


def _moving_mean(values: FloatArray, window: int) -> FloatArray:
    """Entry i is the mean of values[i : i + window]."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    found: FloatArray = (total[window:] - total[:-window]) / window
    return found
