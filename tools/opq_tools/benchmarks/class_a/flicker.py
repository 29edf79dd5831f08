"""Flicker of ten minutes, in the states that have it: frequency, harmonics and interharmonic are off, too."""

from collections.abc import Iterator

from opq_measure.flicker.lamps import lamp_for
from opq_measure.flicker.meter import flicker as measured
from opq_tools.benchmarks.class_a.point import Point
from opq_tools.benchmarks.class_a.states import RATE_HZ, STATES, SYSTEMS, voltage

SECONDS = 600.0
PST = {"state 2": 1.0, "state 3": 4.0}
"""39 changes per minute of the table's size, 110 of four times its size; 61000-4-15:2010, table 5."""


def flicker() -> Iterator[Point]:
    for system in SYSTEMS:
        for state in STATES:
            if state.name not in PST:
                continue
            volts, _ = voltage(system, state, SECONDS)
            pst = measured(volts, RATE_HZ, lamp_for(system.declared_v, system.nominal_hz)).pst
            true = PST[state.name]
            error = float("nan") if pst is None else 100 * abs(pst - true) / true
            where = f"{system.name}: Pst {true:g}, {state.name}"
            yield Point("5.3", "flicker, Pst", where, error, 5.0, "% of reading")
