"""Which part of a recording is drawn: the worst event, or else its first cycles."""

from collections.abc import Sequence

from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.events.disturbance import Disturbance

STEADY_SHARE = 0.02
"""Share of nominal around an rms that is drawn at least, so that a steady voltage is a line."""
MAX_CYCLES_BEFORE = 4.0
SUDDEN_KINDS = ("impulsive_transient", "oscillatory_transient", "phase_jump")


def excerpt(analysis: SignalAnalysis, cycles: float = 4.0) -> tuple[int, int]:
    """Samples to draw: from shortly before the start of the worst event, or else the first cycles."""
    period = analysis.rate_hz / analysis.nominal_hz
    start = 0.0
    if analysis.disturbances:
        start = worst(analysis.disturbances).start_sample - min(cycles / 2, MAX_CYCLES_BEFORE) * period
    elif sudden := [each for each in analysis.occurrences if each.kind in SUDDEN_KINDS]:
        start = sudden[0].start_sample - min(cycles / 2, MAX_CYCLES_BEFORE) * period
    first = int(min(max(0.0, start), max(0.0, analysis.samples - cycles * period)))
    return first, min(analysis.samples, first + max(2, round(cycles * period)))


def worst(disturbances: Sequence[Disturbance]) -> Disturbance:
    """The disturbance that is furthest from nominal."""
    return max(disturbances, key=lambda each: abs(each.residual_percent - 100))
