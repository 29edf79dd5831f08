"""Noise: what lies between the harmonics, up to half the rate, is more than a Box's own.

In: Event.  Out: Finding, in time order.  State: none.
Less than `most_percent` counts only where it doubled within the waveform.
Source: IEEE 1159-2019, 4.5.5; the limits are ours (`opq_measure.analysis.levels`)."""

from dataclasses import dataclass, field

from opq_cloud.mauka.measured import findings_of
from opq_measure.analysis.levels import LevelLimits, noise_in
from opq_proto.messages import Event, Finding

name = "noise"
takes, gives = Event, Finding


@dataclass(frozen=True, slots=True)
class Config:
    """Limits of the fundamental, rms."""

    nominal_v: float = field(default=120.0, metadata={"minimum": 1.0, "maximum": 1e6})
    nominal_hz: float = field(default=60.0, metadata={"minimum": 10.0, "maximum": 400.0})
    most_percent: float = field(default=6.0, metadata={"minimum": 0.1, "maximum": 1000.0})
    rise_percent: float = field(default=2.0, metadata={"minimum": 0.1, "maximum": 1000.0})


def analyse(event: Event, config: Config) -> tuple[Finding, ...]:
    """From where it passes the limit until it is back by a tenth."""
    return findings_of(
        event,
        config.nominal_v,
        config.nominal_hz,
        lambda piece: noise_in(
            piece.analysis.course, LevelLimits(config.most_percent, config.rise_percent, 2.0)
        ),
        "VOLTAGE",
    )
