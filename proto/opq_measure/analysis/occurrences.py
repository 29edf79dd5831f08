"""The occurrences of a whole signal: those that came with each disturbance, and all others, in time order.
Pure."""

from collections.abc import Iterable

from opq_measure.analysis.lasting_conditions import WindowSeries, conditions_in, flicker_of
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.analysis.tones import tones_in
from opq_measure.events.disturbance import Disturbance
from opq_measure.events.rapid_change import RapidLimits
from opq_measure.flicker.meter import FlickerInterval

PASSES_CYCLES = 2.0
"""Cycles around a sudden change in which the rms contains the wave on both sides."""


def occurrences_of(
    disturbances: tuple[Disturbance, ...],
    suddens: list[Occurrence],
    changes: list[Occurrence],
    series: WindowSeries,
    intervals: Iterable[FlickerInterval],
) -> tuple[tuple[tuple[Occurrence, ...], ...], tuple[Occurrence, ...]]:
    """The sudden events at each disturbance, and all other occurrences.

    Args:
        suddens: transients and phase jumps; `changes`: rapid voltage changes.
        intervals: flicker of ten minutes; those that a disturbance touches are not used.
    """
    cycle = series.rate_hz / series.nominal_hz
    details, alone = _parted(disturbances, suddens, cycle)
    quiet = [
        each
        for each in intervals
        if not any(
            event.start_sample < each.end_sample and event.end_sample > each.first_sample
            for event in disturbances
        )
    ]
    lasting = (*_steps(changes, disturbances, suddens, cycle), *conditions_in(series), *tones_in(series))
    found = [
        *alone,
        *(each.within() for each in lasting),
        *flicker_of(quiet, series.rate_hz, series.nominal_hz),
    ]
    return details, tuple(sorted(found, key=lambda each: each.start_sample))


def _parted(
    disturbances: tuple[Disturbance, ...], suddens: list[Occurrence], cycle: float
) -> tuple[tuple[tuple[Occurrence, ...], ...], list[Occurrence]]:
    """The sudden events from a cycle before to a cycle after each disturbance, and those without a
    disturbance."""
    details = tuple(
        tuple(
            each
            for each in suddens
            if event.start_sample - cycle <= each.start_sample <= event.end_sample + cycle
        )
        for event in disturbances
    )
    reported = {id(each) for part in details for each in part}
    return details, [each for each in suddens if id(each) not in reported]


def _steps(
    changes: list[Occurrence], disturbances: tuple[Disturbance, ...], suddens: list[Occurrence], cycle: float
) -> list[Occurrence]:
    """Rapid voltage changes, without the apparent ones at a phase jump or at the edge of a dip.

    The rms over a cycle that contains a phase jump is lower and returns a cycle later, although the voltage
    did not change.
    """
    steady = RapidLimits().threshold_percent - RapidLimits().hysteresis_percent
    jumps = [each.start_sample for each in suddens]
    dips = [at for each in disturbances for at in (each.start_sample, each.end_sample)]

    def begins_at(change: Occurrence, edges: list[float]) -> bool:
        return any(abs(change.start_sample - at) <= PASSES_CYCLES * cycle for at in edges)

    return [
        each
        for each in changes
        if not begins_at(each, dips)
        and (abs(each.figures["steady_change_percent"]) >= steady or not begins_at(each, jumps))
    ]
