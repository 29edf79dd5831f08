"""Pieces of a recording with its shortest gaps filled: one missing sample does not end all figures there.

No figure crosses a gap; but a gap of a thirty-second of a cycle, such as one marked sample, hides nothing of
a wave. It is filled by a cubic through the two samples on either side, it stays among the gaps, and what is
measured over it is flagged.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import FloatArray, SignalPiece
from opq_recordings.recording import Recording

SHARE_OF_CYCLE = 1 / 32
BESIDE = 2
"""Samples on either side of the gap that the cubic goes through."""


def bridged_samples(rate_hz: float, nominal_hz: float) -> int:
    """The longest gap that is filled, in samples: at least one."""
    return max(1, int(SHARE_OF_CYCLE * rate_hz / nominal_hz))


def bridged_pieces(recording: Recording, most: int) -> Iterator[tuple[SignalPiece, bool]]:
    """The pieces of a recording in order, and whether each is filled in between two others."""
    last: SignalPiece | None = None
    for piece in recording.pieces():
        if last is not None:
            missing = piece.first_sample - last.end_sample
            if 0 < missing <= most and len(last.volts) >= BESIDE and len(piece.volts) >= BESIDE:
                first = last.end_sample
                values = filled(last.volts[-BESIDE:], piece.volts[:BESIDE], missing)
                yield (
                    SignalPiece(values, first, recording.rate_hz, recording.time_ns(first), last.v_per_lsb),
                    True,
                )
        yield piece, False
        last = piece


def bridged_volts(volts: FloatArray, most: int) -> FloatArray:
    """(n,) the volts with gaps (NaN) of at most so many samples filled."""
    missing = np.flatnonzero(np.isnan(volts))
    if not len(missing):
        return volts
    found = volts.copy()
    for gap in np.split(missing, np.flatnonzero(np.diff(missing) > 1) + 1):
        first, stop = int(gap[0]), int(gap[-1]) + 1
        if stop - first <= most and first >= BESIDE and stop + BESIDE <= len(volts):
            found[first:stop] = filled(
                volts[first - BESIDE : first], volts[stop : stop + BESIDE], stop - first
            )
    return found


def filled(before: NDArray[Any], after: NDArray[Any], missing: int) -> NDArray[Any]:
    """(missing,) values of the cubic through two samples before and two after, in the type of these."""
    known = np.array([-2.0, -1.0, missing, missing + 1.0])
    values = np.concatenate((before, after)).astype(np.float64)
    at = np.arange(missing, dtype=np.float64)
    found = np.zeros(missing)
    for k, value in enumerate(values):
        others = np.delete(known, k)
        found += value * np.prod((at[:, None] - others) / (known[k] - others), axis=1)
    if before.dtype.kind != "i":
        return found.astype(before.dtype)
    limits = np.iinfo(before.dtype)
    return np.rint(np.clip(found, limits.min, limits.max)).astype(before.dtype)
