"""Crossing: what the Box says at once of a limit, as a Measurement that leaves at once. Pure.

It holds the rms of one cycle alone, has a sequence of its own, and `crossing` set: it repeats what its
window will say, so the cloud leaves it out of trends.
"""

from opq_proto.link_messages import Crossing
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Measurement, Metric


def crossing_measurement(
    crossing: Crossing, box_id: str, nominal_v: float | None, nominal_hz: float | None
) -> Measurement | None:
    """The Measurement of the cycle that begins at the crossing; None: the Box does not say the rms.

    `crossing.t_ns` is UTC, as the serial side stamps it.
    """
    if crossing.rms_v is None:
        return None
    end_ns = crossing.t_ns + round(1e9 / (nominal_hz or 50.0))
    return Measurement(
        box_id=box_id,
        timestamp_ms=(end_ns + 500_000) // 1_000_000,
        metrics={"rms": Metric(crossing.rms_v, crossing.rms_v, crossing.rms_v)},
        start_ns=crossing.t_ns,
        end_ns=end_ns,
        uncertainty_ns=min(crossing.uncertainty_ns, UNKNOWN_UNCERTAINTY_NS),
        source=crossing.source,
        crossing=True,
        nominal_v=nominal_v,
        nominal_hz=nominal_hz,
    )
