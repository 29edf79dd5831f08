"""What changes over weeks is found: planted changes, false alarms, the store's phenomena, the daily pass."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from box_months import DAY_H, HOURS, PLANTED, START_NS, at_hour, month, score
from change_figures import FLEETS, HELD_OUT, pairs_found
from known_fleets import KnownFleet, known_fleet

from opq_cloud.core.settings.mauka import ChangeSection
from opq_cloud.mauka.change.detection import changes_of, own_changes
from opq_cloud.mauka.change.likeness import likenesses, most_likely
from opq_cloud.mauka.change.plugin import EVERY_S, FIRST_S, ChangePlugin
from opq_cloud.mauka.change.series import HOUR_NS, HourSeries
from opq_cloud.mauka.change.stored_changes import Span, find_changes, last_days
from opq_cloud.store import CloudStore
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.embedded.store import EmbeddedStore
from opq_cloud.store.records.phenomena import EDGE_MS
from opq_cloud.store.records.phenomenon_words import phenomenon_json, words_of
from opq_proto.decision import Nominal
from opq_proto.messages import Interval, Measurement
from opq_proto.wire.mauka_pb2 import MaukaMessage

NOMINAL = Nominal(120.0, 60.0)
TEN_NS = 600 * 10**9


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


def test_pairs_on_one_phase_are_stored(tmp_path: Path, fleet: KnownFleet) -> None:
    """Each pair is stored once, with its first Box."""
    with closing(EmbeddedStore(tmp_path / "opq.db")) as opened:
        for box_id, percents in fleet.values.items():
            put_tenths(opened, BoxRecord(box_id, f"Box {box_id}", nominal_v=120.0), percents)
        assert len(list(find_changes(opened, Span(START_NS, 13 * DAY_H), NOMINAL))) == len(fleet.values)
        found = [each.box_ids for each in opened.phenomena(0, 2**50) if each.kind == "similarity"]
    shorter = {box_id: each[: 13 * 144] for box_id, each in fleet.values.items()}
    assert sorted(found) == sorted(each.box_ids for each in most_likely(likenesses(shorter)))


OWN_STEP = month(7, ("own_step",))
"""The gain of one of three Boxes steps."""


def put_tenths(store: CloudStore, box: BoxRecord, percents: Sequence[float]) -> None:
    """Stores a Box, and its voltage in intervals of ten minutes from START_NS on; NaN: flagged."""
    store.put_box(box)
    rows = []
    for tenth, percent in enumerate(percents):
        start_ns = START_NS + tenth * TEN_NS
        flagged = bool(np.isnan(percent))
        interval = Interval(600_000, flagged, 1.0, {"rms_v": 0.0 if flagged else 1.2 * float(percent)})
        rows.append(
            Measurement(
                box.box_id,
                (start_ns + TEN_NS) // 10**6,
                {},
                start_ns=start_ns,
                end_ns=start_ns + TEN_NS,
                sequence=tenth + 1,
                interval=interval,
            )
        )
    store.intervals.append(rows)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    """Three Boxes on one phase, with the intervals of OWN_STEP."""
    with closing(EmbeddedStore(tmp_path / "opq.db")) as opened:
        supply = np.mean([box.values for box in OWN_STEP.boxes], axis=0)
        for box in OWN_STEP.boxes:
            record = BoxRecord(box.box_id, f"Box {box.box_id}", location="mill", phase="L1", nominal_v=120.0)
            near = supply + 0.4 * (box.values - supply)  # what is a Box's own is small on one phase
            put_tenths(opened, record, np.interp(np.arange(HOURS * 6) / 6, np.arange(HOURS), near).tolist())
        yield opened


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
