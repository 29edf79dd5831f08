"""What the numbers of two Measurements of a Box say about the time between them.

Pure, and apart from `OutageWatch`, of whose state it needs nothing.
"""

from opq_proto.decision import window_ns
from opq_proto.messages import Measurement


def measured_s(before: Measurement, after: Measurement) -> float | None:
    """Returns for how much time between two Measurements of a Box numbers were given; None: not known."""
    if before.sequence is None or after.sequence is None or after.sequence <= before.sequence:
        return None
    start_ns, end_ns = window_ns(after)
    return (after.sequence - before.sequence - 1) * (end_ns - start_ns) / 1e9


def possibly_measured_s(measured: float | None, passed_s: float, dark_s: float) -> float | None:
    """Returns the same where the Box had no supply for `dark_s` of `passed_s`.

    What was not dark limits how many Measurements there can be: a gateway that was killed skips numbers.
    """
    return None if measured is None else min(measured, max(0.0, passed_s - dark_s))


def is_next(before: Measurement, after: Measurement) -> bool:
    """Whether no number is missing between two Measurements."""
    if before.sequence is None or after.sequence is None:
        return True
    return after.sequence <= before.sequence + 1
