"""Impulsive and oscillatory transients: the wave leaves its steady course for less than a cycle.

In: Event.  Out: Finding, in time order.  State: none.
One with a dip, such as at its beginning, is a finding of its own; the dip names the incident.
Source: IEEE 1159-2019, 4.1 and table 2; the measuring is `opq_measure.waveform.transients`."""

from dataclasses import dataclass, field

from opq_cloud.mauka.measured import findings_of
from opq_proto.messages import Event, Finding

name = "transient"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config:
    """Smaller ones than 5 % are not measured."""

    nominal_v: float = field(default=120.0, metadata={"minimum": 1.0, "maximum": 1e6})
    nominal_hz: float = field(default=60.0, metadata={"minimum": 10.0, "maximum": 400.0})
    least_peak_percent: float = field(
        default=5.0, metadata={"minimum": 5.0, "maximum": 1000, "help": "of the nominal peak"}
    )


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Every transient that any Box saw."""
    return findings_of(
        event,
        config.nominal_v,
        config.nominal_hz,
        lambda piece: [
            each
            for each in piece.suddenly("impulsive_transient", "oscillatory_transient")
            if 100 * abs(each.figures["peak_pu"]) >= config.least_peak_percent
        ],
        "TRANSIENT",
    )
