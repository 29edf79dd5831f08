"""Periodic notching: a converter's commutation cuts the wave at the same angles of every cycle.

In: Event.  Out: Finding, in time order.  State: none.
Source: IEEE 1159-2019, 4.5.4; the measuring is `opq_measure.waveform.notches`."""

from dataclasses import dataclass

from opq_cloud.mauka.measuring.results import EVENT_LIMITS, NominalConfig, findings_of
from opq_proto.messages import Event, Finding

name = "periodic_notching"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """The nominal values."""


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Returns one finding per stretch of notched cycles; its ends are accurate to 0.8 s."""
    return findings_of(event, config, (name,), EVENT_LIMITS, "VOLTAGE")
