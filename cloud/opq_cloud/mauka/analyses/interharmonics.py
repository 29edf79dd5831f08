"""Interharmonics: a lasting spectral component between two harmonics.

In: Event.  Out: Finding, in time order.  State: none.
A component that comes and goes is mains signalling; two of them next to the fundamental are flicker. A
component within some 7 Hz of a harmonic cannot be told apart from it.
Source: IEC 61000-4-30:2015, 5.9; EN 50160:2010 leaves the level open, the limit is ours.
"""

from dataclasses import dataclass, field, replace

from opq_cloud.mauka.measuring.results import EVENT_LIMITS, NominalConfig, findings_of
from opq_proto.messages import Event, Finding

name = "interharmonics"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """`line_percent` is in percent of the fundamental."""

    line_percent: float = field(default=1.0, metadata={"minimum": 0.1, "maximum": 100.0})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Returns findings from where the line passes the limit until it is a tenth below it again."""
    return findings_of(
        event, config, (name,), replace(EVENT_LIMITS, line_percent=config.line_percent), "VOLTAGE"
    )
