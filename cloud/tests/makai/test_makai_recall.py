"""The weakest disturbance of each class opens an event, and nothing on a quiet grid does.

A disturbance at the weakest magnitude of docs/sim-data-sets.md, 60 dB, 50 and 60 Hz, goes through the
gateway's own measuring (`trigger_trials`). It is found if a default trigger has an onset while it lasts, or
within a second. `pytest -s -m slow` prints the figures; docs/makai-figures.md has those of a run with two
hundred times as many trials.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from judged_triggers import default_triggers, onsets
from quiet_grids import PRESETS, QUIET_BOXES, events_of, quiet_grid, trigger_of
from trigger_trials import SIZES, trial

from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_sim.data_sets.magnitudes import MAGNITUDES

START_NS = 1_735_689_600 * 10**9
TRIALS = 5
"""Trials of each class and frequency."""
QUIET_H = 1.0
"""Hours of each quiet grid; no event in all: at most 7.2 a Box-month (95 %)."""
SAMPLED_S = 300.0
HZ = {kind: (50, 60)[number % 2] for number, kind in enumerate(SIZES)}


@pytest.fixture(scope="module")
def triggers() -> TriggersInUse:
    return default_triggers()


def test_each_data_set_class_has_a_size() -> None:
    assert SIZES.keys() == MAGNITUDES.keys() - {"none"}


@pytest.mark.parametrize("kind", SIZES)
def test_the_weakest_of_a_class_is_an_onset(kind: str, triggers: TriggersInUse) -> None:
    rows, from_ns, to_ns = trial(kind, HZ[kind], 0, 60.0, START_NS)
    assert onsets(rows, from_ns, to_ns + 10**9, triggers).first


@pytest.mark.slow
@pytest.mark.parametrize("kind", SIZES)
def test_ten_weakest_of_a_class_are_found(kind: str, triggers: TriggersInUse) -> None:
    """Today's recall: 1, of 38,793 trials."""
    first: list[str | None] = []
    for hz in (50, 60):
        for index in range(TRIALS):
            rows, from_ns, to_ns = trial(kind, hz, index, 60.0, START_NS)
            first.append(onsets(rows, from_ns, to_ns + 10**9, triggers).first)
    print(f"{kind}: {Counter(first).most_common()}")
    assert None not in first


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_a_quiet_grid_opens_only_the_snapshot(preset: str, tmp_path: Path) -> None:
    """Today's figure: none in 28,800 Box-hours; `baseline` opens its snapshot of all Boxes."""
    found = Counter(map(trigger_of, events_of(quiet_grid(preset), QUIET_H, tmp_path)))
    print(f"{preset}, {QUIET_BOXES * QUIET_H:g} Box-hours: {found}")
    found.pop("baseline", None)
    assert found == {}


@pytest.mark.slow
@pytest.mark.parametrize("hz", [50, 60])
def test_five_quiet_minutes_have_no_onset(hz: int, triggers: TriggersInUse) -> None:
    rows, _, _ = trial("none", hz, 1, 60.0, START_NS, SAMPLED_S)
    assert len(rows) > SAMPLED_S and onsets(rows, 0, 1 << 62, triggers).all == {}


def test_nothing_is_no_onset_of_any(triggers: TriggersInUse) -> None:
    rows, from_ns, to_ns = trial("none", 50, 0, 60.0, START_NS)
    assert onsets(rows, from_ns, to_ns + 10**10, triggers).all == {}


@pytest.mark.parametrize("preset", PRESETS)
def test_both_quiet_grids_have_60_db_of_noise(preset: str) -> None:
    """In its closed form and in its samples."""
    outlet = quiet_grid(preset).outlets[0]
    samples = outlet.samples()
    volts = samples.counts(0, 12_000) * samples.v_per_lsb
    above_3500_hz = np.abs(np.fft.rfft(volts * np.hanning(len(volts)))[3500:5900]) ** 2  # no harmonic there
    noise_v = np.sqrt(np.mean(above_3500_hz) / np.sum(np.hanning(len(volts)) ** 2))
    for each in (outlet.noise_v, noise_v):
        assert 20 * np.log10(samples.nominal_v / each) == pytest.approx(60.0, abs=0.5)


def test_an_event_counts_for_its_trigger() -> None:
    assert trigger_of("Box 5, threshold: rms 100.2 V below 108") == "threshold"
    assert trigger_of("Box 1, baseline: scheduled every 24 h at 3 h UTC") == "baseline"


@pytest.mark.parametrize(
    ("kind", "hz", "index"), [("interharmonics", 50, 50002), ("mains_signalling", 60, 30056)]
)
def test_a_hidden_line_is_found_by_the_gateway(
    kind: str, hz: int, index: int, triggers: TriggersInUse
) -> None:
    """No Measurement of a second shows the line; the gateway's detector finds it."""
    rows, from_ns, to_ns = trial(kind, hz, index, 60.0, START_NS)
    assert onsets(rows, from_ns, to_ns + 10**9, triggers).first == "edge_rule"
    without = [row for row in rows if not any(name.startswith("edge_") for name in row.metrics)]
    assert onsets(without, from_ns, to_ns + 10**9, triggers).first is None
