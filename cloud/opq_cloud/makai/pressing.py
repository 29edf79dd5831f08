"""Finds the Measurements that are handled at once. The others are collected for some ms and handled together.

Starting a turn costs as much as handling fifty Measurements, so turns are kept apart; but a Measurement
that may begin an event cannot wait for the next turn. The triggering service detects it in the bytes of the
message, before it decodes anything.
"""

import struct

PRESSING_SWING = 0.05
"""Share of the largest rms of a window. Where the rms moves by more, a dip or a swell may begin: an original
Box reports no crossings."""
_CROSSING = b"\xf0\x3e\x01"
"""Field 1006 (`crossing`), true."""
_ASIDE = (b"\x92\x3f", b"\x9a\x3f")
"""Tags of fields 1010 and 1011: an interval or a disturbance, for which nobody waits."""
_RMS = b"\x0a\x03rms\x12\x0f\x0d"
"""How the metric `rms` is encoded, up to its least value; the largest follows."""
_ENDS = struct.Struct("<fxf")


def is_pressing(body: bytes) -> bool:
    """Returns True if this may begin an event, or is not a regular Measurement.

    body: an encoded Measurement. Any other message counts as pressing, so that it is refused at once.
    """
    at = body.find(_RMS)
    if at < 0 and _CROSSING not in body and any(tag in body for tag in _ASIDE):
        return False
    if at < 0 or _CROSSING in body or len(body) < at + len(_RMS) + _ENDS.size:
        return True
    low, high = _ENDS.unpack_from(body, at + len(_RMS))
    return bool(not high - low <= PRESSING_SWING * high)
