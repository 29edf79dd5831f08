"""A stream and a file give the same bits, however the stream was cut into blocks."""

import math
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opq_measure.rms import half_cycle_rms_v
from opq_measure.signal import SignalPiece
from opq_measure.timebase.cycles import Track, Tracker, track
from opq_measure.timebase.windows import TICK_NS, Window, Windows, windows_of

RATE_HZ = 12_000.0
V_PER_LSB = 0.0068
SAMPLES_NS = (3, 250_000)  # so many samples last so many nanoseconds, without a remainder
TICK = 2_833_334 * TICK_NS
Counts = NDArray[np.int16]


def recording(seed: int, seconds: float) -> Counts:
    """Mains with whatever may come: dips, swells, silence, jumps of phase and frequency, notches, noise."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    hz = random.uniform(57.0, 63.0) + np.where(t > random.uniform(0, seconds), random.uniform(-2, 2), 0.0)
    turns = np.cumsum(hz) / RATE_HZ + random.uniform()
    turns = turns + np.where(t > random.uniform(0, seconds), random.uniform(-0.5, 0.5), 0.0)
    volts = 170.0 * (np.sin(2 * np.pi * turns) + 0.03 * np.sin(6 * np.pi * turns + 1.0))
    for _ in range(3):
        begin = random.uniform(0, seconds)
        part = (t > begin) & (t < begin + random.exponential(0.2))
        volts[part] *= random.choice([0.0, 0.4, 1.3])
    notches = random.uniform() < 0.5
    volts[(np.arange(len(t)) % 1000 < 6) & notches] = 0.0
    volts += random.normal(scale=random.choice([0.01, 1.0]), size=len(t)) + random.uniform(-10, 10)
    return np.rint(volts / V_PER_LSB).astype(np.int16)


def sizes_of(total: int, seed: int, largest: int, step: int = 1) -> list[int]:
    """Block boundaries, from 0 to `total`, at multiples of `step`."""
    random = np.random.default_rng(seed)
    bounds = [0]
    while bounds[-1] < total:
        bounds.append(min(total, bounds[-1] + step * int(random.integers(1, largest // step + 1))))
    return bounds


def same(one: object, other: object) -> bool:
    """Bit for bit, also NaN."""
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.tobytes() == other.tobytes() and one.shape == other.shape
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


def assert_same_window(one: Window, other: Window) -> None:
    for field in fields(Window):
        if field.name != "track":
            assert same(getattr(one, field.name), getattr(other, field.name)), field.name
    for field in fields(Track):
        assert same(getattr(one.track, field.name), getattr(other.track, field.name)), field.name


def cut(
    counts: Counts, bounds: list[int], gaps: tuple[int, ...] = (), start_ns: int = TICK - 2 * 10**9
) -> tuple[list[Window], Windows]:
    """Windows of blocks between `bounds`; at each of `gaps` 300 samples are missing on the Box's axis."""
    cutter, found = Windows(60.0), []
    for first, last in pairwise(sorted({*bounds, *gaps})):
        at = first + 300 * sum(gap <= first for gap in gaps)
        time_ns = start_ns + at * SAMPLES_NS[1] // SAMPLES_NS[0]
        found += cutter.push_samples(SignalPiece(counts[first:last], at, RATE_HZ, time_ns, V_PER_LSB))
    return found + cutter.end(), cutter


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), largest=st.sampled_from([50, 700, 2400, 9000, 40_000]))
def test_stream_edges_equal_the_files(seed: int, largest: int) -> None:
    counts = recording(seed, 3.0)
    whole = track(counts, RATE_HZ, 60.0)
    tracker = Tracker(RATE_HZ, 60.0)
    pieces = [tracker.push_volts(counts[a:b]) for a, b in pairwise(sizes_of(len(counts), seed + 1, largest))]
    pieces.append(tracker.end())
    for per_cycle in (1, 2):
        edges = np.concatenate([piece.edges(per_cycle) for piece in pieces])
        assert edges.tobytes() == whole.edges(per_cycle).tobytes()
    told = [piece.positions[piece.positions > (piece.begin if piece.joined else -1)] for piece in pieces]
    assert np.concatenate(told).tobytes() == whole.positions.tobytes()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    largest=st.sampled_from([60, 2400, 9000]),
    gaps=st.lists(st.integers(1, 15_999), max_size=2, unique=True),
)
def test_stream_windows_equal_the_files(seed: int, largest: int, gaps: list[int]) -> None:
    counts = recording(seed, 4.0)
    missing = tuple(3 * gap for gap in gaps)  # where times have no remainder
    whole, cutter = cut(counts, [0, len(counts)], missing)
    found, other = cut(counts, sizes_of(len(counts), seed + 1, largest, step=3), missing)
    assert len(found) == len(whole)
    for one, two in zip(whole, found, strict=True):
        assert_same_window(one, two)
        assert same(half_cycle_rms_v(one.volts, one.half_edges), half_cycle_rms_v(two.volts, two.half_edges))
    assert (cutter.dropped_cycles, cutter.runs) == (other.dropped_cycles, other.runs)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    largest=st.sampled_from([60, 2400, 9000]),
    rate_hz=st.sampled_from([12_000.0, 12_000.37, 7000.0]),
    half_ns=st.sampled_from([0.0, 0.5]),
)
def test_rounded_times_leave_no_trace(seed: int, largest: int, rate_hz: float, half_ns: float) -> None:
    counts = recording(seed, 2.0)
    cutter, found = Windows(60.0), []
    for first, last in pairwise(sizes_of(len(counts), seed + 1, largest)):
        time_ns = TICK - 10**9 + math.floor(first * 1e9 / rate_hz + half_ns)  # rounded, and cut off
        found += cutter.push_samples(SignalPiece(counts[first:last], first, rate_hz, time_ns))
    found += cutter.end()
    for one, two in zip(windows_of(counts, rate_hz, 60.0, TICK - 10**9), found, strict=True):
        assert_same_window(one, two)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), gap=st.integers(1, 15_999))
def test_windows_overlap_only_after_a_tick(seed: int, gap: int) -> None:
    counts = recording(seed, 4.0)
    found, cutter = cut(counts, [0, len(counts)], (3 * gap,))
    assert cutter.runs == 2
    for one, two in pairwise(found):
        if two.index == 0:  # behind the gap
            continue
        end = one.first_sample + float(one.edges[-1])
        start = two.first_sample + float(two.edges[0])
        assert two.index == one.index + 1
        if two.tick:
            assert start <= end + 1e-6
        else:
            assert start == pytest.approx(end, abs=1e-6)
            if two.volts[int(two.edges[0])] != 0:  # and the same samples
                here = int(end) - one.first_sample
                assert one.volts[here] == two.volts[int(end) - two.first_sample]
        assert (
            one.next_half
            == pytest.approx(float(two.half_edges[1]) + two.first_sample - one.first_sample, abs=1e-6)
            or two.tick
        )
    for window in found:
        context = 2.9 * (window.edges[-1] - window.edges[0]) / 12
        run_start = 0 if window.first_sample < 3 * gap else 3 * gap + 300
        assert window.edges[0] >= context or window.first_sample == run_start
        assert len(window.edges) == 13 and len(window.half_edges) == 25


def test_a_memory_mapped_file_is_read_in_blocks(tmp_path, monkeypatch) -> None:
    counts = recording(5, 6.0)
    np.save(tmp_path / "counts.npy", counts)
    mapped = np.load(tmp_path / "counts.npy", mmap_mode="r")
    whole = list(windows_of(counts, RATE_HZ, 60.0))
    monkeypatch.setattr("opq_measure.timebase.windows.BLOCK_SAMPLES", 5000)
    found = list(windows_of(mapped, RATE_HZ, 60.0))
    assert len(found) == len(whole) >= 28
    for one, two in zip(whole, found, strict=True):
        assert_same_window(one, two)
