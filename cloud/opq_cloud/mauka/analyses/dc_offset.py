"""Direct voltage: the mean of the voltage leaves zero.

In: Event.  Out: Finding, in time order.  State: none.
A converter has an offset of its own, so less than `most_percent` counts only where it rose.
Source: IEEE 1159-2019, 4.5.1; the limits are ours (`opq_measure.analysis.levels`)."""

from dataclasses import dataclass, field

from opq_cloud.mauka.measured import findings_of
from opq_measure.analysis.levels import LevelLimits, dc_offset_in
from opq_proto.messages import Event, Finding

name = "dc_offset"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config:
    """Limits of nominal, of either sign."""

    nominal_v: float = field(default=120.0, metadata={"minimum": 1.0, "maximum": 1e6})
    nominal_hz: float = field(default=60.0, metadata={"minimum": 10.0, "maximum": 400.0})
    most_percent: float = field(default=1.5, metadata={"minimum": 0.01, "maximum": 100.0})
    rise_percent: float = field(default=0.5, metadata={"minimum": 0.01, "maximum": 100.0})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """From where it passes the limit until it is back by a tenth."""
    return findings_of(
        event,
        config.nominal_v,
        config.nominal_hz,
        lambda piece: dc_offset_in(
            piece.analysis.course, config.nominal_v, LevelLimits(config.most_percent, config.rise_percent)
        ),
        "VOLTAGE",
    )
