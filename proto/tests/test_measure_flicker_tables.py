"""The flickermeter at the test points of IEC 61000-4-15, edition 2, for all four lamps, at 12 kS/s.

Errors are in percent of the standard's 1.00. Each is within the standard's limit (8 % of Pinst, 5 % of Pst),
and within today's figure: the worst of its test on 2026-11-26, rounded up (`BOUNDS`). `pytest -s` prints the
errors; docs/measurement.md has the table. `flicker_tables` has the standard's tables and their sources.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
from flicker_tables import CHANGES, DISTORTION, PERFORMANCE, RECTANGLE, SINE, Row

from opq_measure.flicker.lamps import LAMP_120V, LAMP_230V, LAMPS, Lamp
from opq_measure.flicker.meter import PST_S, Flickermeter
from opq_measure.flicker.sensation import instantaneous
from opq_measure.signal import FloatArray, SignalPiece

pytestmark = pytest.mark.slow
RATE_HZ = 12_000.0
PINST_PERCENT, PST_PERCENT = 8.0, 5.0
BLOCK_S = 0.2
RUN_IN_S = 60.0
"""Run-in before ten minutes, in which the mean of 27.3 s settles."""
SETTLE_S, SETTLE_SLOW_S = 8.0, 60.0
"""Time before a maximum of Pinst; below 1 Hz the first second is not the mean, so 27.3 s must pass."""
TICK_NS = 1_700_000_400_000_000_000
"""UTC of the start: a whole number of ten minutes."""
Error = tuple[str, float]
"""Name of a row, and its error in percent."""
BOUNDS = {
    "sine": 0.35,
    "rectangle": 0.9,
    "combined": 0.85,
    "zero_crossings": 0.05,
    "side_band": 0.75,
    "mains_hz": 1.1,
    "rate_hz": 0.05,
    "dc_10_percent": 0.05,
    "pst": 0.25,
    "pst.120V60Hz": 0.5,
    "size": 0.6,
    "size.row_0": 3.6,
    "phase_jumps": 0.3,
}
"""Beginning of a row's name -> bound in percent."""
FLOOR = {78.0: 0.011, 60.0: 0.040, 40.0: 0.39}
"""Noise in dB under the voltage -> most Pst of a steady voltage."""
BEYOND_PERCENT = 16.0
"""Bound of one change a minute at ten times its size: the mean of 27.3 s follows within the minute."""


def assert_within(errors: Iterable[Error], limit_percent: float) -> None:
    found = list(errors)
    assert found
    for name, percent in found:
        print(f"{name:<48} {percent:+8.3f} %")
    for name, percent in found:
        bound = max((part for part in BOUNDS if name.startswith(part)), key=len)
        assert abs(percent) <= BOUNDS[bound] <= limit_percent, name


def test_every_table_row_makes_pinst_1() -> None:
    assert_within(_pinst_tables(), PINST_PERCENT)


def test_the_performance_tests_make_pinst_1() -> None:
    assert_within(_performance(), PINST_PERCENT)


def test_frequency_rate_and_dc_change_nothing() -> None:
    assert_within(_influences(), PINST_PERCENT)


@pytest.mark.parametrize("lamp", LAMPS, ids=lambda lamp: f"{lamp.nominal_v:g}V{lamp.nominal_hz:g}Hz")
def test_every_row_of_table_5_makes_pst_1(lamp: Lamp) -> None:
    assert_within(_changes(lamp), PST_PERCENT)


def test_pst_is_proportional_to_the_fluctuation() -> None:
    assert_within(_sizes(), PST_PERCENT)


def test_a_slow_large_change_has_the_standards_error() -> None:
    """Pst of one change a minute at ten times its size is off by the standards own mean."""
    for lamp in (LAMP_230V, LAMP_120V):
        error = _size_error(lamp, 0, 10.0)
        print(f"{_name(lamp)} {error:+8.3f} %")
        assert PST_PERCENT < abs(error) < BEYOND_PERCENT


def test_phase_jumps_make_the_pst_of_the_standard() -> None:
    assert_within(_phase_jumps(), PST_PERCENT)


def test_noise_of_60_db_gives_little_pst() -> None:
    """The floor of a measurement; at 40 dB it is 0.38, because of the squaring."""
    for noise_db, bound in FLOOR.items():
        found = _floor(noise_db)
        print(f"{noise_db:g} dB: {found:.4f}")
        assert found <= bound


def _name(lamp: Lamp) -> str:
    return f"{lamp.nominal_v:g}V{lamp.nominal_hz:g}Hz"


def _square_wave(turns: FloatArray) -> FloatArray:
    """+1 for half of each turn, then -1; a rounding error before a turn counts to the next one."""
    return np.where(np.mod(turns + 1e-9, 1.0) < 0.5, 1.0, -1.0)


def _peak_error(volts: FloatArray, lamp: Lamp, settle_s: float = SETTLE_S, rate_hz: float = RATE_HZ) -> float:
    pinst, work_hz = instantaneous(volts, rate_hz, lamp)
    return 100 * (float(pinst[round(settle_s * work_hz) :].max()) - 1)


def _carrier(lamp: Lamp, seconds: float) -> tuple[FloatArray, FloatArray]:
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return t, np.sin(2 * np.pi * lamp.nominal_hz * t)


def _pinst_tables() -> Iterator[Error]:
    """Tables 1 and 2."""
    shapes: dict[str, tuple[dict[Lamp, tuple[Row, ...]], Callable[[FloatArray], FloatArray]]] = {
        "sine": (SINE, lambda turns: np.sin(2 * np.pi * turns)),
        "rectangle": (RECTANGLE, _square_wave),
    }
    for shape, (table, swing) in shapes.items():
        for lamp in LAMPS:
            for hz, percent in table[lamp]:
                settle_s = SETTLE_S if hz >= 1 else SETTLE_SLOW_S
                t, carrier = _carrier(lamp, settle_s + 4)
                error = _peak_error((1 + percent / 200 * swing(hz * t)) * carrier, lamp, settle_s)
                yield f"{shape}.{_name(lamp)}.{hz:g}_Hz", error


def _performance() -> Iterator[Error]:
    """Combined changes, several zero crossings, harmonics with side band."""
    for lamp, given in PERFORMANCE.items():
        t, carrier = _carrier(lamp, 60.0)
        below = np.mod(t, 8.0) < 4.0
        turns = np.cumsum(np.where(below, lamp.nominal_hz - 0.25, lamp.nominal_hz + 0.25)) / RATE_HZ
        volts = np.where(below, lamp.nominal_v, given.lower_v) * np.sin(2 * np.pi * turns)
        yield f"combined.{_name(lamp)}", _peak_error(volts, lamp, 30.0)
        t, carrier = _carrier(lamp, 12.0)
        turn = 2 * np.pi * lamp.nominal_hz * t
        distorted = carrier + sum(
            percent / 100 * np.sin(order * turn + np.pi) for order, percent in DISTORTION.items()
        )
        volts = (1 + lamp.threshold_percent / 200 * np.sin(2 * np.pi * 8.8 * t)) * distorted
        yield f"zero_crossings.{_name(lamp)}", _peak_error(volts, lamp)
        for order in (3, 9, 27, 81, 98):  # 5.88 kHz at 60 Hz
            pair = np.sin(order * turn) + np.sin(order * turn - 2 * np.pi * 10 * t)
            error = _peak_error(carrier + given.side_band_percent / 100 * pair, lamp)
            yield f"side_band.{_name(lamp)}.{order}", error


def _influences() -> Iterator[Error]:
    """Influences that should not change the just perceptible fluctuation: frequency, rate, DC."""
    for lamp in (LAMP_230V, LAMP_120V):

        def pinst(
            hz: float = lamp.nominal_hz, rate_hz: float = RATE_HZ, dc: float = 0.0, lamp: Lamp = lamp
        ) -> float:
            t = np.arange(round(12.0 * rate_hz)) / rate_hz
            swing = lamp.threshold_percent / 200 * np.sin(2 * np.pi * 8.8 * t)
            volts = (1 + swing) * np.sin(2 * np.pi * hz * t + 1.0) + dc
            return _peak_error(volts, lamp, rate_hz=rate_hz)

        for hz in np.arange(42.5, 69.1, 2.65):
            yield f"mains_hz.{_name(lamp)}.{hz:g}", pinst(hz=float(hz))
        for rate_hz in (6e3, 8e3, 9999.9, 12.8e3, 15.36e3, 2e4, 3e4, 4.8e4):
            yield f"rate_hz.{_name(lamp)}.{rate_hz:g}", pinst(rate_hz=rate_hz)
        yield f"dc_10_percent.{_name(lamp)}", pinst(dc=0.1)


def _blocks(lamp: Lamp, changes_per_minute: float, percent: float) -> Iterator[FloatArray]:
    """Run-in and ten minutes of a rectangular fluctuation."""
    _, carrier = _carrier(lamp, BLOCK_S)
    for first in range(0, round((RUN_IN_S + PST_S) * RATE_HZ), len(carrier)):
        at = np.arange(first, first + len(carrier)) / RATE_HZ
        yield lamp.nominal_v * (1 + percent / 200 * _square_wave(changes_per_minute / 120 * at)) * carrier


def _pst(blocks: Iterator[FloatArray], lamp: Lamp) -> float:
    """Pst of the ten minutes after the run-in, computed as a stream."""
    meter, found, first = Flickermeter(lamp), [], 0
    for block in blocks:
        start_ns = TICK_NS - round(RUN_IN_S * 1e9) + round(first / RATE_HZ * 1e9)
        found += meter.push_samples(SignalPiece(block, first, RATE_HZ, start_ns))
        first += len(block)
    return next(each.pst for each in (*found, *meter.end()) if each.start_ns == TICK_NS)


def _changes(lamp: Lamp) -> Iterator[Error]:
    """Table 5."""
    for changes_per_minute, percent in CHANGES[lamp]:
        error = 100 * (_pst(_blocks(lamp, changes_per_minute, percent), lamp) - 1)
        yield f"pst.{_name(lamp)}.{changes_per_minute:g}_per_min", error


def _sizes() -> Iterator[Error]:
    """Multiples of table 5."""
    for lamp in (LAMP_230V, LAMP_120V):
        for row, sizes in ((0, (2.0, 5.0)), (3, (0.2, 2.0, 10.0, 25.0)), (5, (0.2, 10.0, 25.0))):
            for size in sizes:
                yield f"size.row_{row}.{_name(lamp)}.times_{size:g}", _size_error(lamp, row, size)


def _size_error(lamp: Lamp, row: int, size: float) -> float:
    changes_per_minute, percent = CHANGES[lamp][row]
    return 100 * (_pst(_blocks(lamp, changes_per_minute, size * percent), lamp) / size - 1)


def _phase_jumps() -> Iterator[Error]:
    """Five jumps in ten minutes, at rising zero crossings; those lie between two samples."""
    t = (np.arange(round((RUN_IN_S + PST_S) * RATE_HZ)) + 0.5) / RATE_HZ
    for lamp, given in PERFORMANCE.items():
        for size, pst in given.jump_pst.items():
            for degrees in (size, -size):
                phase, jumped = np.zeros(len(t)), 0.0
                for at_s in RUN_IN_S + 60 * np.array([1, 3, 5, 7, 9]):
                    crossing_s = (np.ceil(lamp.nominal_hz * at_s + jumped - 1e-9) - jumped) / lamp.nominal_hz
                    jumped += degrees / 360
                    phase[t >= crossing_s] = 2 * np.pi * jumped
                volts = np.sin(2 * np.pi * lamp.nominal_hz * t + phase)
                found = _pst(iter(np.split(volts, round((RUN_IN_S + PST_S) / 10))), lamp)
                yield f"phase_jumps.{_name(lamp)}.{degrees:+g}_deg", 100 * (found / pst - 1)


def _floor(noise_db: float) -> float:
    """Pst of a steady voltage with noise."""
    generator = np.random.default_rng(15)
    _, carrier = _carrier(LAMP_230V, 10.0)
    size = np.sqrt(0.5) * 10 ** (-noise_db / 20)
    return _pst((carrier + size * generator.standard_normal(len(carrier)) for _ in range(66)), LAMP_230V)
