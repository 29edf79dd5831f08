"""Flicker: the voltage swings so that lamps flicker.

In: Event.  Out: Finding, in time order.  State: none.
Pst is measured over ten minutes. An event of five seconds or more gives the Pst that would follow from it.
Source: IEC 61000-4-15:2010; IEC 61000-3-3:2013, clause 5 (Pst 1).
"""

from dataclasses import dataclass, field, replace

from opq_cloud.mauka.measuring.results import EVENT_LIMITS, NominalConfig, findings_of
from opq_proto.messages import Event, Finding

name = "flicker"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """The limit of Pst."""

    pst: float = field(default=1.0, metadata={"minimum": 0.1, "maximum": 100.0})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Returns at most one finding per piece of waveform."""
    return findings_of(event, config, (name,), replace(EVENT_LIMITS, pst=config.pst), "VOLTAGE")
