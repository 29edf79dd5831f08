"""Lasting disturbances in a record of which no window of 10/12 cycles is clear: measured in its pieces.

Windows that contain part of a dip are flagged and not used (61000-4-30, 4.7); a record of less than 0.2 s has
none. The pieces beside a level are used first, and those within a level if little lies beside it. The number
of samples and their noise give the uncertainty of each figure, so a short record is less sure. `faint_tones`
finds lines there.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from opq_measure.analysis.lasting_conditions import FREQUENCY_SIGMA_HZ, OTHER_NOMINAL_PERCENT, THD_SIGMA
from opq_measure.analysis.levels import LEVEL_SIGMA
from opq_measure.analysis.occurrence import Occurrence, confidence_of
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_measure.classification.pieces import Pieces
from opq_measure.events.spans import beyond, reaches
from opq_measure.waveform.steady import FREE_CYCLES, Steady
from opq_measure.written_numbers import significant

FAINT_SHARE = 0.1
"""A piece whose wave is below this share of the largest does not show a frequency."""
ENOUGH_CYCLES = 3.0
"""With this many cycles beside the levels, the cycles within them are not used."""
LEAST_CYCLES = 2.0
"""With fewer cycles in all, nothing is measured."""


def harmonics_between(signal: MeasuredSignal, pieces: Pieces, limits: ClassLimits) -> Iterable[Occurrence]:
    """THD of the pieces, corrected for their noise; nothing where a window is clear."""
    if np.isfinite(signal.analysis.series.thd).any():
        return
    waves = used(signal, pieces)
    if not waves:
        return
    ratio, sigma = thd_of(waves)
    percent, limit = 100 * ratio, limits.thd_percent
    if beyond(percent, limit + 100 * sigma):
        yield signal.throughout(
            "harmonics",
            confidence_of(percent, limit, math.hypot(THD_SIGMA * percent, 100 * sigma)),
            f"THD {percent:.2f} % in {_cycles(waves):.1f} cycles, above {limit:g} %",
            {"thd_percent": percent, "thd_percent_max": percent},
        )


def offset_between(signal: MeasuredSignal, pieces: Pieces, limits: ClassLimits) -> Iterable[Occurrence]:
    """Direct voltage of the pieces; nothing where a window is clear."""
    if np.isfinite(signal.analysis.series.dc_v).any():
        return
    waves = used(signal, pieces)
    if not waves:
        return
    weight = np.array([each.stop - each.start for each in waves], dtype=np.float64)
    offset_v = float(np.average([each.lines[0].real for each in waves], weights=weight))
    percent, limit = 100 * offset_v / signal.analysis.nominal_v, limits.dc.most_percent
    sigma = 100 / signal.analysis.nominal_v * waves[0].rest / math.sqrt(float(weight.sum()))
    if beyond(abs(percent), limit + sigma):
        yield signal.throughout(
            "dc_offset",
            confidence_of(abs(percent), limit, math.hypot(LEVEL_SIGMA * percent, sigma)),
            f"direct voltage of {percent:+.2f} % of nominal, {significant(offset_v, 3, sign=True)} V, in "
            f"{_cycles(waves):.1f} cycles, above {limit:g} %",
            {"dc_percent": percent, "dc_v": offset_v},
        )


def frequency_between(signal: MeasuredSignal, pieces: Pieces, limits: ClassLimits) -> Iterable[Occurrence]:
    """The common frequency of the pieces; nothing where a window is clear."""
    analysis = signal.analysis
    if np.isfinite(analysis.series.frequency_hz).any():
        return
    found = frequency_of(pieces.steady)
    if found is None:
        return
    hz, sigma_hz = found
    off_hz, nominal_hz = hz - analysis.nominal_hz, analysis.nominal_hz
    limit_hz = limits.deviation_percent / 100 * nominal_hz
    most_hz = OTHER_NOMINAL_PERCENT / 100 * nominal_hz
    if not beyond(abs(off_hz), limit_hz + 2 * sigma_hz) or beyond(abs(off_hz), most_hz):
        return
    yield signal.throughout(
        "frequency_deviation",
        confidence_of(abs(off_hz), limit_hz, math.hypot(2 * FREQUENCY_SIGMA_HZ, sigma_hz)),
        f"{hz:.3f} Hz over {_cycles(pieces.steady):.1f} cycles, off nominal by more than {limit_hz:g} Hz",
        {"deviation_hz": off_hz},
    )


def used(signal: MeasuredSignal, pieces: Pieces) -> list[Steady]:
    """The pieces beside levels, or all pieces if these have too few cycles."""
    limits, nominal_v = signal.rms_limits, signal.analysis.nominal_v
    low, high = (limits.threshold_percent(sign) / 100 * nominal_v * math.sqrt(2) for sign in (-1, 1))
    alive_v = limits.interruption_percent / 100 * nominal_v * math.sqrt(2)
    alive = [each for each in pieces.steady if beyond(each.amplitude, alive_v)]
    beside = [each for each in alive if reaches(each.amplitude, low) and not beyond(each.amplitude, high)]
    if _cycles(beside) >= ENOUGH_CYCLES:
        return beside
    return alive if _cycles(alive) >= LEAST_CYCLES else []


def thd_of(waves: Sequence[Steady]) -> tuple[float, float]:
    """THD as a ratio, of all waves together by their power, and the uncertainty that noise gives it."""
    power = fundamental = noise = 0.0
    for each in waves:
        size = each.stop - each.start
        of_line = 4 * each.rest**2 / size
        power += size * (float(np.sum(np.abs(each.lines[2:]) ** 2)) - of_line * (len(each.lines) - 2))
        fundamental += size * each.amplitude**2
        noise += size * of_line
    if not fundamental > 0:
        return 0.0, math.inf
    return math.sqrt(max(0.0, power) / fundamental), math.sqrt(noise / len(waves) / fundamental)


def frequency_of(waves: Sequence[Steady]) -> tuple[float, float] | None:
    """Hz of all waves together and its uncertainty, by the bound for a sine in white noise; or None."""
    largest = max((each.amplitude for each in waves), default=0.0)
    free = [
        each
        for each in waves
        if each.amplitude > FAINT_SHARE * largest
        and (each.stop - each.start) * each.hz >= FREE_CYCLES * each.rate_hz
    ]
    if not free:
        return None
    sigmas_hz = np.array(
        [
            math.sqrt(24.0)
            * max(each.rest, 1e-9 * each.amplitude)
            / each.amplitude
            / (each.stop - each.start) ** 1.5
            * each.rate_hz
            / (2 * math.pi)
            for each in free
        ]
    )
    weight = 1 / sigmas_hz**2
    return float(np.average([each.hz for each in free], weights=weight)), float(1 / math.sqrt(weight.sum()))


def _cycles(waves: Sequence[Steady]) -> float:
    return sum((each.stop - each.start) * each.hz / each.rate_hz for each in waves)
