"""The limits from which a class counts: one set for `classify` and for all analyses of Mauka.

A file of its own, so that the parts of the classifier need not import each other for it.
"""

from dataclasses import dataclass, field

from opq_measure.analysis.conditions import MOST_DEVIATION_PERCENT, MOST_PST, MOST_THD_PERCENT
from opq_measure.analysis.levels import DC_LIMITS, NOISE_LIMITS, LevelLimits
from opq_measure.analysis.sudden import LEAST_JUMP_DEGREES
from opq_measure.analysis.tones import MOST_INTERHARMONIC_PERCENT
from opq_measure.events.limits import Limits
from opq_measure.events.rapid_change import RapidLimits
from opq_measure.waveform.notches import LEAST as LEAST_NOTCH
from opq_measure.waveform.transients import LEAST_PU


@dataclass(frozen=True, slots=True)
class ClassLimits:
    """docs/classes.md gives the source of each limit; the rms ones are `Limits`."""

    rms: Limits = field(default_factory=Limits)
    thd_percent: float = MOST_THD_PERCENT
    line_percent: float = MOST_INTERHARMONIC_PERCENT
    signal_percent: float = MOST_INTERHARMONIC_PERCENT
    deviation_percent: float = MOST_DEVIATION_PERCENT
    pst: float = MOST_PST
    jump_degrees: float = LEAST_JUMP_DEGREES
    transient_pu: float = LEAST_PU
    change_percent: float = RapidLimits().threshold_percent
    notch_pu: float = LEAST_NOTCH
    dc: LevelLimits = DC_LIMITS
    noise: LevelLimits = NOISE_LIMITS
    short_changes: bool = True
    """Whether a rapid voltage change without a steady second on both sides counts (`short_change`)."""
