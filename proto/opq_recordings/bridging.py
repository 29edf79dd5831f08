"""Pieces of a recording with its shortest gaps filled, so that one missing sample does not end all figures.

Figures do not cross a gap. A gap of an eighth of a cycle, such as one or a few marked samples, hides little
of a wave. It is filled by a cubic through two samples on either side. It stays among the gaps, and figures
over it are flagged.

Error: at most 0.5 % of the amplitude of the fundamental, at 32 samples per cycle and 4 missing. A figure
beside an open gap is far worse, since the end of a sag and the frequency of a piece of a cycle are guessed.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import FloatArray, SignalPiece
from opq_recordings.recording import Recording

SHARE_OF_CYCLE = 1 / 8
SIDE_SAMPLES = 2
"""Least samples on either side of the gap. The cubic goes through the next one and through one further on."""
FURTHER_SHARE = 1 / 3
"""The second sample lies further on by this share of the gap, because noise would turn a cubic through
neighbours far off."""


def bridged_samples(rate_hz: float, nominal_hz: float) -> int:
    """The longest gap that is filled, in samples: at least one."""
    return max(1, int(SHARE_OF_CYCLE * rate_hz / nominal_hz))


def bridged_pieces(recording: Recording, most: int) -> Iterator[tuple[SignalPiece, bool]]:
    """The pieces of a recording in order, and whether each is filled in between two others."""
    last: SignalPiece | None = None
    for piece in recording.pieces():
        if last is not None:
            missing = piece.first_sample - last.end_sample
            if 0 < missing <= most and len(last.volts) >= SIDE_SAMPLES and len(piece.volts) >= SIDE_SAMPLES:
                first = last.end_sample
                reach = max(SIDE_SAMPLES, missing)
                values = filled(last.volts[-reach:], piece.volts[:reach], missing)
                yield (
                    SignalPiece(values, first, recording.rate_hz, recording.time_ns(first), last.v_per_lsb),
                    True,
                )
        yield piece, False
        last = piece


def bridged_volts(volts: FloatArray, most: int) -> FloatArray:
    """(n,) the volts with gaps (NaN) of at most this many samples filled."""
    missing = np.flatnonzero(np.isnan(volts))
    if not len(missing):
        return volts
    found = volts.copy()
    for gap in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1):
        first, stop = int(gap[0]), int(gap[-1]) + 1
        if stop - first <= most and first >= SIDE_SAMPLES and stop + SIDE_SAMPLES <= len(volts):
            reach = max(SIDE_SAMPLES, stop - first)
            before, after = volts[max(0, first - reach) : first], volts[stop : stop + reach]
            found[first:stop] = filled(before, after, stop - first)
    return found


def filled(before: NDArray[Any], after: NDArray[Any], missing: int) -> NDArray[Any]:
    """(missing,) values of the cubic through two samples before and two after, in the type of these."""
    beside = 1 + min(max(1, round(FURTHER_SHARE * missing)), _known(before[::-1]) - 1, _known(after) - 1)
    known = np.array([-beside, -1.0, missing, missing + beside - 1.0])
    values = np.array([before[-beside], before[-1], after[0], after[beside - 1]], dtype=np.float64)
    at = np.arange(missing, dtype=np.float64)
    found = np.zeros(missing)
    for k, value in enumerate(values):
        others = np.delete(known, k)
        found += value * np.prod((at[:, None] - others) / (known[k] - others), axis=1)
    if before.dtype.kind != "i":
        return found.astype(before.dtype)
    limits = np.iinfo(before.dtype)
    return np.rint(np.clip(found, limits.min, limits.max)).astype(before.dtype)


def _known(values: NDArray[Any]) -> int:
    """How many values there are before the first that is not a number."""
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(0, dtype=np.bool_)
    return int(np.argmax(missing)) if missing.any() else len(values)
