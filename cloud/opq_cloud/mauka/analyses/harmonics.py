"""Harmonics: THD above its limit while it lasts.

In: Event.  Out: Finding, in time order.  State: none.
Windows with a dip or a swell do not count (IEC 61000-4-30:2015, 4.7).
Source: IEC 61000-4-7 subgroups; EN 50160:2010, 4.2.5 (THD 8 %), there over ten minutes, here per window.
"""

from dataclasses import dataclass, field, replace

from opq_cloud.mauka.measuring.compat_findings import original_thd
from opq_cloud.mauka.measuring.results import EVENT_LIMITS, NominalConfig, findings_of
from opq_proto.messages import Event, Finding

name = "harmonics"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """`thd_percent` is in percent of the fundamental."""

    thd_percent: float = field(default=8.0, metadata={"minimum": 0.1, "maximum": 1000.0})
    compat: bool = field(default=False, metadata={"help": "as the original's ThdPlugin, cycle by cycle"})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Returns findings from where the limit is passed until the value is a tenth below it again.

    A finding that lasts to the end of its waveform stays open.
    """
    if config.compat:
        return original_thd(event, config.thd_percent)
    return findings_of(event, config, (name,), replace(EVENT_LIMITS, thd_percent=config.thd_percent), "THD")
