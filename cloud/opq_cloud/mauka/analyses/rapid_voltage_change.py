"""Rapid voltage changes: from one steady rms to another by 5 % of nominal or more, without a dip or swell.

In: Event.  Out: Finding, in time order.  State: none.
Threshold and hysteresis are those of `opq_measure.events.rapid_change`: a change needs a steady second
before and after it.
Source: IEC 61000-4-30:2015, 5.11; EN 50160:2010, 4.2.3.1."""

from dataclasses import dataclass, field, replace

from opq_cloud.mauka.measured import EVENT_LIMITS, NominalConfig, findings_of
from opq_proto.messages import Event, Finding

name = "rapid_voltage_change"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """Smaller ones than 5 % are not measured."""

    least_percent: float = field(
        default=5.0, metadata={"minimum": 5.0, "maximum": 100.0, "help": "of nominal, the largest change"}
    )


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Every change that any Box saw."""
    return findings_of(
        event, config, (name,), replace(EVENT_LIMITS, change_percent=config.least_percent), "VOLTAGE"
    )
