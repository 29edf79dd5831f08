"""The decimation filters as they stand in C: figures from their whole-number taps; effective bits."""

import ctypes
import importlib.util
from pathlib import Path
from typing import Any

import check
import numpy as np
import pytest
from acquire_on_pc import OVERSAMPLINGS, c_library, taps_of
from host_library import CMODULES
from parts import read_bom


def response(oversampling: int) -> tuple[Any, Any]:
    """Hz up to half the conversion rate, gain."""
    taps, shift = taps_of(oversampling)
    gain = np.abs(np.fft.rfft(taps / 2**shift, 1 << 16))
    return np.arange(len(gain)) * 12_000 * oversampling / (1 << 16), gain


@pytest.mark.parametrize("oversampling", OVERSAMPLINGS[1:])
def test_the_pass_band_is_flat_to_3_khz(oversampling: int) -> None:
    hz, gain = response(oversampling)
    assert np.abs(20 * np.log10(gain[hz <= 3000])).max() <= 0.002
    assert 20 * np.log10(gain[hz >= 9000].max()) <= -80


@pytest.mark.parametrize("oversampling", OVERSAMPLINGS)
def test_taps_are_odd_symmetric_and_pass_dc_exactly(oversampling: int) -> None:
    taps, shift = taps_of(oversampling)
    assert len(taps) % 2 == 1
    assert len(taps) <= 97
    assert np.array_equal(taps, taps[::-1])
    assert taps.sum() == 1 << shift


def test_a_filter_needs_a_divisor_of_7000() -> None:
    assert [n for n in range(1, 41) if len(taps_of(n)[0])] == list(OVERSAMPLINGS)
    assert all(7000 % n == 0 for n in OVERSAMPLINGS)


def test_the_taps_follow_their_design() -> None:
    path = Path(CMODULES) / "acquire" / "design_filter.py"
    spec = importlib.util.spec_from_file_location("design_filter", path)
    assert spec is not None
    assert spec.loader is not None
    design = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(design)
    assert (path.parent / "decimate_taps.h").read_text(encoding="utf-8") == design.header()


class Converter(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("part", ctypes.c_char_p),
        ("bits", ctypes.c_uint8),
        ("class_a", ctypes.c_bool),
        ("enob", ctypes.c_float),
        ("front_end_lsb", ctypes.c_float),
        ("v_per_lsb", ctypes.c_float),
        ("shift", ctypes.c_uint8),
        ("flip", ctypes.c_uint16),
        ("low", ctypes.c_int16),
        ("high", ctypes.c_int16),
        ("rest", ctypes.c_uint8 * 64),
    ]


def effective_bits(converter: Converter, oversampling: int) -> float:
    c = c_library()
    c.opq_effective_bits.restype = ctypes.c_float
    return float(c.opq_effective_bits(ctypes.byref(converter), oversampling))


@pytest.mark.parametrize(
    ("name", "bits", "enob", "usual"), [("external", 16, 15.5, 10), ("internal", 12, 10.4, 5)]
)
def test_effective_bits_follow_the_parts_list(name: str, bits: int, enob: float, usual: int) -> None:
    parts = read_bom()
    path = (check.external if name == "external" else check.internal)(parts)
    front_v, _ = check.noises_v(parts, name)
    front_lsb = front_v / check.v_per_lsb(parts, path)
    header = (Path(CMODULES) / "acquire/front_end.h").read_text(encoding="utf-8")
    assert f"#define OPQ_BOARD_{name.upper()}_NOISE_LSB {front_lsb:.2f}f\n" in header
    high = check.linear_lsb(parts, path)
    converter = Converter(b"", b"", bits, False, enob, front_lsb, high=high)
    assert effective_bits(converter, usual) == pytest.approx(check.effective_bits(parts, path), abs=0.02)


def test_without_front_end_bits_grow_by_halves() -> None:
    """Without a front end they are half a bit more per doubling down to the words own noise."""
    converter = Converter(b"", b"", 12, False, 10.4, 0.0, high=32_767)
    got = [effective_bits(converter, oversampling) for oversampling in (1, 2, 4)]
    assert got == pytest.approx([10.9, 11.4, 11.9], abs=0.01)  # 3 of 6 kHz are half a bit more than the ENOB
    fine = Converter(b"", b"", 16, False, 24.0, 0.0, high=32_767)
    assert effective_bits(fine, 10) == pytest.approx(16.5, abs=0.01)
