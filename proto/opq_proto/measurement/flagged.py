"""What flagged Measurements (IEC 61000-4-30, 4.7) do to the limits of trends and charts.

A separate module: `continuity` has the bits, which the gateway sets; only the cloud decides by them.
"""

from collections.abc import Mapping

from opq_proto.measurement.continuity import FLAGGED, TOUCHES_GAP
from opq_proto.measurement.fields import SPOILT
from opq_proto.messages import Metric


def flags_of(metrics: Mapping[str, Metric]) -> int:
    """Returns the bits of a Measurement; 0 where it is not flagged."""
    flagged = metrics.get(FLAGGED)
    return _bits(0.0 if flagged is None else flagged.max)


def flags_of_trend(metrics: Mapping[str, tuple[float, float, float]]) -> int:
    """Returns the highest number of the Measurements in a trend; 0 where none is flagged."""
    return _bits(metrics.get(FLAGGED, (0.0, 0.0, 0.0))[1])


def _bits(value: float) -> int:
    return int(value) if value in (1.0, 2.0, 3.0) else 0


def widens_limits(flags: int, key: str) -> bool:
    """Whether a Measurement with these flags may widen the minimum and maximum of a metric."""
    return not flags or key == FLAGGED or not (flags & TOUCHES_GAP or key in SPOILT)


def is_all_flagged(metrics: Mapping[str, tuple[float, float, float]]) -> bool:
    """Whether each Measurement in a trend is flagged: the least number in it is 0 where one is not."""
    return metrics.get(FLAGGED, (0.0, 0.0, 0.0))[0] >= 1.0


def has_no_limits(metrics: Mapping[str, tuple[float, float, float]], key: str) -> bool:
    """Whether no Measurement in a trend could widen the limits of a metric, so that its mean stands there."""
    if not is_all_flagged(metrics) or key == FLAGGED or key not in metrics:
        return False
    low, high, average = metrics[key]
    return low == high == average and (key in SPOILT or bool(flags_of_trend(metrics) & TOUCHES_GAP))
