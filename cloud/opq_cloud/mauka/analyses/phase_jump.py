"""Phase jumps: the angle of the fundamental changes suddenly.

In: Event.  Out: Finding, in time order.  State: none.
Source: IEC 61000-4-30:2015, annex C; Bollen 2000, 4.5; the measuring is `opq_measure.waveform.phase_jump`.
"""

from dataclasses import dataclass, field, replace

from opq_cloud.mauka.measuring.results import EVENT_LIMITS, NominalConfig, findings_of
from opq_proto.messages import Event, Finding

name = "phase_jump"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """Jumps below 6 degrees are not measured."""

    least_degrees: float = field(default=6.0, metadata={"minimum": 6.0, "maximum": 180.0})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Returns every jump that any Box saw, also those at the edge of a dip."""
    return findings_of(
        event, config, (name,), replace(EVENT_LIMITS, jump_degrees=config.least_degrees), "VOLTAGE"
    )
