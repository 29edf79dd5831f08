"""The reasons for missing samples in words; the Measurement after a gap reports its length and reason.

Trends do not keep that, so the Measurements of the rows that are not whole are read, the newest first; they
are stored for a day. A failed network is not a reason, because its Measurements come later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from opq_cloud.store.store import ShownStore
from opq_proto.decision import window_ns
from opq_proto.measurement.continuity import GapReason, missing_s
from opq_proto.time_units import NS_PER_MS

WORDS = {
    GapReason.OVERRUN: "lost in the Box",
    GapReason.LINE: "lost between the Box and its gateway",
    GapReason.GATEWAY: "lost in the gateway, which paused, was not running, or was too slow",
    GapReason.RESTART: "restarted, with its supply there",
    GapReason.DARK: "the Box had no supply",
}
READ_MS = 3_000_000
"""Length of what is read at most; a Box sends a Measurement a second."""
REPORTED_MS = 15_000
"""A start waits so long for its cause (the gateway's `CAUSE_WAITS`)."""
WHOLE_SHARE = 0.995
GAPS_LISTED = 20


@dataclass(frozen=True, slots=True)
class MissingPart:
    """`seconds` that were not measured before a moment."""

    until_ns: int
    seconds: float
    words: str


def missing_parts(
    store: ShownStore, box_id: str, rows: Sequence[tuple[int, float]], step_ms: int, end_ms: int
) -> Sequence[MissingPart]:
    """What Measurements report as missing in rows (start in ms, measured share) that are not whole.

    The newest comes first; `end_ms` is the end of the span.
    """
    found: list[MissingPart] = []
    left_ms, before_ms = READ_MS, end_ms
    for start_ms, coverage in reversed(rows):
        end_ms = min(before_ms, start_ms + step_ms + REPORTED_MS)
        if coverage >= WHOLE_SHARE or start_ms >= end_ms:
            continue
        left_ms -= end_ms - start_ms
        if left_ms < 0 or len(found) >= GAPS_LISTED:
            break
        before_ms = start_ms
        for each in reversed(store.measurements(box_id, start_ms, end_ms)):
            until_ns = window_ns(each)[0] if each.start_ns is not None else each.timestamp_ms * NS_PER_MS
            found += [
                MissingPart(until_ns, seconds, WORDS[reason])
                for reason, seconds in missing_s(each.metrics).items()
                if seconds >= 0.05
            ]
    return found[:GAPS_LISTED]
