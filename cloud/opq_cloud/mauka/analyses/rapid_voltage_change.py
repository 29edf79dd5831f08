"""Rapid voltage changes: from one steady rms to another by 5 % of nominal or more, without a dip or swell.

In: Event.  Out: Finding, in time order.  State: none.
Threshold and hysteresis are those of `opq_measure.events.rapid_change`: a change needs a steady second
before and after it.
Source: IEC 61000-4-30:2015, 5.11; EN 50160:2010, 4.2.3.1."""

from dataclasses import dataclass, field

from opq_cloud.mauka.measured import findings_of
from opq_proto.messages import Event, Finding

name = "rapid_voltage_change"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config:
    """Smaller ones than 5 % are not measured."""

    nominal_v: float = field(default=120.0, metadata={"minimum": 1.0, "maximum": 1e6})
    nominal_hz: float = field(default=60.0, metadata={"minimum": 10.0, "maximum": 400.0})
    least_percent: float = field(
        default=5.0, metadata={"minimum": 5.0, "maximum": 100.0, "help": "of nominal, the largest change"}
    )


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Every change that any Box saw."""
    return findings_of(
        event,
        config.nominal_v,
        config.nominal_hz,
        lambda piece: [
            each
            for each in piece.suddenly("rapid_voltage_change")
            if abs(each.figures["largest_change_percent"]) >= config.least_percent
        ],
        "VOLTAGE",
    )
