"""The span that is requested around a decision, as long as its class needs. Pure.

    transient    0.3 s around the impulse or the phase jump that a gateway's detector found
    dip          1 s before and after (`pre_ms`, `post_ms`); a metric in no other row is treated as a dip
    harmonics    3 s, the interval of IEC 61000-4-30:2015, 4.5.2; for a telegram 3 s after its first pulse,
                 and for a swing of the rms 3 s before and after its third window
    frequency    10 s, that of IEC 61000-4-30:2015, 5.1; a phase jump at a few Boxes is treated as a dip

A window in which the moment is not known is requested with a window's length on both sides, whatever its
class: the windows of other Boxes that hold the same moment then lie inside.
"""

from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_proto.decision import Decision, window_ns
from opq_proto.messages import Measurement
from opq_proto.time_units import NS_PER_MS

TRANSIENT = "transient"
"""Row of the table of spans: impulses and phase jumps, whose exact time the gateway found."""
DIP = "dip"
"""Row of the table of spans: every metric without another row."""
HARMONICS = "harmonics"
"""Row of the table of spans: the metrics of STEADY and the single harmonics."""
FREQUENCY = "frequency"
"""Row of the table of spans: frequency and its rate of change."""
MIN_PAD_NS = 100 * NS_PER_MS
"""Added around a transient that is itself long, also for the difference of clocks."""
SHORT = frozenset({"edge_impulsive_transient", "edge_phase_jump"})
"""A ringing looks like an interharmonic in 0.3 s, and notches like nothing: both are requested as dips."""
SHOWN_BY_TRANSIENTS = frozenset({"trans", "f", "rocof"})
"""An impulse or a phase jump moves these in its second's Measurement; the others need something larger."""
FLICKER = "flicker"
"""Decided in its third window: the weak flicker at other Boxes is found in 6 s, and not in 3."""
TELEGRAM = "edge_mains_signalling"
"""Decided at its first pulse: the pulses after it show that the signal is keyed."""
STEADY = frozenset({"thd", "ihd", "pst", "unbalance", "dc"})


def metric_class(metric: str) -> str:
    """Returns the row of the table of spans that a decision's metric belongs to."""
    if metric in SHORT:
        return TRANSIENT
    if metric in ("f", "rocof"):
        return FREQUENCY
    if metric in STEADY or (metric[:1] == "h" and metric[1:].isdigit()):
        return HARMONICS
    return DIP


def located(measurement: Measurement, decision: Decision) -> bool:
    """Returns True if a detector at the gateway found the exact time."""
    return measurement.crossing and metric_class(decision.metric) == TRANSIENT


def request_span_ns(
    measurement: Measurement,
    decision: Decision,
    config: TriggeringServiceSection,
    longest_ns: int,
    *,
    local: bool = False,
) -> tuple[int, int]:
    """Returns [start_ns, end_ns) to request.

    Args:
        measurement: the one that was decided about.
        decision: an onset.
        config: the windows by class.
        longest_ns: the longest window of the Boxes that are asked.
        local: a change of the frequency that its neighbours do not share, which is a phase jump.
    """
    start_ns, end_ns = window_ns(measurement)
    pre_ns, post_ns = config.pre_ms * NS_PER_MS, config.post_ms * NS_PER_MS
    if located(measurement, decision):
        pad_ns = max(MIN_PAD_NS, (config.asking.transient_ms * NS_PER_MS - (end_ns - start_ns)) // 2)
        return max(0, start_ns - pad_ns), end_ns + pad_ns  # no wire format allows less than 0
    wanted_ms = {HARMONICS: config.asking.harmonics_ms, FREQUENCY: config.asking.frequency_ms}
    row = DIP if local else metric_class(decision.metric)
    both_ns = wanted_ms.get(row, 0) * NS_PER_MS - (end_ns - start_ns)
    before_ns, after_ns = max(pre_ns, longest_ns, both_ns // 2), max(post_ns, longest_ns, both_ns // 2)
    if decision.metric in (FLICKER, TELEGRAM):
        after_ns = max(after_ns, config.asking.harmonics_ms * NS_PER_MS)
    if decision.metric == FLICKER:
        before_ns = max(before_ns, config.asking.harmonics_ms * NS_PER_MS)
    return max(0, start_ns - before_ns), end_ns + after_ns
