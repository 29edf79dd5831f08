"""Periodic notching: a converter's commutation cuts the wave at the same angles of every cycle.

In: Event.  Out: Finding, in time order.  State: none.
Source: IEEE 1159-2019, 4.5.4; the measuring is `opq_measure.waveform.notches`."""

from dataclasses import dataclass, field

from opq_cloud.mauka.measured import findings_of
from opq_proto.messages import Event, Finding

name = "periodic_notching"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config:
    """The nominal values."""

    nominal_v: float = field(default=120.0, metadata={"minimum": 1.0, "maximum": 1e6})
    nominal_hz: float = field(default=60.0, metadata={"minimum": 10.0, "maximum": 400.0})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """One per stretch of notched cycles; its ends are good to 0.8 s, a look is taken so often."""
    return findings_of(
        event,
        config.nominal_v,
        config.nominal_hz,
        lambda piece: [each for each in piece.analysis.occurrences if each.kind == name],
        "VOLTAGE",
    )
