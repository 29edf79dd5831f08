"""Mains signalling: what the standard's four bins say of a carrier, and what is restored of it."""

from collections.abc import Iterator

import numpy as np

from opq_hil.mains.wave import Tone
from opq_measure.harmonics.signalling import signalling_v
from opq_measure.harmonics.spectrum import spectrum_of
from opq_tools.benchmarks.class_a.point import Point
from opq_tools.benchmarks.class_a.states import STATES, SYSTEMS, System, voltage
from opq_tools.benchmarks.class_a.steady import windows

CARRIERS_HZ = {50.0: (175.0, 216.67, 316.67, 425.0), 60.0: (151.7, 211.3, 331.2, 448.9)}
"""10 Hz and more from every harmonic, also at 1 Hz off nominal: nearer, nobody could tell them apart."""
LEVELS_PERCENT = (1.0, 2.0, 3.0, 9.0, 15.0)
"""Of Udin; class A has no limit below 1 %."""
READING_FROM_PERCENT = 3.0
SECONDS = 2.0


def signalling() -> Iterator[Point]:
    """By the standard's definition at nominal frequency; restored at every frequency."""
    for system in SYSTEMS:
        for state in STATES:
            for restored in (False, True):
                if state.offset_hz and not restored:
                    continue  # off nominal a carrier may fall between two bins: 5.1 % by definition
                large, small = _worst(system, state.offset_hz, restored)
                quantity = "signalling, restored" if restored else "signalling, four bins"
                where = f"{system.name}: {system.nominal_hz + state.offset_hz:g} Hz"
                yield Point("5.10", quantity, f"{where}, 3 to 15 % Udin", large, 5.0, "% of reading")
                yield Point("5.10", quantity, f"{where}, 1 to 3 % Udin", small, 0.15, "% Udin")


def _worst(system: System, offset_hz: float, restored: bool) -> tuple[float, float]:
    """Largest error from 3 % of Udin on, of the reading; and below, of Udin."""
    large, small = 0.0, 0.0
    for carrier_hz in CARRIERS_HZ[system.nominal_hz]:
        for percent in LEVELS_PERCENT:
            volts, _ = voltage(
                system,
                STATES[0],
                SECONDS,
                hz=system.nominal_hz + offset_hz,
                harmonics={3: 3.0, 5: 4.0, 7: 2.0},
                tones=(Tone(carrier_hz, percent, 33.0),),
            )
            spectrum = spectrum_of(windows(volts, system), system.cycles)
            level_v = signalling_v(spectrum, carrier_hz, restored=restored)
            off = float(np.abs(level_v / system.declared_v * 100 - percent).max())
            if percent >= READING_FROM_PERCENT:
                large = max(large, off / percent * 100)
            else:
                small = max(small, off)
    return large, small
