"""The limits from which a class counts: one set for `classify` and for all analyses of Mauka.

A separate file, so that the parts of the classifier do not import each other for it.
"""

from dataclasses import dataclass, field

from opq_measure.analysis.lasting_conditions import MAX_DEVIATION_PERCENT, MAX_PST, MAX_THD_PERCENT
from opq_measure.analysis.levels import DC_LIMITS, NOISE_LIMITS, LevelLimits
from opq_measure.analysis.sudden import MIN_JUMP_DEGREES
from opq_measure.analysis.tones import MAX_INTERHARMONIC_PERCENT
from opq_measure.events.limits import Limits
from opq_measure.events.rapid_change import RapidLimits
from opq_measure.waveform.notches import MIN_NOTCH
from opq_measure.waveform.transients import MIN_PU


@dataclass(frozen=True, slots=True)
class ClassLimits:
    """docs/classes.md gives the source of each limit; the rms ones are `Limits`."""

    rms: Limits = field(default_factory=Limits)
    thd_percent: float = MAX_THD_PERCENT
    line_percent: float = MAX_INTERHARMONIC_PERCENT
    signal_percent: float = MAX_INTERHARMONIC_PERCENT
    deviation_percent: float = MAX_DEVIATION_PERCENT
    pst: float = MAX_PST
    jump_degrees: float = MIN_JUMP_DEGREES
    transient_pu: float = MIN_PU
    change_percent: float = RapidLimits().threshold_percent
    notch_pu: float = MIN_NOTCH
    dc: LevelLimits = DC_LIMITS
    noise: LevelLimits = NOISE_LIMITS
    short_changes: bool = True
    """Whether a rapid voltage change without a steady second on both sides counts (`short_change`)."""
