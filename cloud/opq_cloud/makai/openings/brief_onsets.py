"""Onsets that may be a phase jump or a change of the frequency wait here for neighbours' Measurements. Pure.

    rate of change, or one window of the frequency beyond its limits  --> held for a window's length
        an event of the same disturbance is there, or has come --> it belongs to that
        most Boxes of its grid saw it                          --> the frequency: 10 s
        else                                                   --> a separate phase jump: requested as a dip

The edges of a dip move the phase, so every Box near by measures a rate of change: without this it would be a
second event for one disturbance. Where a Box's Measurement of that moment is on its way, an onset waits for
LATEST_S more at most. A lasting disturbance is reported again when it is over (`completions`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from opq_proto.decision import Decision, window_ns
from opq_proto.messages import Measurement

RATE_METRIC = "rocof"
LATEST_S = 5.0
"""Longest wait for Boxes whose Measurements of that moment are on their way, after a window's length."""
MAX_HELD = 10_000
"""Each with its Measurement, some 2 kB; beyond this limit an onset is decided at once."""


@dataclass(frozen=True, slots=True)
class HeldOnset:
    """`stored`: its Measurement is not accepted yet, and will be together with it."""

    measurement: Measurement
    decision: Decision
    stored: bool
    due_s: float


@dataclass(slots=True)
class BriefOnsets:
    """Onsets that wait, and the time of each Box's last one; one owner."""

    held: list[HeldOnset] = field(default_factory=list)
    last_ns: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Box -> the window of its last one."""

    def hold(self, measurement: Measurement, decision: Decision, stored: bool, due_s: float) -> bool:
        """Returns True if the onset waits from now on; False if it need not wait, or if too many wait."""
        if not is_brief(measurement, decision):
            return False
        self.last_ns[measurement.box_id] = window_ns(measurement)
        if len(self.held) >= MAX_HELD:
            return False
        self.held.append(HeldOnset(measurement, decision, stored, due_s))
        return True

    def due(self, now_s: float, may_wait: Callable[[HeldOnset], bool]) -> list[HeldOnset]:
        """Returns the onsets whose time has come, the oldest first, and removes them.

        One that `may_wait` for Boxes that are late waits for LATEST_S more at most.
        """
        found = [
            each
            for each in self.held
            if now_s >= each.due_s and (now_s >= each.due_s + LATEST_S or not may_wait(each))
        ]
        if found:
            left = set(map(id, found))
            self.held = [each for each in self.held if id(each) not in left]
        return found

    def is_shared(self, span_ns: tuple[int, int], box_ids: Iterable[str], tolerance_ns: int) -> bool:
        """Returns True if more than half of these Boxes had one within `tolerance_ns` of the span."""
        start_ns, end_ns = span_ns[0] - tolerance_ns, span_ns[1] + tolerance_ns
        boxes = list(box_ids)
        spans = (self.last_ns[box_id] for box_id in boxes if box_id in self.last_ns)
        return 2 * sum(start < end_ns and start_ns < end for start, end in spans) > len(boxes)


def is_brief(measurement: Measurement, decision: Decision) -> bool:
    """Returns True if it may be only a phase jump: a rate, or a deviation of less than the whole window."""
    if decision.metric == RATE_METRIC:
        return True
    f = measurement.metrics.get("f") if decision.metric == "f" else None
    if f is None:
        return False
    low = decision.value < decision.limit
    return f.average >= decision.limit if low else f.average <= decision.limit
