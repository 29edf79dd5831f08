"""Noise: the signal between the harmonics, up to half the sampling rate, exceeds the Box's own noise.

In: Event.  Out: Finding, in time order.  State: none.
Noise below `most_percent` counts only where it doubled within the waveform.
Source: IEEE 1159-2019, 4.5.5; the limits are ours (`opq_measure.analysis.levels`).
"""

from dataclasses import dataclass, field, replace

from opq_cloud.mauka.measuring.results import EVENT_LIMITS, NominalConfig, findings_of
from opq_measure.analysis.levels import LevelLimits
from opq_proto.messages import Event, Finding

name = "noise"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config(NominalConfig):
    """Limits in percent of the fundamental, rms."""

    most_percent: float = field(default=6.0, metadata={"minimum": 0.1, "maximum": 1000.0})
    rise_percent: float = field(default=2.0, metadata={"minimum": 0.1, "maximum": 1000.0})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """Returns findings from where the limit is passed until the value is a tenth below it again."""
    return findings_of(
        event,
        config,
        (name,),
        replace(EVENT_LIMITS, noise=LevelLimits(config.most_percent, config.rise_percent, 2.0)),
        "VOLTAGE",
    )
