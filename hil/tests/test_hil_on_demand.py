"""Disturbances by name: of `sim event`, of scenario files, and in a generator while it is read."""

import math
from itertools import pairwise
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_sim.mains.generator import Generator, MainsSignal
from opq_sim.mains.grid import Grid
from opq_sim.mains.on_demand import KINDS, EventNumbers, numbers_for, on_demand, words
from opq_sim.mains.phase_events import PhaseJumpEvent
from opq_sim.mains.scenario import EventConfig, generators, load_scenario

QUIET = MainsSignal(noise_v=0.0, v_per_lsb=0.02)


def live(kind: str, numbers: dict[str, float] | None = None) -> tuple[Generator, int]:
    """A generator with one event of a kind, and the sample at which it begins to count."""
    generator = Generator(QUIET, Grid(60.0))
    generator.counts(0, 6000)
    generator.add(on_demand(kind, numbers_for(kind, numbers or {}), 120.0, 60.0))
    marks = generator.marks(0, 24_000)
    return generator, marks[0] if marks else 6000


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shows_from_the_next_cycle(kind: str) -> None:
    generator, mark = live(kind)
    clean = Generator(QUIET, Grid(60.0)).counts(0, 24_000)
    counts = generator.counts(0, 24_000)
    differing = np.flatnonzero(counts != clean)
    assert 6000 <= differing[0] <= 6000 + 600
    assert 6000 <= mark <= 6000 + 400
    assert words(kind, numbers_for(kind, {}))


def test_a_scenario_knows_all_kinds_and_one_more() -> None:
    assert sorted(get_args(get_type_hints(EventConfig)["kind"])) == sorted((*KINDS, "profile"))


def test_new_kinds_play_at_their_time(tmp_path: Path) -> None:
    path = tmp_path / "jumps.toml"
    path.write_text(
        """
        lead_s = 1.0
        every_s = 4.0
        [[box]]
        id = "1"
        noise_v = 0.0
        [[box.event]]
        kind = "phase_jump"
        degrees = 20.0
        angle_deg = 90.0
        [[box.event]]
        kind = "harmonics"
        after_s = 0.5
        depth = 0.1
        cycles = 60.0
        """
    )
    generator = generators(load_scenario(path))["1"]
    generator.counts(0, 72_000)
    later = [math.ceil(200 * (whole - jumped)) for whole, jumped in ((91, 20 / 360), (331, 40 / 360))]
    again = math.ceil(200 * (300.25 - 20 / 360))  # its own point on wave, already turned once
    assert generator.marks(0, 72_000) == (12_050, later[0], again, later[1])
    made = generator.truth(70_000, 1)
    assert made.phase_cycles[0] == pytest.approx(70_000 / 200 + 2 * 20 / 360, abs=1e-9)


def test_the_shipped_scenario_has_every_class() -> None:
    scenario = load_scenario("every_class")
    kinds = [event.kind for event in scenario.box[0].event]
    assert sorted(kinds) == sorted(set(KINDS) - {"transient", "mains_signalling"})
    for event, later in pairwise(scenario.box[0].event):
        numbers = numbers_for(event.kind, {"cycles": event.cycles} if event.cycles else {})
        assert later.after_s - event.after_s > numbers.cycles / 60 + 0.5
    assert scenario.every_s > scenario.box[0].event[-1].after_s + 61


def test_a_scenario_with_an_impossible_number_says_which(tmp_path: Path) -> None:
    path = tmp_path / "deep.toml"
    path.write_text('[[box]]\nid = "3"\n[[box.event]]\nkind = "dc_offset"\ndepth = 3.0\n')
    with pytest.raises(Exception, match="box 3: dc_offset: depth is 3"):
        load_scenario(path)


@given(st.lists(st.integers(1, 900), min_size=2, max_size=12), st.sampled_from(KINDS), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_block_size_changes_no_disturbance(sizes, kind, seed) -> None:
    def make() -> Generator:
        generator = Generator(grid=Grid(59.7, wander_hz=0.05, wander_s=3.0), seed=seed)
        generator.add(on_demand(kind, numbers_for(kind, {"angle_deg": 30.0}), 120.0, 60.0))
        return generator

    whole = make().counts(0, sum(sizes))
    pieces, at, piecewise = [], 0, make()
    for size in sizes:
        pieces.append(piecewise.counts(at, size))
        at += size
    assert np.array_equal(whole, np.concatenate(pieces))


def test_old_jumps_keep_their_phase() -> None:
    generator = Generator(QUIET, Grid(60.0))
    for _ in range(3):
        generator.add(PhaseJumpEvent(degrees=25.0))
    generator.add(
        on_demand("frequency_deviation", numbers_for("frequency_deviation", {"hz": 0.3}), 120.0, 60.0)
    )
    generator.counts(0, 200)
    before = generator.truth(30 * 12_000, 1).phase_cycles[0]
    for first in range(0, 80 * 12_000, 12_000):
        generator.counts(first, 200)
    assert generator.truth(30 * 12_000, 1).phase_cycles[0] == pytest.approx(before, abs=1e-9)
    assert before == pytest.approx(30 * 60 + 3 * 25 / 360 + 0.3 * 300 / 60, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("quake", {}),
        ("sag", {"depth": 1.2}),
        ("sag", {"depth": math.nan}),
        ("flicker", {"cycles": 0.0}),
        ("phase_jump", {"degrees": 200.0}),
        ("interharmonics", {"hz": 1e5}),
        ("swell", {"angle_deg": math.inf}),
    ],
)
def test_an_impossible_request_names_the_wanted(kind: str, numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="want"):
        numbers_for(kind, numbers)
    with pytest.raises(ValueError, match="want"):
        on_demand("quake", EventNumbers(), 120.0, 60.0)
