"""Power quality by the definitions of `opq_measure`: of arrays of samples, and of the numbers of an event.

Samples are volts or counts, `rate_hz` of them per second; the defaults are 12 kS/s and mains of 60 Hz. Ratios
are ratios (0.05 is 5 %), what is called percent is percent, angles are degrees. The result is null if there
are too few samples: four cycles for frequency and spectra, nine and a half minutes for pst.
"""

import math

import numpy as np

from opq_measure.events.curves import itic, semi_f47
from opq_measure.flicker.lamps import lamp_for
from opq_measure.flicker.meter import flicker
from opq_measure.frequency.one_second import one_second_hz
from opq_measure.harmonics.spectrum import Spectrum, SpectrumWindow, spectrum_of
from opq_measure.signal import FloatArray
from opq_measure.timebase.cycles import cycles_per_window
from opq_rules.functions.arguments import array, number, reads, whole
from opq_rules.functions.exact import Sum
from opq_rules.functions.registry import AggregateFunction, Definition, KeepsState, Scalar, merged
from opq_rules.values.batch import Value
from opq_rules.values.sql_values import NUMBERS, shown

RATE_HZ = 12_000.0
MAINS_HZ = 60.0
HIGHEST_ORDER = 50
_MIN_CYCLES = 4
_PHASOR_ORDERS = 7


class Rms(KeepsState):
    """Root mean square of numbers, and of all samples of arrays; DC is included."""

    __slots__ = KEEPS = ("_count", "_squares")

    def __init__(self) -> None:
        self._count = 0
        self._squares = Sum()

    def add(self, value: Value) -> None:
        if value is not None:
            count, squares = _energy(value)
            self._squares.add(squares)
            self._count += count

    def remove(self, value: Value) -> None:
        if value is not None:
            count, squares = _energy(value)
            self._squares.remove(squares)
            self._count -= count

    def merge(self, other: "Rms") -> None:
        self._squares.merge(other._squares)
        self._count += other._count

    def value(self) -> float | None:
        total = self._squares.total()
        return math.sqrt(total / self._count) if self._count and total is not None else None


def _energy(value: Value) -> tuple[int, float]:
    """The number of samples and the sum of their squares; the same value always gives the same result."""
    if type(value) in NUMBERS:
        return 1, float(value) * float(value)
    samples = [each for each in _listed(value) if each is not None]
    return len(samples), math.fsum(number(each) * float(each) for each in samples)


def _listed(value: Value) -> list[Value]:
    """The value as a list, also if it is a NumPy array."""
    return array(value.tolist() if hasattr(value, "tolist") else value)


def _rms(value: Value) -> float | None:
    count, squares = _energy(_listed(value))
    return math.sqrt(squares / count) if count else None


def _signal(value: Value) -> FloatArray:
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"want an array of numbers, not {shown(value)}") from None
    if found.ndim != 1 or not np.isfinite(found).all():
        raise TypeError("want an array that has only numbers")
    return found


def _spectrum(value: Value, rate_hz: Value, nominal_hz: Value) -> Spectrum | None:
    """The spectrum of each whole 10/12-cycle window; with too few samples for one, of the whole cycles."""
    volts = _signal(value)
    hz = _frequency(volts, rate_hz, nominal_hz)
    if hz is None:
        return None
    cycle = rate_hz / hz  # samples
    whole_cycles = math.floor(len(volts) / cycle + 0.01)
    cycles = min(cycles_per_window(nominal_hz), whole_cycles)
    if cycles < _MIN_CYCLES:
        return None
    starts = [cycle * cycles * window for window in range(whole_cycles // cycles)]
    edges = [np.minimum((start, start + cycle * cycles), float(len(volts))) for start in starts]
    return spectrum_of([SpectrumWindow(volts, each, float(rate_hz)) for each in edges], cycles)


def _thd(value: Value, rate_hz: Value = RATE_HZ, nominal_hz: Value = MAINS_HZ) -> float | None:
    """Subgroups 2 .. 50 relative to the first (61000-4-7), averaged over the windows."""
    spectrum = _spectrum(value, number(rate_hz), number(nominal_hz))
    return None if spectrum is None else _known(spectrum.thd().mean())


def _harmonics(value: Value, rate_hz: Value = RATE_HZ, nominal_hz: Value = MAINS_HZ) -> list[Value] | None:
    """Subgroups 1 .. 50 relative to the first; null above the usable band."""
    spectrum = _spectrum(value, number(rate_hz), number(nominal_hz))
    if spectrum is None:
        return None
    subgroups = (spectrum.subgroups() ** 2).mean(axis=0) ** 0.5
    fundamental = float(subgroups[0])
    return [_known(each / fundamental) for each in subgroups] if fundamental > 0 else None


def _harmonic(
    value: Value, order: Value, rate_hz: Value = RATE_HZ, nominal_hz: Value = MAINS_HZ
) -> float | None:
    place = _order(order) - 1
    orders = _harmonics(value, rate_hz, nominal_hz)
    return None if orders is None else orders[place]


def _order(value: Value) -> int:
    if not 1 <= whole(value) <= HIGHEST_ORDER:
        raise ValueError(f"order {value}; want 1 to {HIGHEST_ORDER}")
    return int(value)


def _frequency(value: Value, rate_hz: Value = RATE_HZ, nominal_hz: Value = MAINS_HZ) -> float | None:
    volts = _signal(value)
    if len(volts) * number(nominal_hz) < _MIN_CYCLES * number(rate_hz):
        return None
    return _known(one_second_hz(volts, rate_hz, nominal_hz))


def _phasor(value: Value, rate_hz: Value, hz: Value) -> dict[str, float] | None:
    """The component at `hz`: its rms, and the angle of its cosine at the first sample.

    DC and the orders up to 7 are fitted with it, so that they do not leak into it.
    """
    volts = _signal(value)
    if not 0 < number(hz) < number(rate_hz) / 2:
        raise ValueError(f"hz is {hz}; want more than 0 and less than half of the rate {rate_hz}")
    if len(volts) * hz < rate_hz:
        return None
    orders = min(_PHASOR_ORDERS, math.ceil(rate_hz / 2 / hz) - 1, (len(volts) - 1) // 4)
    turns = 2 * np.pi * hz / rate_hz * np.arange(len(volts))
    columns = [np.ones(len(volts))]
    for order in range(1, max(1, orders) + 1):
        columns += [np.cos(order * turns), -np.sin(order * turns)]
    found = np.linalg.lstsq(np.stack(columns, axis=1), volts, rcond=None)[0]
    real, imaginary = float(found[1]), float(found[2])
    return {
        "magnitude": math.hypot(real, imaginary) / math.sqrt(2),
        "angle": math.degrees(math.atan2(imaginary, real)),
    }


def _pst(value: Value, rate_hz: Value, nominal_v: Value = 120, nominal_hz: Value = None) -> float | None:
    """Short-term flicker severity, the largest of the ten-minute spans (61000-4-15)."""
    lamp = lamp_for(number(nominal_v), None if nominal_hz is None else number(nominal_hz))
    found = flicker(_signal(value), float(number(rate_hz)), lamp).pst
    return None if found is None else _known(found)


def _itic(residual_percent: Value, duration_s: Value) -> str:
    return str(itic(number(residual_percent), number(duration_s)))


def _f47(residual_percent: Value, duration_s: Value) -> str:
    return str(semi_f47(number(residual_percent), number(duration_s)))


def _sag_depth(residual: Value, nominal: Value) -> float:
    """The missing part in percent of nominal; negative for a swell."""
    if number(nominal) <= 0:
        raise ValueError(f"nominal is {nominal}; want more than 0")
    return float(100.0 * (nominal - number(residual)) / nominal)


def _known(value: Value) -> float | None:
    return float(value) if math.isfinite(value) else None


FUNCTIONS: tuple[Definition, ...] = (
    AggregateFunction("rms", Rms, 1, 1, merge=merged, remove=True, scalar=Scalar("rms", _rms, 1, 1)),
    Scalar("thd", _thd, 1, 3),
    Scalar("frequency", _frequency, 1, 3),
    Scalar("harmonic", _harmonic, 2, 4, check=reads(1, _order)),
    Scalar("harmonics", _harmonics, 1, 3),
    Scalar("phasor", _phasor, 3, 3),
    Scalar("pst", _pst, 2, 4),
    Scalar("itic", _itic, 2, 2),
    Scalar("f47", _f47, 2, 2),
    Scalar("sag_depth", _sag_depth, 2, 2),
)
