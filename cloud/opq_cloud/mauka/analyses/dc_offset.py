"""Direct voltage: the mean of the voltage leaves zero.

In: Event.  Out: Finding, in time order.  State: none.
Each converter has an offset, so an offset below `most_percent` counts only where it rose.
Source: IEEE 1159-2019, 4.5.1; the limits are ours (`opq_measure.analysis.levels`).
"""

from dataclasses import dataclass, field, replace

from opq_cloud.mauka.measuring.results import EVENT_LIMITS, NominalConfig, findings_of
from opq_measure.analysis.levels import LevelLimits
from opq_proto.messages import Event, Finding

name = "dc_offset"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """Limits in percent of nominal, for either sign."""

    most_percent: float = field(default=1.5, metadata={"minimum": 0.01, "maximum": 100.0})
    rise_percent: float = field(default=0.5, metadata={"minimum": 0.01, "maximum": 100.0})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Returns findings from where the limit is passed until the value is a tenth below it again."""
    return findings_of(
        event,
        config,
        (name,),
        replace(EVENT_LIMITS, dc=LevelLimits(config.most_percent, config.rise_percent)),
        "VOLTAGE",
    )
