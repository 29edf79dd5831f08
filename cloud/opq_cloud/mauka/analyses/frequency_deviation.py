"""Frequency deviation: a second or more off nominal.

In: Event.  Out: Finding, in time order.  State: none.
A frequency more than 8 % off from beginning to end is treated as another nominal frequency.
Source: EN 50160:2010, 4.2.1 (1 % of nominal), there over 10 s, here over 10/12 cycles.
"""

from dataclasses import dataclass, field, replace

from opq_cloud.mauka.measuring.compat_findings import original_frequencies
from opq_cloud.mauka.measuring.results import EVENT_LIMITS, NominalConfig, findings_of
from opq_proto.messages import Event, Finding

name = "frequency_deviation"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """The limit."""

    deviation_percent: float = field(
        default=1.0, metadata={"minimum": 0.01, "maximum": 8.0, "help": "of nominal, to both sides"}
    )
    compat: bool = field(default=False, metadata={"help": "as the original's FrequencyVariationPlugin"})
    low_hz: float = field(default=59.75, metadata={"minimum": 0.0, "maximum": 1e6, "help": "with compat"})
    high_hz: float = field(default=60.25, metadata={"minimum": 0.0, "maximum": 1e6, "help": "with compat"})
    least_cycles: int = field(default=2, metadata={"minimum": 1, "maximum": 100_000, "help": "with compat"})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Returns findings from where the limit is passed until the value is a tenth below it again."""
    if config.compat:
        return original_frequencies(event, config.low_hz, config.high_hz, config.least_cycles)
    return findings_of(
        event, config, (name,), replace(EVENT_LIMITS, deviation_percent=config.deviation_percent), "FREQUENCY"
    )
