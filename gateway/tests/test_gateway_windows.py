"""Windows and measurements: closed-form signals in, known numbers out, whatever the block size."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_gateway.blocks import Block
from opq_gateway.measuring.measurements import measure, metrics
from opq_gateway.measuring.windows import Window, Windows
from opq_proto.messages import TimeSource

T0_NS = 1_700_000_000_000_000_000
RATE_HZ = 12_000.0
V_PER_LSB = 0.01


def sine(seconds: float, f_hz: float = 60.0, rms_v: float = 120.0, phase: float = 0.3) -> np.ndarray:
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return rms_v * np.sqrt(2) * np.sin(2 * np.pi * f_hz * t + phase)


def blocks(volts: np.ndarray, cuts: list[int] | None = None, first: int = 0) -> list[Block]:
    counts = np.rint(volts / V_PER_LSB).astype(np.int16)
    edges = cuts or [*range(0, len(counts), 200), len(counts)]
    return [
        Block(
            7,
            V_PER_LSB,
            first + a,
            T0_NS + (first + a) * 10**12 // 12_000_000,
            1000,
            TimeSource.GPS,
            12_000_000,
            counts[a:b],
        )
        for a, b in pairwise(edges)
    ]


def windows_of(parts: list[Block], cycles: int = 60, nominal_hz: float = 60.0) -> list[Window]:
    cutter = Windows(nominal_hz, cycles)
    return [window for part in parts for window in cutter.push(part)]


@pytest.mark.parametrize(
    ("f_hz", "nominal_hz"), [(60.0, 60.0), (59.2, 60.0), (63.7, 60.0), (50.0, 50.0), (47.1, 50.0)]
)
def test_every_window_has_60_whole_cycles_and_follows_the_last(f_hz: float, nominal_hz: float) -> None:
    found = windows_of(blocks(sine(6.0, f_hz)), nominal_hz=nominal_hz)
    assert len(found) == int((6.0 - 0.07) * f_hz / 60 - 1 / 60)
    for before, after in pairwise(found):
        assert before.end_sample == after.first_sample and before.end_ns == after.start_ns
    for window in found:
        assert window.cycles == 60 and not window.cut
        assert window.end_ns - window.start_ns == pytest.approx(60e9 / f_hz, abs=2000)
        # the edge is where the sine passes zero: phase 2 pi f t + 0.3 a multiple of 2 pi
        turns = f_hz * window.first_sample / RATE_HZ + 0.3 / (2 * np.pi)
        assert abs(turns - round(turns)) < 1e-4


def test_a_pure_sine_gives_its_own_numbers_from_the_first_window_on() -> None:
    for window in windows_of(blocks(sine(3.2, 59.97, 119.4))):
        found = metrics(window)
        assert set(found) == {"rms", "f", "thd", "trans"}
        for value in (found["rms"].min, found["rms"].average, found["rms"].max):
            assert value == pytest.approx(119.4, rel=2e-4)
        assert found["f"].average == pytest.approx(59.97, abs=1e-3)
        assert found["thd"].max < 5e-4
        assert found["trans"].max < 0.25  # the filter leaves 1e-3 of the fundamental at most


def test_harmonics_make_the_thd_and_a_spike_the_transient() -> None:
    t = np.arange(36_000) / RATE_HZ
    volts = sine(3.0) + 0.03 * 120 * np.sqrt(2) * np.sin(2 * np.pi * 180 * t)
    volts[15_000] += 80.0
    found = [metrics(window) for window in windows_of(blocks(volts))]
    assert found[0]["thd"].average == pytest.approx(0.03, abs=5e-4)
    assert found[1]["trans"].max == pytest.approx(80 * (1 - 2 * 400 / 12_000), rel=0.05)
    assert found[0]["trans"].max < 2.0


def test_a_dip_shows_in_the_minimum_of_the_half_cycle_rms() -> None:
    volts = sine(3.0, phase=0.0)
    volts[14_000:16_000] *= 0.7  # ten cycles, on the edges
    found = [metrics(window) for window in windows_of(blocks(volts))]
    assert found[1]["rms"].min == pytest.approx(84.0, rel=2e-3)
    assert found[1]["rms"].max == pytest.approx(120.0, rel=2e-3)
    assert found[0]["rms"].min == pytest.approx(120.0, rel=2e-3)


def test_an_interruption_has_no_frequency_and_an_rms_of_zero() -> None:
    volts = sine(6.0)
    volts[12_000:48_000] = 0.0
    found = [metrics(window) for window in windows_of(blocks(volts))]
    assert found[2]["rms"].max == 0.0
    assert "f" not in found[2] and "thd" not in found[2]
    assert found[-1]["rms"].min == pytest.approx(120.0, rel=2e-3)


def test_the_end_is_stamped_rounded_to_milliseconds() -> None:
    window = windows_of(blocks(sine(2.0)))[0]
    made = measure(window, "12", 5)
    assert made.timestamp_ms == round(window.end_ns / 1e6)
    assert (made.box_id, made.sequence, made.oldest_sequence) == ("12", 5, 5)
    assert (made.start_ns, made.end_ns) == (window.start_ns, window.end_ns)
    assert (made.uncertainty_ns, made.source) == (1000, TimeSource.GPS)


def test_a_gap_ends_the_window_before_it_and_the_next_begins_behind_it() -> None:
    volts = sine(4.0)
    parts = blocks(volts)
    kept = parts[:90] + parts[100:]  # 18000 .. 20000 are missing
    found = windows_of(kept)
    assert [window.cut for window in found] == [False, True, False, False]
    assert 17_800 <= found[1].end_sample <= 18_000
    assert 20_000 <= found[2].first_sample < 20_201
    assert metrics(found[1])["rms"].average == pytest.approx(120.0, rel=1e-3)


def test_what_is_shorter_than_two_cycles_makes_no_window_and_no_error() -> None:
    cutter = Windows(60.0, 60)
    assert cutter.push(blocks(sine(0.02))[0]) == []
    assert cutter.gap() == []
    assert cutter.gap() == []


@pytest.mark.parametrize("cycles", [1, 5, 12, 17, 600])
def test_any_number_of_cycles_gives_f_and_thd_of_whole_windows(cycles: int) -> None:
    found = windows_of(blocks(sine(11.0, 60.1)), cycles)
    assert found and all(window.cycles == cycles for window in found)
    late = metrics(found[-1])
    assert late["f"].average == pytest.approx(60.1, abs=2e-3)
    assert late["thd"].average < 5e-4


def test_a_change_of_cycles_holds_from_the_next_window_on() -> None:
    cutter = Windows(60.0, 60)
    found = []
    for part in blocks(sine(4.0)):
        found += cutter.push(part)
        if len(found) == 1:
            cutter.cycles = 12
    assert [window.cycles for window in found[:4]] == [60, 60, 12, 12]


@settings(max_examples=25, deadline=None)
@given(
    st.sets(st.integers(1, 30_000), max_size=60),
    st.floats(57.5, 62.5),
    st.integers(0, 2**32 - 1),
)
def test_the_same_samples_give_the_same_numbers_however_they_are_cut(
    cuts: set[int], f_hz: float, seed: int
) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.3, 30_001)
    volts = sine(2.5001, f_hz)[:30_001] + noise
    whole = [measure(window, "1", 0) for window in windows_of(blocks(volts))]
    cut = [measure(window, "1", 0) for window in windows_of(blocks(volts, [0, *sorted(cuts), 30_001]))]
    assert len(whole) == len(cut) > 0
    for one, other in zip(whole, cut, strict=True):
        assert one.metrics == other.metrics
        assert abs((one.end_ns or 0) - (other.end_ns or 0)) <= 1  # a block's own time is floored to 1 ns


def test_another_gain_ends_the_window_as_a_gap_does() -> None:
    first = blocks(sine(1.5))
    second = [replace(block, v_per_lsb=2 * V_PER_LSB) for block in blocks(sine(3.0))[90:]]
    found = windows_of(first + second)
    assert [window.cut for window in found] == [False, True, False]
    assert metrics(found[-1])["rms"].average == pytest.approx(240.0, rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["sine", "zero", "dc", "noise", "steps"]), st.integers(1, 6000)),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([1, 7, 12, 60]),
)
def test_no_signal_whatever_breaks_the_stream_of_windows(parts: list[tuple[str, int]], cycles: int) -> None:
    random = np.random.default_rng(1)
    made = {
        "sine": sine(0.5),
        "zero": np.zeros(6000),
        "dc": np.full(6000, 300.0),
        "noise": random.normal(0, 100, 6000),
        "steps": np.where(random.random(6000) < 0.5, -327.0, 327.0),
    }
    volts = np.concatenate([made[kind][:count] for kind, count in parts])
    cutter = Windows(60.0, cycles)
    found = [window for block in blocks(volts) for window in cutter.push(block)] + cutter.gap()
    for before, after in pairwise(found):
        assert before.end_sample == after.first_sample
    for window in found:
        made_of = metrics(window)
        assert 1 <= window.cycles <= cycles and "rms" in made_of
        assert all(np.isfinite([m.min, m.max, m.average]).all() for m in made_of.values())
    if found:
        assert len(volts) - found[-1].end_sample < 400  # nothing piles up
