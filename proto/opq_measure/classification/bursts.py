"""Transients in the residual of the waves of a record's pieces: stretches with more energy than noise.

    residual / noise --> energy over 1 ms and 5 ms --> stretches that stand out --> a ringing, an impulse, or
                                                       the mains itself, where an edge was not found

A ringing has three half waves or more in the damped sine that fits best, within the stretch and before it
fades to a fifth. An impulse goes to one side.

Source: energy detector, Urkowitz 1967; classes of IEEE 1159-2019, 4.2.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from opq_measure.classification.pieces import Pieces
from opq_measure.signal import BoolArray, FloatArray
from opq_measure.waveform.oscillation import Oscillation, oscillation
from opq_measure.waveform.pulse import MIN_HALF_WAVES, lobes_of

WINDOWS_S = (0.0003, 0.001, 0.005)
"""Lengths of the search windows, for an impulse, a ringing and a longer ringing."""
BURST_SCATTERS = 5.0
"""A burst exceeds the mean power of noise over a window by this many scatters, which noise does in one of
10^5 records."""
ENDING_SCATTERS = 2.5
"""The stretch ends where the mean power over the last window falls to this many scatters."""
FADED_SHARE = 0.2
"""The least half wave, as a share of the largest, as in `pulse`."""
RINGS_SHARE = 0.4
"""Least share of the energy above the noise that a damped sine explains of a ringing."""
ONE_SIDED_SHARE = 0.4
"""Least share of the energy above the noise that an impulse explains."""
MAINS_SHARE = 0.3
"""A stretch is mains at another level if the fundamental explains this share of it."""
LEAST_HZ = 200.0
"""A slower swing is a level or a fluctuation that its wave does not follow."""
END_SAMPLES = 3
"""An impulse within this many samples of an end of its piece may be the edge there, which was found
inexactly."""
MAINS_CYCLES = 0.3
"""Least length of a stretch that may be mains."""
CUT_HALF_WAVE_SHARE = 0.6
"""Least share of a half wave that is cut where the ringing begins or fades."""
LOBE_SIGMAS = 4.0
"""A half wave of a burst stands out of the noise by this many sigma."""
HIDDEN_S = 0.01
"""Noise may hide all of a ringing except its first half wave; the rest is searched within this time."""
HIDDEN_UNKNOWNS = 25.0
"""Energy in sigma^2 by which this longer ringing has to explain more than an impulse."""
MOST_ONSETS = 3
"""Number of samples that are tried as the beginning of a burst."""
RINGING_PENALTY = 10.0
"""Energy in sigma^2 by which a ringing has to explain more than an impulse, because it has more unknowns."""
MOST_BESIDE = 1.5
"""Most power, in sigma^2, that a ringing leaves beside an impulse; two ringings at once leave more."""
FIT_ROUNDS = 3
"""Fits of a ringing with an impulse in it; an impulse of ten samples moves the first one."""
FAR_SHARE = 0.5
"""An impulse is above this share of the largest deviation from the ringing, at first."""
DECAYS_S = np.geomspace(5e-5, 2e-3, 8)


@dataclass(frozen=True, slots=True)
class Burst:
    """`first` .. `stop` in samples of the record; `hz` is NaN for an impulse; `sigmas` by its energy."""

    first: int
    stop: int
    peak_v: float
    hz: float
    damping_s: float
    sigmas: float


def bursts_in(pieces: Pieces, rate_hz: float, least_v: float) -> list[Burst]:
    """Every transient with a peak of `least_v` or more, in time order."""
    found = []
    seen = np.abs(pieces.residual[np.isfinite(pieces.residual)])
    usual = (
        1.4826 * float(np.median(seen)) if len(seen) else 0.0
    )  # with a line between harmonics, more than noise
    for piece in pieces.steady:
        left, sigma = pieces.residual[piece.start : piece.stop], max(piece.rest, usual)
        if sigma == 0.0:
            continue  # digital silence
        for first, stop in _stretches(left / sigma, rate_hz):
            part = left[first:stop]
            if float(np.abs(part).max()) < least_v or not _is_loud(part / sigma):
                continue
            if (stop - first) * piece.hz >= MAINS_CYCLES * rate_hz:
                begin, end = piece.start + first, piece.start + stop
                quarter = round(rate_hz / piece.hz / 4)
                ahead = piece.volts(begin + quarter, end + quarter)
                part = _without_mains(part, piece.volts(begin, end), ahead)
                if float(np.abs(part).max()) < least_v or not _is_loud(part / sigma):
                    continue
            longer = left[first : max(stop, first + round(HIDDEN_S * rate_hz))]
            burst = _burst(part, longer, sigma, piece.hz, rate_hz, piece.start + first)
            is_cut = first < END_SAMPLES or stop > len(left) - END_SAMPLES
            if burst is not None and not (is_cut and math.isnan(burst.hz)):
                found.append(burst)
            if burst is not None and math.isfinite(burst.hz):
                found += (
                    each
                    for each in _impulse_beside(part, burst, sigma, rate_hz, least_v)
                    if each.first - piece.start >= END_SAMPLES and piece.stop - each.stop >= END_SAMPLES
                )
    return sorted(found, key=lambda each: each.first)


def _stretches(ratio: FloatArray, rate_hz: float) -> Iterator[tuple[int, int]]:
    power = ratio * ratio
    total = np.concatenate(([0.0], np.cumsum(power)))
    out = np.zeros(len(power), dtype=np.bool_)
    goes_on = np.zeros(len(power), dtype=np.bool_)
    size = 1
    for seconds in WINDOWS_S:
        size = max(2, round(seconds * rate_hz))
        if len(power) < size:
            break
        mean = (total[size:] - total[:-size]) / size
        scatter = math.sqrt(2 / size)
        for above, marks in ((BURST_SCATTERS, out), (ENDING_SCATTERS, goes_on)):
            hit = np.flatnonzero(mean > 1 + above * scatter + above * above / size)
            marks |= _spread(hit, size, len(power))
    for first, stop in _runs(goes_on, size):
        if out[first:stop].any():
            beyond = first + np.flatnonzero(np.abs(ratio[first:stop]) > 3)
            if len(beyond):
                yield int(beyond[0]), int(beyond[-1]) + 1


def _spread(begins: np.ndarray, size: int, count: int) -> BoolArray:
    edges = np.zeros(count + 1)
    np.add.at(edges, begins, 1)
    np.add.at(edges, begins + size, -1)
    return np.cumsum(edges)[:count] > 0


def _runs(marks: BoolArray, gap: int) -> Iterator[tuple[int, int]]:
    at = np.flatnonzero(marks)
    if len(at):
        for run in np.split(at, np.flatnonzero(np.diff(at) > gap) + 1):
            yield int(run[0]), int(run[-1]) + 1


def _burst(
    part: FloatArray, longer: FloatArray, sigma: float, mains_hz: float, rate_hz: float, first: int
) -> Burst | None:
    """The stretch as a ringing or an impulse; `longer` continues for as long as noise may hide a ringing."""
    energy = float(part @ part)
    over = energy - len(part) * sigma**2
    peak = float(part[int(np.argmax(np.abs(part)))])
    sigmas = math.sqrt(max(0.0, over)) / sigma
    to_one_side = one_sided(part, rate_hz)
    swings = len(lobes_of(part, max(FADED_SHARE * abs(peak), LOBE_SIGMAS * sigma))) >= MIN_HALF_WAVES
    ring = oscillation(part, rate_hz)
    if ring is not None:
        explained = ring.share * energy
        least_s = MAINS_CYCLES / mains_hz
        lasts = ring.damping_s <= 0 or ring.damping_s * math.log(1 / FADED_SHARE) >= least_s
        is_long = lasts and len(part) >= least_s * rate_hz
        if is_long and ring.frequency_hz < LEAST_HZ and explained > to_one_side:
            return None
        better = explained - to_one_side > RINGING_PENALTY * sigma**2
        if better and (swings or (_rings(ring, len(part), rate_hz) and explained >= RINGS_SHARE * over)):
            return Burst(first, first + len(part), peak, ring.frequency_hz, ring.damping_s, sigmas)
    largest = int(np.argmax(np.abs(part)))
    onsets = np.flatnonzero(np.abs(part[: largest + 1]) > LOBE_SIGMAS * sigma)[:MOST_ONSETS].tolist()
    for onset in onsets:
        hidden = oscillation(longer[onset:], rate_hz)
        if hidden is not None and _rings(hidden, len(longer) - onset, rate_hz):
            explained = hidden.share * float(longer[onset:] @ longer[onset:])
            if explained - one_sided(longer[onset:], rate_hz) > HIDDEN_UNKNOWNS * sigma**2:
                return Burst(first, first + len(part), peak, hidden.frequency_hz, hidden.damping_s, sigmas)
    if to_one_side < ONE_SIDED_SHARE * over:
        return None
    begin, end = _around(part, LOBE_SIGMAS * sigma, rate_hz)
    return Burst(first + begin, first + end, peak, math.nan, math.nan, sigmas)


def _impulse_beside(
    part: FloatArray, rings: Burst, sigma: float, rate_hz: float, least_v: float
) -> Iterable[Burst]:
    """The impulse in what a ringing leaves of its stretch, where it leaves only noise beside it.

    The ringing begins with the stretch, or after its largest sample, or as far before as its wave goes back:
    its own first half wave is damped and of its frequency, and an impulse is not.
    """
    half_wave = round(rate_hz / rings.hz / 2)
    peak_stop = _around(part, LOBE_SIGMAS * sigma, rate_hz)[1]
    later = np.flatnonzero(np.abs(part[peak_stop:]) > LOBE_SIGMAS * sigma)
    begins = [0, peak_stop + int(later[0])] if len(later) else [0]
    left, begin = min(
        (_without_ringing(part, begin, sigma, rate_hz) for begin in begins),
        key=lambda each: float(np.sum(np.minimum(np.abs(each[0]), LOBE_SIGMAS * sigma) ** 2)),
    )
    first, stop = _around(left, LOBE_SIGMAS * sigma, rate_hz)
    run = left[first:stop]
    peak = float(run[int(np.argmax(np.abs(run)))])
    beside = np.concatenate((left[:first], left[stop:]))
    near = slice(max(0, first - half_wave), stop + half_wave)
    least = max(least_v, float(np.abs(part - left)[near].max()))  # it may end suddenly
    if abs(first - begin) < half_wave or stop - first > half_wave or abs(peak) < least:
        return
    power = float(np.mean(beside**2)) if len(beside) >= half_wave else math.inf
    if power > MOST_BESIDE * sigma**2 or not _is_loud(run / max(sigma, math.sqrt(power))):
        return
    over = float(run @ run) - len(run) * sigma**2
    if one_sided(left, rate_hz) >= ONE_SIDED_SHARE * over:
        sigmas = math.sqrt(over) / sigma
        yield Burst(rings.first + first, rings.first + stop, peak, math.nan, math.nan, sigmas)


def _without_ringing(part: FloatArray, begin: int, sigma: float, rate_hz: float) -> tuple[FloatArray, int]:
    """What the ringing leaves, and where it begins: at `begin`, or as far before as the wave goes back.

    Samples far off the ringing are taken as it has them.
    """
    own = part[begin:]
    at = np.arange(len(own)) / rate_hz
    ring = oscillation(own, rate_hz)
    for _ in range(FIT_ROUNDS - 1):
        if ring is None:
            break
        shown = ring.values(at)
        off = np.abs(own - shown)
        is_far = off > max(LOBE_SIGMAS * sigma, FAR_SHARE * float(off.max()))
        ring = oscillation(np.where(is_far, shown, own), rate_hz)
    if ring is None:
        return part, begin
    fading = math.log(1 / FADED_SHARE) * ring.damping_s * rate_hz
    back = round(min(float(begin), fading)) if fading > 0 else 0
    shown, seen = ring.values(np.arange(-back, len(own)) / rate_hz), part[begin - back :]
    gain = np.cumsum((seen**2 - (seen - shown) ** 2)[:back][::-1])
    earlier = int(np.argmax(np.concatenate(([0.0], gain))))
    left = part.copy()
    left[begin - earlier :] -= shown[back - earlier :]
    return left, begin - earlier


def _around(part: FloatArray, least: float, rate_hz: float) -> tuple[int, int]:
    """Begin and end of the run of samples above `least` that holds the peak; with none, of the whole part."""
    largest = int(np.argmax(np.abs(part)))
    gap = max(1, round(WINDOWS_S[0] * rate_hz))
    runs = _runs(np.abs(part) > least, gap)
    return next((run for run in runs if run[0] <= largest < run[1]), (0, len(part)))


def _rings(ring: Oscillation, count: int, rate_hz: float) -> bool:
    """Whether its third half wave lies within the stretch and has a fifth of the first one's size."""
    lasts = ring.damping_s <= 0 or ring.frequency_hz * ring.damping_s * math.log(1 / FADED_SHARE) >= 1
    return lasts and 2 * ring.frequency_hz * count / rate_hz >= MIN_HALF_WAVES - CUT_HALF_WAVE_SHARE


def one_sided(part: FloatArray, rate_hz: float) -> float:
    """Energy that the best impulse explains: one that decays, or one that grows and breaks off."""
    most = 0.0
    for decay_s in DECAYS_S:
        at = np.arange(min(len(part), max(2, round(4 * decay_s * rate_hz))))
        for shape in (np.exp(-at / (decay_s * rate_hz)), len(at) - at):
            norm = float(shape @ shape)
            for each in (shape, shape[::-1]):
                most = max(most, float((np.correlate(part, each, "valid") ** 2).max()) / norm)
    return most


def _without_mains(part: FloatArray, wave: FloatArray, ahead: FloatArray) -> FloatArray:
    """The stretch without a dip or swell that is too short to be a piece."""
    basis = np.column_stack((wave, ahead))
    solved = np.linalg.lstsq(basis, part, rcond=None)[0]
    explained = float(solved @ (basis.T @ part))
    return part - basis @ solved if explained >= MAINS_SHARE * float(part @ part) else part


def _is_loud(ratio: FloatArray) -> bool:
    scatter = math.sqrt(2 / len(ratio))
    return float(np.mean(ratio * ratio)) > 1 + BURST_SCATTERS * scatter + BURST_SCATTERS**2 / len(ratio)
