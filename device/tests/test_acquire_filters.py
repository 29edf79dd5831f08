"""The decimation filters as they stand in C: figures from their whole-number taps; effective bits."""

import ctypes
import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acquire_on_pc import OVERSAMPLINGS, c_library, taps_of
from host_library import CMODULES


def response(oversampling: int) -> tuple[Any, Any]:
    """Hz up to half the conversion rate, gain."""
    taps, shift = taps_of(oversampling)
    gain = np.abs(np.fft.rfft(taps / 2**shift, 1 << 16))
    return np.arange(len(gain)) * 12_000 * oversampling / (1 << 16), gain


@pytest.mark.parametrize("oversampling", OVERSAMPLINGS[1:])
def test_the_pass_band_is_flat_to_3_khz_and_what_folds_onto_it_is_80_db_down(oversampling: int) -> None:
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


def test_there_is_no_filter_for_what_does_not_divide_7000_ticks() -> None:
    assert [n for n in range(1, 41) if len(taps_of(n)[0])] == list(OVERSAMPLINGS)
    assert all(7000 % n == 0 for n in OVERSAMPLINGS)


def test_the_taps_in_c_are_what_their_design_gives() -> None:
    path = Path(CMODULES) / "acquire" / "design_filter.py"
    spec = importlib.util.spec_from_file_location("design_filter", path)
    assert spec is not None
    assert spec.loader is not None
    design = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(design)
    assert (path.parent / "decimate_taps.h").read_text(encoding="utf-8") == design.header()


class Converter(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p), ("part", ctypes.c_char_p), ("bits", ctypes.c_uint8),
        ("class_a", ctypes.c_bool), ("enob", ctypes.c_float), ("rest", ctypes.c_uint8 * 64),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bits", "enob", "oversampling", "wanted"),
    [
        (12, 10.4, 1, 10.4),
        (12, 10.4, 4, 11.4),
        (12, 10.4, 5, 11.56),
        (16, 15.5, 1, 15.5),
        (16, 15.5, 10, 15.87),
    ],
)
def test_effective_bits_are_half_a_bit_more_per_doubling_down_to_the_words_own_noise(
    bits: int, enob: float, oversampling: int, wanted: float
) -> None:
    c = c_library()
    c.opq_effective_bits.restype = ctypes.c_float
    converter = Converter(b"", b"", bits, False, enob)
    noise = 4.0**-enob / oversampling + (4.0**-16 if oversampling > 1 else 0)
    got = c.opq_effective_bits(ctypes.byref(converter), oversampling)
    assert got == pytest.approx(-math.log(noise, 4), abs=0.005)
    assert got == pytest.approx(wanted, abs=0.02)
