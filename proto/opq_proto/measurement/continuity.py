"""What lies between a Measurement and the one before it: missing samples by reason, and a clock that was set.

Metrics in addition to the original's four, in the first Measurement after; readers of the original skip them:

    missing_overrun_s   the Box's converter, or the Box itself, lost them
    missing_line_s      lost between Box and gateway
    missing_gateway_s   the gateway stopped, was stopped or started again, or could not measure them
    missing_dark_s      the Box had no supply
    dark_after_s        so long after its start, by the index of its samples, did it lose the supply
    missing_restart_s   the Box restarted while its supply was there
    clock_set_s         seconds by which the time axis was set; positive: forward. The samples go on by index
    flagged             the values touch a gap (bit 1), or a dip, swell or interruption (bit 2);
                        IEC 61000-4-30:2015, 4.7

What a network held up is not missing: it comes later, with its number (`Measurement.sequence`). Only a Box
without supply can be an outage. Gateways (also simulated ones) and the cloud use this module.
"""

from collections.abc import Mapping
from enum import StrEnum

from opq_proto.link.log_codes import RESET_CAUSES
from opq_proto.measurement.fields import remarks_about
from opq_proto.messages import Measurement, Metric

CLOCK_SET = "clock_set_s"
DARK_AFTER = "dark_after_s"
FLAGGED = "flagged"
TOUCHES_GAP = 1
"""Bit of `flagged`: the values touch a gap."""
TOUCHES_EVENT = 2
"""Bit of `flagged`: the values touch a dip, swell or interruption."""
RESTART = "restart_cause"
"""A code of `log_codes.RESET_CAUSES`, in the first Measurements after a start that reached the gateway."""
SET_NS = 500_000_000
"""A clock that is moved by less is steered: the spans of events are longer on both sides."""
FORMER_MISSING = "missing_s"
"""Of gateways before the reasons: seconds of samples that such a Box took and that did not arrive."""
SUPPLIED_CAUSES = ("pin", "software", "watchdog")
"""Causes of a restart during which the supply was present."""
DARK_CAUSES = ("power", "brown-out")
"""Causes of a restart that show that the supply was lost."""


class GapReason(StrEnum):
    """Where missing samples were lost."""

    OVERRUN = "overrun"
    LINE = "line"
    GATEWAY = "gateway"
    DARK = "dark"
    RESTART = "restart"

    @property
    def metric(self) -> str:
        """The metric with the seconds that are missing for this reason."""
        return f"missing_{self.value}_s"


CONTINUITY_METRICS = remarks_about("continuity")


NOMINAL_RATES_HZ = 50
"""A Box's nominal rate is a multiple of this. A measured one differs by millionths, which in a day of samples
are a tenth of a second."""


def box_time_ns(sample: float, rate_hz: float) -> int:
    """Returns how long after a Box's start it took a sample, by its index and nominal rate."""
    return round(sample * 1e9 / (max(1, round(rate_hz / NOMINAL_RATES_HZ)) * NOMINAL_RATES_HZ))


def single(value: float) -> Metric:
    """A metric with one value."""
    return Metric(value, value, value)


def restart_cause(metrics: Mapping[str, Metric]) -> str:
    """Returns the word for the cause of a restart that a Measurement reports; "" where it reports none."""
    restart = metrics.get(RESTART)
    return "" if restart is None else RESET_CAUSES.get(restart.average, "")  # type: ignore[call-overload]


def supplied_restart(metrics: Mapping[str, Metric]) -> str:
    """Returns why the Box restarted, if its supply was present: one of SUPPLIED_CAUSES; else ""."""
    cause = restart_cause(metrics)
    return cause if cause in SUPPLIED_CAUSES else ""


def missing_s(metrics: Mapping[str, Metric]) -> dict[GapReason, float]:
    """Returns the seconds of missing samples before a Measurement, by reason."""
    return {reason: metrics[reason.metric].average for reason in GapReason if reason.metric in metrics}


def dark_s(metrics: Mapping[str, Metric]) -> float | None:
    """Returns for how long the Box had no supply before a Measurement; None: no such thing is reported."""
    metric = metrics.get(GapReason.DARK.metric)
    return None if metric is None else metric.average


def clock_set_s(metrics: Mapping[str, Metric]) -> float | None:
    """Returns by how much the time axis was set before a Measurement; None: it was not."""
    metric = metrics.get(CLOCK_SET)
    return None if metric is None else metric.average


def clock_moved_ns(stamp: tuple[int, int] | None, measurement: Measurement) -> int:
    """Returns by how much the time axis of a Box was set between a stamp and a Measurement, by the index.

    0 where that is not known: one of the two has no index, or its numbers began again meanwhile. Also for a
    clock that is only steered.

    Args:
        stamp: a sample of the Box, and its time.
    """
    start_ns, end_ns, first = measurement.start_ns, measurement.end_ns, measurement.first_sample
    if stamp is None or first is None or start_ns is None or end_ns is None or not measurement.samples:
        return 0
    since_ns = (first - stamp[0]) * (end_ns - start_ns) // measurement.samples
    moved_ns = start_ns - stamp[1] - since_ns
    return moved_ns if first >= stamp[0] and abs(moved_ns) > SET_NS + since_ns // 100 else 0


def is_flagged(metrics: Mapping[str, Metric], bit: int) -> bool:
    """Whether a Measurement is flagged with TOUCHES_GAP or TOUCHES_EVENT."""
    metric = metrics.get(FLAGGED)
    return metric is not None and bool(int(metric.max) & bit)


def goes_on(before: Measurement, after: Measurement) -> bool:
    """Whether nothing was missed between two Measurements of a Box, whatever their times say.

    Either the gateway reports that the clock was set, or their numbers follow each other
    while the source or the number of the clock changed.
    """
    if missing_s(after.metrics):
        return False
    if clock_set_s(after.metrics) is not None:
        return True
    if before.sequence is None or after.sequence != before.sequence + 1:
        return False
    return (before.source, before.clock_id) != (after.source, after.clock_id)
