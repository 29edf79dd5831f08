"""Mains signalling: telegrams of ripple control, a line that is keyed on and off.

In: Event.  Out: Finding, in time order.  State: none.
Source: IEC 61000-4-30:2015, 5.10; IEC 61000-2-2:2002, 4.10; the limit is ours."""

from dataclasses import dataclass, field, replace

from opq_cloud.mauka.measuring.results import EVENT_LIMITS, NominalConfig, findings_of
from opq_proto.messages import Event, Finding

name = "mains_signalling"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """`line_percent` is in percent of the fundamental, while the line is on."""

    line_percent: float = field(default=1.0, metadata={"minimum": 0.1, "maximum": 100.0})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Returns one finding per telegram, from its first pulse to its last."""
    return findings_of(
        event, config, (name,), replace(EVENT_LIMITS, signal_percent=config.line_percent), "VOLTAGE"
    )
