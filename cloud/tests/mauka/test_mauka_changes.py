"""What changes over weeks is found: planted changes, false alarms, the store's phenomena, the daily pass."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from box_months import DAY_H, HOURS, PLANTED, START_NS, BoxMonth, Planted, at_hour, month

from opq_cloud.core.settings.mauka import ChangeSection
from opq_cloud.mauka.change.detection import Change, changes_of, own_changes
from opq_cloud.mauka.change.likeness import likenesses, most_likely
from opq_cloud.mauka.change.plugin import EVERY_S, FIRST_S, ChangePlugin
from opq_cloud.mauka.change.series import HOUR_NS, HourSeries
from opq_cloud.mauka.change.stored_changes import find_changes, last_days
from opq_cloud.store import CloudStore
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.embedded.store import EmbeddedStore
from opq_cloud.store.records.phenomena import EDGE_MS
from opq_cloud.store.records.phenomenon_words import phenomenon_json, words_of
from opq_proto.decision import Nominal
from opq_proto.messages import Interval, Measurement
from opq_proto.wire.mauka_pb2 import MaukaMessage

NEAR_H = {"level_step": 24, "own_step": 24, "profile_change": 60}
"""Hours from a planted change within which it counts as found."""
NOMINAL = Nominal(120.0, 60.0)
TEN_NS = 600 * 10**9


def fits(found: Change, planted: Planted) -> bool:
    if planted.kind == "own_drift":  # when it began is not sharp
        middle = (planted.hour + HOURS) / 2
        return found.kind == "own_drift" and at_hour(found.start_ns) <= middle <= at_hour(found.end_ns)
    return abs(at_hour(found.start_ns) - planted.hour) <= NEAR_H[planted.kind]


def score(months: Sequence[BoxMonth]) -> tuple[Counter[str], Counter[str], float]:
    """Kind -> planted changes, and those that were found as their kind; false alarms a Box-month."""
    planted, found, false, boxes = Counter[str](), Counter[str](), 0, 0
    for each in months:
        own = own_changes(each.boxes)
        for at, box in enumerate(each.boxes):
            result = changes_of(box, own)
            assert result is not None
            changes = [change for change in result.changes if change.kind != "anomaly"]
            here = [one for one in each.planted if one.box in (None, at)]
            planted.update(one.kind for one in here)
            found.update(
                one.kind for one in here if any(one.kind == got.kind and fits(got, one) for got in changes)
            )
            false += sum(not any(fits(got, one) for one in here) for got in changes)
            boxes += 1
    return planted, found, false / boxes


def test_planted_changes_are_found_without_false_alarms() -> None:
    planted, found, false = score([month(seed) for seed in (200, 201)])
    assert set(planted) == set(PLANTED)
    assert found.total() >= 0.95 * planted.total() - 1 and false <= 1


@pytest.mark.slow
def test_sixty_box_months_have_the_promised_recall() -> None:
    planted, found, false = score([month(seed) for seed in range(200, 220)])
    assert planted.total() == 160
    assert found.total() >= 0.95 * planted.total() and false <= 1
    quiet = score([month(seed, ()) for seed in range(200, 210)])
    assert quiet[2] <= 1


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


def test_two_weeks_are_needed() -> None:
    assert changes_of(HourSeries("1", START_NS, np.full(13 * DAY_H, 100.0))) is None


def test_boxes_of_one_phase_are_likely_alike() -> None:
    random = np.random.default_rng(4)
    medium, phase_a, phase_b = (random.normal(0, deviation, 1000).cumsum() for deviation in (0.5, 0.8, 0.8))
    elsewhere = random.normal(0, 0.8, 1000).cumsum()
    values = {
        "1": medium + phase_a + random.normal(0, 0.1, 1000),
        "2": medium + phase_a + random.normal(0, 0.1, 1000),
        "3": medium + phase_b + random.normal(0, 0.1, 1000),
        "4": elsewhere,
    }
    pairs = likenesses(values)
    assert len(pairs) == 6
    (likely,) = most_likely(pairs)
    assert likely.box_ids == ("1", "2")
    assert sum(likely.likelihoods.values()) == pytest.approx(1)


OWN_STEP = month(7, ("own_step",))
"""The gain of one of three Boxes steps."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    """Three Boxes on one phase, with the intervals of OWN_STEP."""
    opened = EmbeddedStore(tmp_path / "opq.db")
    rows, sequence = [], 0
    supply = np.mean([box.values for box in OWN_STEP.boxes], axis=0)
    for box in OWN_STEP.boxes:
        opened.put_box(
            BoxRecord(box.box_id, f"Box {box.box_id}", location="mill", phase="L1", nominal_v=120.0)
        )
        near = supply + 0.4 * (box.values - supply)  # what is a Box's own is small on one phase
        tenths = np.interp(np.arange(HOURS * 6) / 6, np.arange(HOURS), near)
        for tenth, percent in enumerate(tenths.tolist()):
            sequence += 1
            start_ns = START_NS + tenth * TEN_NS
            interval = Interval(
                600_000, np.isnan(percent).item(), 1.0, {"rms_v": 1.2 * np.nan_to_num(percent)}
            )
            rows.append(
                Measurement(
                    box.box_id,
                    (start_ns + TEN_NS) // 10**6,
                    {},
                    start_ns=start_ns,
                    end_ns=start_ns + TEN_NS,
                    sequence=sequence,
                    interval=interval,
                )
            )
    opened.intervals.append(rows)
    yield opened
    opened.close()


def test_the_daily_pass_stores_phenomena_once(store: CloudStore) -> None:
    (planted,) = OWN_STEP.planted
    now_ns = START_NS + HOURS * HOUR_NS
    clock_s = [0.0]
    plugin = ChangePlugin({}, lambda: store, ChangeSection(), NOMINAL, lambda: clock_s[0], lambda: now_ns)
    published: list[tuple[str, dict[str, object]]] = []

    def produce(topic: str, message: MaukaMessage | bytes) -> None:
        assert isinstance(message, MaukaMessage)
        published.append((topic, json.loads(message.analysis_json)))

    plugin.produce = produce  # type: ignore[method-assign]
    assert not plugin.on_idle() and not store.phenomena(0, 2**50)
    for _ in range(2):
        clock_s[0] += FIRST_S + EVERY_S
        turns = 0
        while plugin.on_idle():
            turns += 1
        assert turns == 3
    found = store.phenomena(0, 2**50)
    (own,) = (each for each in found if each.kind == "own_step")
    assert own.box_ids == (str((planted.box or 0) + 1),)
    assert abs(at_hour(own.start_ms * 10**6) - planted.hour) <= 24
    assert {each.box_ids for each in found if each.kind == "periodic"} == {("1",), ("2",), ("3",)}
    assert ("1", "2") in {each.box_ids for each in found if each.kind == "similarity"}
    assert len({each.phenomenon_id for each in found}) == len(found)
    assert all(words_of(each) for each in found)
    assert plugin.counters.total("phenomena_stored") == len(found)
    assert plugin.counters.total("boxes_compared") == 6
    assert {topic for topic, _ in published} == {"analysis.change"}
    values = [facts["values"] for _, facts in published]
    assert sorted(values, key=str) == sorted(json.loads(json.dumps([*map(phenomenon_json, found)])), key=str)


def test_what_is_no_longer_found_goes(store: CloudStore) -> None:
    end_ns = START_NS + HOURS * HOUR_NS
    ((box_id, new),) = find_changes(store, last_days(end_ns, 30), NOMINAL, box_id="1")
    assert box_id == "1" and len(new) == len(store.phenomena(0, 2**50)) > 0
    store.replace_phenomena("change", "1", START_NS // 10**6, end_ns // 10**6, ())
    left = store.phenomena(0, 2**50)
    assert len(left) < len(new) and all(each.start_ms < START_NS // 10**6 + EDGE_MS for each in left)
