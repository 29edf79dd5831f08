"""Mains as pieces: nothing lost but what is missing, stamps and rates as the clock has them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_hil.world.world import NS_PER_S, Played, World
from opq_sim.mains.generator import Generator, MainsSignal
from opq_sim.mains.grid import Grid
from opq_sim.mains.rms_events import Sag
from opq_sim.mains.sampling import Converter, SampleClock
from opq_sim.mains.transients import PeriodicNotching
from opq_sim.mains.voltage import Mains, pieces
from opq_sim.mains.wave import Harmonic, Wave

START_NS = 1_800_000_000_000_000_000


@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 500)), max_size=3),
    st.integers(0, 3000),
)
@settings(max_examples=25, deadline=None)
def test_pieces_hold_all_samples_but_the_missing_ones(sizes, missing, first) -> None:
    made = Mains(noise_v=0.1, clock=SampleClock(missing=tuple(missing)))
    held = np.zeros(12_000, dtype=bool)
    last = first
    for piece in pieces(made, 9000, sizes=sizes, first=first):
        assert piece.first_sample >= last
        last = piece.end_sample
        held[piece.first_sample : last] = True
        assert np.array_equal(piece.volts, made.volts(piece.first_sample, len(piece.volts)))
        assert piece.start_ns is None
    wanted = np.zeros(12_000, dtype=bool)
    wanted[first : first + 9000] = True
    for begin, count in missing:
        wanted[begin : begin + count] = False
    assert np.array_equal(held, wanted)


def test_a_piece_carries_rate_and_stamp() -> None:
    clock = SampleClock(offset_ppm=30.0, drift_ppm_per_s=1.0, stamp_error_ns=250)
    made = Mains(clock=clock, converter=Converter(12))
    one, two = pieces(made, 240_000, START_NS, sizes=(120_000,))
    assert one.rate_hz == pytest.approx(12_000 * 1.00003, rel=1e-12)
    assert two.rate_hz == pytest.approx(12_000 * 1.00004, rel=1e-9)  # 10 s later
    assert one.start_ns == START_NS + 250
    mean_hz = 12_000 * 1.000035
    assert two.start_ns - one.start_ns == pytest.approx(120_000 / mean_hz * 1e9, abs=3.0)
    assert one.volts.dtype == np.int16
    assert one.v_per_lsb == 400 / 2048
    piece = next(pieces(made, 10, measured=False))
    assert piece.rate_hz == 12_000.0


def test_a_piece_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="want whole numbers"):
        next(pieces(Mains(), 10, sizes=(0,)))


def test_an_emulators_world_plays_generated_mains(tmp_path: Path) -> None:
    made = Mains(disturbances=(Sag(depth=0.5, start_s=0.2, cycles=4),), noise_v=0.05, converter=Converter())
    counts = made.counts(0, 12_000)
    World(NS_PER_S, mains=Played(counts)).write(tmp_path)
    assert np.array_equal(np.fromfile(tmp_path / "mains.i16", "<i2"), counts)


def test_live_and_whole_mains_agree() -> None:
    events = (
        Sag(depth=0.3, start_s=0.2, cycles=5, phase_jump_deg=10.0),
        PeriodicNotching(start_s=0.5, cycles=6),
    )
    grid, wave = Grid(59.8, wander_hz=0.1, wander_s=3.0), Wave(120.0, (Harmonic(3, 2.0, 30.0),), (), 0.4)
    converter = Converter(16, 400.0)
    live = Generator(MainsSignal(120.0, wave.harmonics, 0.4, 0.0, converter.v_per_lsb), grid)
    for event in events:
        live.add(event)
    whole = Mains(grid=grid, wave=wave, disturbances=events, converter=converter).counts(0, 12_000)
    assert np.abs(live.counts(0, 12_000).astype(int) - whole).max() <= 1  # rounding of a half, if at all
