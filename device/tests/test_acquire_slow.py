"""Supply, battery, temperature and reference from counts, by the formulas of RM0090 13.10 and 13.11."""

import ctypes
from typing import Any

import pytest
from host_library import CMODULES, library

SUPPLY, BATTERY, TEMPERATURE, VREFINT = range(4)


class Counts(ctypes.Structure):
    _fields_ = [
        ("readings", ctypes.c_uint32),
        ("newest", ctypes.c_uint16 * 4),
        ("mean_q8", ctypes.c_uint32 * 4),
    ]


class Scale(ctypes.Structure):
    _fields_ = [
        ("vrefint_cal", ctypes.c_uint16),
        ("ts_cal1", ctypes.c_uint16),
        ("ts_cal2", ctypes.c_uint16),
        ("supply_divider", ctypes.c_float),
        ("battery_divider", ctypes.c_float),
    ]


class Values(ctypes.Structure):
    _fields_ = [(name, ctypes.c_float) for name in ("vdda_v", "supply_v", "battery_v", "temperature_c")]


@pytest.fixture
def slow() -> Any:
    c = library("slow", [CMODULES / "acquire" / "slow.c"])
    c.opq_slow_take.argtypes = [ctypes.c_uint32, ctypes.c_uint16]
    c.opq_slow_reset()
    return c


def values(c: Any, scale: Scale) -> Values:
    counts, found = Counts(), Values()
    c.opq_slow_counts(ctypes.byref(counts))
    c.opq_slow_values(ctypes.byref(counts), ctypes.byref(scale), ctypes.byref(found))
    return found


def take(c: Any, counts: dict[int, int], times: int = 1) -> None:
    for _ in range(times):
        for channel in range(4):
            c.opq_slow_take(channel, counts[channel])


def test_at_calibration_conditions_answers_are_the_calibrations(
    slow: Any,
) -> None:
    """With calibration at its own voltage and temperature the answers are the calibrations."""
    take(slow, {SUPPLY: 3103, BATTERY: 2296, TEMPERATURE: 940, VREFINT: 1500})
    found = values(slow, Scale(1500, 940, 1210, 2.0, 2.0))
    assert found.vdda_v == pytest.approx(3.3)
    assert found.temperature_c == pytest.approx(30.0, abs=0.01)
    assert found.supply_v == pytest.approx(2 * 3103 / 4096 * 3.3, rel=1e-5)
    assert found.battery_v == pytest.approx(2 * 2296 / 4096 * 3.3, rel=1e-5)


def test_a_lower_converter_supply_changes_nothing(slow: Any) -> None:
    share = 3.3 / 3.0  # counts rise as VDDA falls
    true = {SUPPLY: 2500, BATTERY: 2000, TEMPERATURE: 1000, VREFINT: 1500}
    take(slow, {channel: round(count * share) for channel, count in true.items()})
    found = values(slow, Scale(1500, 940, 1210, 2.0, 2.0))
    assert found.vdda_v == pytest.approx(3.0, rel=1e-3)
    assert found.supply_v == pytest.approx(2 * 2500 / 4096 * 3.3, rel=1e-3)
    assert found.temperature_c == pytest.approx(30 + 80 * (1000 - 940) / 270, abs=0.3)


def test_without_calibration_typical_values_are_used(slow: Any) -> None:
    take(
        slow,
        {SUPPLY: 0, BATTERY: 0, TEMPERATURE: round(0.785 / 3.3 * 4096), VREFINT: round(1.21 / 3.3 * 4095)},
    )
    for missing in (0, 0xFFFF):
        found = values(slow, Scale(missing, missing, missing, 2.0, 2.0))
        assert found.vdda_v == pytest.approx(3.3, rel=1e-3)
        assert found.temperature_c == pytest.approx(35.0, abs=0.5)


def test_before_every_channel_was_read_nothing_is_known(slow: Any) -> None:
    for channel in (SUPPLY, BATTERY, TEMPERATURE):
        slow.opq_slow_take(channel, 1000)
        found = values(slow, Scale(1500, 940, 1210, 2.0, 2.0))
        assert all(getattr(found, name) != getattr(found, name) for name, _ in Values._fields_)


def test_the_supply_is_the_newest_reading(slow: Any) -> None:
    """The supply is the newest reading and the others are means of a fifth of a second."""
    take(slow, {SUPPLY: 3000, BATTERY: 2000, TEMPERATURE: 1000, VREFINT: 1500}, times=40)
    take(slow, {SUPPLY: 1000, BATTERY: 1000, TEMPERATURE: 1000, VREFINT: 1500})
    found = values(slow, Scale(1500, 940, 1210, 1.0, 1.0))
    volt = 3.3 / 4096
    assert found.supply_v == pytest.approx(1000 * volt, rel=1e-4)
    assert found.battery_v == pytest.approx((2000 - 1000 / 16) * volt, rel=1e-3)
    take(slow, {SUPPLY: 1000, BATTERY: 1000, TEMPERATURE: 1000, VREFINT: 1500}, times=120)
    assert values(slow, Scale(1500, 940, 1210, 1.0, 1.0)).battery_v == pytest.approx(1000 * volt, rel=1e-3)
