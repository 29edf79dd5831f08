"""The tests of C37.118.1, 5.5: each gives the errors of one unit in all of its test points.

`dense` asks for more points: quick runs take the ends of each range, where the errors are.
"""

from collections.abc import Iterator

import numpy as np

from opq_measure.synchrophasor.filter import PmuClass
from opq_tools.benchmarks.phasor.errors import Errors, Unit, joined
from opq_tools.benchmarks.phasor.limits import Limit, Limits
from opq_tools.benchmarks.phasor.signals import disturbed, modulated, ramp, steady


def limits_of(unit: Unit) -> Limits:
    return Limits(unit.pmu_class, unit.nominal_hz, unit.reports_per_s)


def steady_and_dynamic(unit: Unit, dense: bool) -> Iterator[tuple[str, Errors, Limit]]:
    """Name, errors and limits of every test but the steps."""
    limits = limits_of(unit)
    yield "frequency range", _frequency_range(unit, limits, dense), limits.frequency_range()
    yield "magnitude", _magnitude(unit, dense), limits.frequency_range()
    yield "phase angle", _phase(unit, dense), limits.frequency_range()
    yield "harmonics", _harmonics(unit, limits, dense), limits.harmonics()
    if unit.pmu_class is PmuClass.M and unit.reports_per_s / 2 < unit.nominal_hz:
        yield "out-of-band", _out_of_band(unit, dense), limits.out_of_band()
    yield "amplitude modulation", _modulation(unit, limits, 0.1, 0.0, dense), limits.modulation()
    yield "phase modulation", _modulation(unit, limits, 0.0, 0.1, dense), limits.modulation()
    yield "both modulated (2011)", _modulation(unit, limits, 0.1, 0.1, dense), limits.modulation()
    yield "frequency ramp", _ramp(unit, limits), limits.ramp()


def _length_s(unit: Unit) -> float:
    """Reports enough to meet every phase of what ripples."""
    return max(0.5, 12 / unit.reports_per_s)


def _frequency_range(unit: Unit, limits: Limits, dense: bool) -> Errors:
    reach = limits.reach_hz
    off = np.linspace(-reach, reach, 21 if dense else 5)
    signals = [steady(unit.nominal_hz, unit.nominal_hz + float(hz), turns=0.2) for hz in off]
    return joined(unit.errors(signal, 0.0, _length_s(unit)) for signal in signals)


def _magnitude(unit: Unit, dense: bool) -> Errors:
    low, high = (0.8, 1.2) if unit.pmu_class is PmuClass.P else (0.1, 1.2)
    sizes = np.linspace(low, high, 12 if dense else 3)
    signals = [steady(unit.nominal_hz, unit.nominal_hz, float(size)) for size in sizes]
    return joined(unit.errors(signal, 0.0, 0.3) for signal in signals)


def _phase(unit: Unit, dense: bool) -> Errors:
    turns = np.linspace(-0.5, 0.5, 13 if dense else 3)
    signals = [steady(unit.nominal_hz, unit.nominal_hz + 0.2, turns=float(turn)) for turn in turns]
    return joined(unit.errors(signal, 0.0, 0.3) for signal in signals)


def _harmonics(unit: Unit, limits: Limits, dense: bool) -> Errors:
    orders = range(2, 51) if dense else (2, 3, 5, 7, 25, 50)
    share = limits.harmonic_share
    signals = [
        disturbed(unit.nominal_hz, unit.nominal_hz, order * unit.nominal_hz, share) for order in orders
    ]
    return joined(unit.errors(signal, 0.0, 0.3) for signal in signals)


def _out_of_band(unit: Unit, dense: bool) -> Errors:
    nominal, nyquist = unit.nominal_hz, unit.reports_per_s / 2
    tones: list[float] = []
    for edge, end in ((nominal - nyquist, 10.0), (nominal + nyquist, 2.0 * nominal)):
        if (edge - end) * (nominal - end) > 0 or edge == end:
            tones += [float(hz) for hz in np.linspace(edge, end, 12 if dense else 4)]
    own = [nominal + share * nyquist for share in (-0.1, 0.0, 0.1)]
    signals = [disturbed(nominal, hz, tone, 0.1) for hz in own for tone in tones]
    return joined(unit.errors(signal, 0.0, _length_s(unit)) for signal in signals)


def _modulation(unit: Unit, limits: Limits, amplitude: float, phase_rad: float, dense: bool) -> Errors:
    highest = limits.modulation_hz
    shares = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if dense else (0.5, 1.0)
    signals = [modulated(unit.nominal_hz, share * highest, amplitude, phase_rad) for share in shares]
    spans = [max(0.5, 2 / (share * highest)) for share in shares]
    return joined(unit.errors(signal, 0.0, span) for signal, span in zip(signals, spans, strict=True))


def _ramp(unit: Unit, limits: Limits) -> Errors:
    """The ramp and what stands around it; around its two ends nothing is asked."""
    low, high = unit.nominal_hz - limits.reach_hz, unit.nominal_hz + limits.reach_hz
    parts = []
    for start, stop in ((low, high), (high, low)):
        length = abs(stop - start)
        found = unit.errors(ramp(unit.nominal_hz, start, stop, 1.0), -1.5, length + 1.5)
        away = np.minimum(np.abs(found.t), np.abs(found.t - length))
        parts.append(found.where(away >= limits.ramp_exclusion_s))
    return joined(parts)
