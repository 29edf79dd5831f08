"""Direct voltage: the mean of the voltage leaves zero.

In: Event.  Out: Finding, in time order.  State: none.
A converter has an offset of its own, so less than `most_percent` counts only where it rose.
Source: IEEE 1159-2019, 4.5.1; the limits are ours (`opq_measure.analysis.levels`)."""

from dataclasses import dataclass, field, replace

from opq_cloud.mauka.measured import EVENT_LIMITS, NominalConfig, findings_of
from opq_measure.analysis.levels import LevelLimits
from opq_proto.messages import Event, Finding

name = "dc_offset"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """Limits of nominal, of either sign."""

    most_percent: float = field(default=1.5, metadata={"minimum": 0.01, "maximum": 100.0})
    rise_percent: float = field(default=0.5, metadata={"minimum": 0.01, "maximum": 100.0})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """From where it passes the limit until it is back by a tenth."""
    return findings_of(
        event,
        config,
        (name,),
        replace(EVENT_LIMITS, dc=LevelLimits(config.most_percent, config.rise_percent)),
        "VOLTAGE",
    )
