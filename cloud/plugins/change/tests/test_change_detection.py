"""What changes over weeks is found: planted changes, false alarms, Boxes on one phase."""

import numpy as np
import pytest
from box_months import DAY_H, HOURS, PLANTED, START_NS, at_hour, month, score
from change_figures import FLEETS, HELD_OUT, pairs_found
from known_fleets import KnownFleet, known_fleet

from opq_change.detection import changes_of, own_changes
from opq_change.likeness import likenesses
from opq_change.series import HourSeries


def test_planted_changes_are_found_without_false_alarms() -> None:
    planted, found, false = score([month(seed) for seed in (700, 701)])
    assert set(planted) == set(PLANTED)
    assert found.total() >= 0.95 * planted.total() - 1 and false <= 1


@pytest.mark.slow
@pytest.mark.parametrize("seeds", HELD_OUT)
def test_sixty_box_months_have_the_promised_recall(seeds: range) -> None:
    planted, found, false = score([month(seed) for seed in seeds])
    assert planted.total() == 160
    assert found.total() >= 0.95 * planted.total() and false <= 1


def test_a_step_has_its_hour_and_size() -> None:
    hours = np.arange(HOURS)
    random = np.random.default_rng(1)
    volts = 100 + np.cos(2 * np.pi * hours / DAY_H) + random.normal(0, 0.1, HOURS)
    volts[400:] += 1.5
    volts[350:360] = np.nan
    result = changes_of(HourSeries("1", START_NS, volts))
    assert result is not None
    (change,) = (each for each in result.changes if each.kind != "anomaly")
    assert (change.kind, at_hour(change.end_ns)) == ("level_step", 400)
    assert change.size == pytest.approx(1.5, abs=0.1)
    assert np.ptp(result.profile.daily[:DAY_H]) == pytest.approx(2.0, abs=0.15)


def test_a_neighbours_step_is_not_this_boxs() -> None:
    random = np.random.default_rng(2)
    supply = 100 + random.normal(0, 0.3, HOURS).cumsum() / 20
    boxes = [HourSeries(str(at), START_NS, supply + random.normal(0, 0.05, HOURS)) for at in (1, 2, 3)]
    boxes[1].values[300:] += 0.8
    (change,) = own_changes(boxes)
    assert (change.kind, change.box_ids, at_hour(change.end_ns)) == ("own_step", ("2",), 300)
    (open_whose,) = own_changes(boxes[:2])
    assert open_whose.box_ids == ("1", "2")


def test_a_neighbour_that_falls_silent_hides_nothing() -> None:
    random = np.random.default_rng(5)
    supply = 100 + random.normal(0, 0.3, HOURS).cumsum() / 20
    own = (0.0, 0.5, -0.7, 1.0)
    boxes = [
        HourSeries(str(at), START_NS, supply + own[at] + random.normal(0, 0.05, HOURS)) for at in range(4)
    ]
    boxes[3].values[200:] = np.nan
    assert own_changes(boxes) == []
    boxes[1].values[450:] += 0.8
    (change,) = own_changes(boxes)
    assert (change.kind, change.box_ids, at_hour(change.end_ns)) == ("own_step", ("1",), 450)


def test_a_wrong_hour_is_an_anomaly() -> None:
    """Noise alone is called an anomaly at most once in 30 days."""
    random = np.random.default_rng(3)
    alone = 0
    for _ in range(5):
        volts = 100 + random.normal(0, 0.2, HOURS)
        result = changes_of(HourSeries("1", START_NS, volts))
        assert result is not None
        alone += sum(each.kind == "anomaly" for each in result.changes)
    assert alone <= 5
    volts[500] -= 4
    result = changes_of(HourSeries("1", START_NS, volts))
    assert result is not None
    worst = max(result.changes, key=lambda each: each.deviations)
    assert (worst.kind, at_hour(worst.start_ns)) == ("anomaly", 500) and worst.size < -3


def test_more_than_two_weeks_are_needed() -> None:
    hours = 100 + np.random.default_rng(1).normal(0, 0.1, 14 * DAY_H + 1)
    assert changes_of(HourSeries("1", START_NS, hours[:-1])) is None
    assert changes_of(HourSeries("1", START_NS, hours)) is not None


@pytest.fixture(scope="module")
def fleet() -> KnownFleet:
    """The Boxes of three transformers, of a seed that nothing was set on."""
    return known_fleet(FLEETS[0], 3)


def test_boxes_of_one_phase_are_likely_alike(fleet: KnownFleet) -> None:
    """A simulated fleet's pairs on one phase are found, and no others."""
    pairs = likenesses(fleet.values)
    assert len(pairs) == 55
    assert all(sum(each.likelihoods.values()) == pytest.approx(1) for each in pairs)
    right, said, there = pairs_found(fleet)
    assert 2 <= right == said <= there == 4


def test_few_boxes_are_not_compared(fleet: KnownFleet) -> None:
    """Five Boxes cannot tell what they share from what one phase has."""
    assert likenesses(dict(list(fleet.values.items())[:6]))
    assert likenesses(dict(list(fleet.values.items())[:5])) == []
