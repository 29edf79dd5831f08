"""Noise: what lies between the harmonics, up to half the rate, is more than a Box's own.

In: Event.  Out: Finding, in time order.  State: none.
Less than `most_percent` counts only where it doubled within the waveform.
Source: IEEE 1159-2019, 4.5.5; the limits are ours (`opq_measure.analysis.levels`)."""

from dataclasses import dataclass, field, replace

from opq_cloud.mauka.measured import EVENT_LIMITS, NominalConfig, findings_of
from opq_measure.analysis.levels import LevelLimits
from opq_proto.messages import Event, Finding

name = "noise"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """Limits of the fundamental, rms."""

    most_percent: float = field(default=6.0, metadata={"minimum": 0.1, "maximum": 1000.0})
    rise_percent: float = field(default=2.0, metadata={"minimum": 0.1, "maximum": 1000.0})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """From where it passes the limit until it is back by a tenth."""
    return findings_of(
        event,
        config,
        (name,),
        replace(EVENT_LIMITS, noise=LevelLimits(config.most_percent, config.rise_percent, 2.0)),
        "VOLTAGE",
    )
