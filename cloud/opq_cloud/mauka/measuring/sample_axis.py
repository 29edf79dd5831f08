"""Whether two disturbances of a Box have one axis of time: one start, and one setting of its clock.

Two disturbances of a Box may have the same times where its clock was set back between them. The start of
their samples separates them, and within one start index and time, which show when its samples began. Pure.
"""

from collections.abc import Mapping

from opq_cloud.store.incidents.join_plan import FindingOnset
from opq_proto.measurement.continuity import DARK_AFTER, SET_NS, box_time_ns
from opq_proto.messages import Finding, Metric, Waveform

OUTAGE_NS = 1_000_000_000
"""An outage begins within a Measurement that never came, and its gateway counts in 32-bit seconds."""


def wave_began_ns(wave: Waveform) -> int | None:
    """Returns when the samples of a waveform's Box began.

    None: the Box does not number them; an imported recording's are from 0, in no named start.
    """
    if not wave.numbered or (wave.start_id is None and not wave.first_sample):
        return None
    return wave.start_ns - box_time_ns(wave.first_sample, wave.rate_hz)


def outage_began_ns(ended_ns: int, metrics: Mapping[str, Metric]) -> int | None:
    """Returns when the samples of a Box began that ended with its supply; None: its gateway does not say.

    Args:
        ended_ns: when they ended, by the clock of that time.
        metrics: of the first Measurement after the outage.
    """
    ran = metrics.get(DARK_AFTER)
    return None if ran is None else ended_ns - round(ran.average * 1e9)


def is_other_axis(one: Finding | FindingOnset, other: Finding | FindingOnset) -> bool:
    """Returns True if a Box's clock was set between two of its findings, or it has started again.

    A start between the two onsets is part of the disturbance: a brown-out.
    """
    earlier, later = sorted((one, other), key=lambda each: each.start_ns)
    was_ns, began_ns = earlier.samples_began_ns, later.samples_began_ns
    if was_ns is None and began_ns is None:  # a Box of the original: its clock was set back between them
        return one.start_id != other.start_id
    if was_ns is None or began_ns is None:
        return False
    if one.start_id is not None and other.start_id is not None and one.start_id != other.start_id:
        return not earlier.start_ns - SET_NS <= began_ns <= later.start_ns
    coarse_ns = OUTAGE_NS if "outage" in (one.kind, other.kind) else 0
    if abs(began_ns - was_ns) <= SET_NS + coarse_ns + (later.start_ns - earlier.start_ns) // 100:
        return False
    return not earlier.start_ns - SET_NS <= began_ns <= later.start_ns
