"""The parts of `bench triggers`: the weakest disturbance of each class is seen, and nothing is not."""

import pytest

from bench.triggers.judged import onsets
from bench.triggers.trials import SIZES, trial
from opq_cloud.config import CloudConfig
from opq_hil.data_sets.magnitudes import MAGNITUDES

START_NS = 1_735_689_600 * 10**9
HZ = {kind: (50, 60)[number % 2] for number, kind in enumerate(SIZES)}


def test_every_class_of_a_data_set_has_a_size() -> None:
    assert SIZES.keys() == MAGNITUDES.keys() - {"none"}


@pytest.mark.parametrize("kind", SIZES)
def test_the_weakest_of_a_class_is_an_onset_of_a_default_trigger(kind: str) -> None:
    rows, from_ns, to_ns = trial(kind, HZ[kind], 0, 60.0, START_NS)
    assert onsets(rows, from_ns, to_ns + 10**9, CloudConfig()).first


def test_nothing_is_no_onset_of_any() -> None:
    rows, from_ns, to_ns = trial("none", 50, 0, 60.0, START_NS)
    assert onsets(rows, from_ns, to_ns + 10**10, CloudConfig()).all == {}
