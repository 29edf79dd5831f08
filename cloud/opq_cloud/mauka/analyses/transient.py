"""Impulsive and oscillatory transients: the wave leaves its steady course for less than a cycle.

In: Event.  Out: Finding, in time order.  State: none.
One with a dip, such as at its beginning, is a finding of its own; the dip names the incident.
Source: IEEE 1159-2019, 4.1 and table 2; the measuring is `opq_measure.waveform.transients`."""

from dataclasses import dataclass, field, replace

from opq_cloud.mauka.measured import EVENT_LIMITS, NominalConfig, findings_of
from opq_measure.classification.measured_signal import TRANSIENTS
from opq_proto.messages import Event, Finding

name = "transient"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """Smaller ones than 5 % are not measured."""

    least_peak_percent: float = field(
        default=5.0, metadata={"minimum": 5.0, "maximum": 1000, "help": "of the nominal peak"}
    )


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Every transient that any Box saw."""
    return findings_of(
        event,
        config,
        TRANSIENTS,
        replace(EVENT_LIMITS, transient_pu=config.least_peak_percent / 100),
        "TRANSIENT",
    )
