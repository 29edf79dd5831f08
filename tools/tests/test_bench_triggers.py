"""The parts of `bench triggers`: the weakest disturbance of each class is seen, and nothing is not."""

import numpy as np
import pytest

from bench.triggers import figures
from bench.triggers.judged import default_triggers, onsets
from bench.triggers.trials import SIZES, trial
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse
from opq_hil.data_sets.magnitudes import MAGNITUDES

START_NS = 1_735_689_600 * 10**9
HZ = {kind: (50, 60)[number % 2] for number, kind in enumerate(SIZES)}


@pytest.fixture(scope="module")
def triggers() -> TriggersInUse:
    return default_triggers()


def test_every_class_of_a_data_set_has_a_size() -> None:
    assert SIZES.keys() == MAGNITUDES.keys() - {"none"}


@pytest.mark.parametrize("kind", SIZES)
def test_the_weakest_of_a_class_is_an_onset_of_a_default_trigger(kind: str, triggers: TriggersInUse) -> None:
    rows, from_ns, to_ns = trial(kind, HZ[kind], 0, 60.0, START_NS)
    assert onsets(rows, from_ns, to_ns + 10**9, triggers).first


def test_nothing_is_no_onset_of_any(triggers: TriggersInUse) -> None:
    rows, from_ns, to_ns = trial("none", 50, 0, 60.0, START_NS)
    assert onsets(rows, from_ns, to_ns + 10**10, triggers).all == {}


@pytest.mark.parametrize("preset", figures.PRESETS)
def test_a_quiet_grid_has_60_db_of_noise_in_its_closed_form_and_in_its_samples(preset: str) -> None:
    outlet = figures._grid(preset).outlets[0]
    samples = outlet.samples()
    volts = samples.counts(0, 12_000) * samples.v_per_lsb
    above_3500_hz = np.abs(np.fft.rfft(volts * np.hanning(len(volts)))[3500:5900]) ** 2  # no harmonic there
    noise_v = np.sqrt(np.mean(above_3500_hz) / np.sum(np.hanning(len(volts)) ** 2))
    for each in (outlet.noise_v, noise_v):
        assert 20 * np.log10(samples.nominal_v / each) == pytest.approx(60.0, abs=0.5)


def test_an_event_is_counted_for_the_trigger_that_opened_it() -> None:
    assert figures._trigger_of("Box 5, threshold: rms 100.2 V below 108") == "threshold"
    assert figures._trigger_of("Box 1, baseline: scheduled every 24 h at 3 h UTC") == "baseline"


@pytest.mark.parametrize(
    ("kind", "hz", "index"), [("interharmonics", 50, 50002), ("mains_signalling", 60, 30056)]
)
def test_a_line_that_no_measurement_of_a_second_shows_is_an_onset_by_the_gateways_detector(
    kind: str, hz: int, index: int, triggers: TriggersInUse
) -> None:
    rows, from_ns, to_ns = trial(kind, hz, index, 60.0, START_NS)
    assert onsets(rows, from_ns, to_ns + 10**9, triggers).first == "edge_rule"
    without = [row for row in rows if not any(name.startswith("edge_") for name in row.metrics)]
    assert onsets(without, from_ns, to_ns + 10**9, triggers).first is None
