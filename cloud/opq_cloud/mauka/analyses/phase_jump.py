"""Phase jumps: the fundamental goes on at another angle than it should.

In: Event.  Out: Finding, in time order.  State: none.
Source: IEC 61000-4-30:2015, annex C; Bollen 2000, 4.5; the measuring is `opq_measure.waveform.phase_jump`."""

from dataclasses import dataclass, field

from opq_cloud.mauka.measured import findings_of
from opq_proto.messages import Event, Finding

name = "phase_jump"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config:
    """Smaller ones than 6 degrees are not measured."""

    nominal_v: float = field(default=120.0, metadata={"minimum": 1.0, "maximum": 1e6})
    nominal_hz: float = field(default=60.0, metadata={"minimum": 10.0, "maximum": 400.0})
    least_degrees: float = field(default=6.0, metadata={"minimum": 6.0, "maximum": 180.0})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Every jump that any Box saw, also that at the edge of a dip."""
    return findings_of(
        event,
        config.nominal_v,
        config.nominal_hz,
        lambda piece: [
            each
            for each in piece.suddenly("phase_jump")
            if abs(each.figures["phase_jump_degrees"]) >= config.least_degrees
        ],
        "VOLTAGE",
    )
