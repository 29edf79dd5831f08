"""Which Measurements wait for nobody. Others are gathered for some milliseconds and handled together.

A turn costs as much as fifty Measurements in it, and a crossing may not wait for that. So what came is looked
at as bytes: both the broker and the triggering service do, before they decode anything.
"""

import struct

PRESSING_SWING = 0.05
"""An rms that swings by more of itself in its window is what a dip or a swell begins with: an original Box
sends no crossings."""
_CROSSING = b"\xf0\x3e\x01"
"""Field 1006 (`crossing`), true."""
_RMS = b"\x0a\x03rms\x12\x0f\x0d"
"""The entry `rms` of the metrics, up to its minimum; the maximum follows."""
_ENDS = struct.Struct("<fxf")


def is_pressing(body: bytes) -> bool:
    """Whether it may begin an event of milliseconds, or is none of the regular Measurements.

    body: of the wire. What is no Measurement is pressing too, and refused at once.
    """
    at = body.find(_RMS)
    if at < 0 or _CROSSING in body or len(body) < at + len(_RMS) + _ENDS.size:
        return True
    return swings(body, at + len(_RMS))


def swings(body: bytes, at: int) -> bool:
    """at: where the least rms stands."""
    low, high = _ENDS.unpack_from(body, at)
    return bool(not high - low <= PRESSING_SWING * high)
