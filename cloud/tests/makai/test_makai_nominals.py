"""A Box's nominal values on their way from its Measurements into the store."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import EventServiceSection
from opq_cloud.makai.events.box_gains import BoxGains
from opq_cloud.makai.measurements.box_nominals import BoxNominals
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.store import open_store
from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.stated_starts import StatedStart, of_their_starts, start_of, with_stated
from opq_cloud.store.store import CloudStore
from opq_proto.decision import Nominal
from opq_proto.measurement.batch import joined
from opq_proto.measurement.wire import batches_of
from opq_proto.messages import Measurement
from opq_proto.wire.opqbox3_pb2 import Response


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


def says(volts: float | None, hz: float | None, box_id: str = "1", backfilled: bool = False) -> Measurement:
    return Measurement(box_id, 1000, {}, backfilled=backfilled, nominal_v=volts, nominal_hz=hz)


def read(nominals: BoxNominals, rows: list[Measurement]) -> int:
    """Boxes that were written for these rows, stored together."""
    return sum(map(nominals.read, joined(batches_of(rows, lambda *_: Nominal(0.0, 0.0)))))


def stored(store: CloudStore, box_id: str = "1") -> tuple[float | None, float | None] | None:
    record = store.box(box_id)
    return None if record is None else (record.nominal_v, record.nominal_hz)


def test_the_store_is_written_only_on_changes(store: CloudStore) -> None:
    """Once when a Box is first seen, and at each change."""
    nominals = BoxNominals(store)
    assert read(nominals, [says(230.0, 50.0)] * 100) == 1
    assert stored(store) == (230.0, 50.0)
    assert read(nominals, [says(230.0, 50.0)] * 100) == 0
    assert read(nominals, [says(400.0, 50.0), says(120.0, 60.0, "2")]) == 2
    assert (stored(store), stored(store, "2")) == ((400.0, 50.0), (120.0, 60.0))
    assert read(BoxNominals(store), [says(400.0, 50.0)]) == 0, "it knows, after a restart"


def test_a_deleted_box_states_again_under_its_number(store: CloudStore) -> None:
    """The same gateway returns without a restart of Box or Makai, and states what it stated before."""
    nominals, gains = BoxNominals(store), BoxGains(lambda: store, 0.01, ServiceCounters())
    answer = Response(box_id=1)
    answer.get_data_response.volts_per_lsb = 0.0125
    rows = [replace(numbered(9, 7), gateway_id=3)]
    for _ in range(2):
        read(nominals, rows)
        gains.read_response("1", answer)
        record = store.box("1")
        assert record is not None and (record.nominal_v, record.gateway_id) == (120.0, 3)
        assert record.calibration_constant == pytest.approx(80.0)
        assert [each.start_id for each in record.starts] == [7]
        store.delete_box("1")
        nominals.forget("1")
        rows = [replace(numbered(2, 7), gateway_id=3)]
    read(nominals, [numbered(1, 8)])
    record = store.box("1")
    assert record is not None and [each.start_id for each in record.starts] == [8], "none of the deleted Box"


def test_what_people_wrote_of_a_box_stays(store: CloudStore) -> None:
    written = BoxRecord("1", "Cellar", "oahu-1", 125.0, 120.0, 60.0, unplugged=True, feeder="f2")
    store.put_box(written)
    read(BoxNominals(store), [says(230.0, 50.0)])
    after = store.box("1")
    assert after is not None
    assert replace(after, stated=()) == replace(written, nominal_v=230.0, nominal_hz=50.0)


def numbered(number: int, start_id: int, volts: float = 120.0, backfilled: bool = False) -> Measurement:
    row = Measurement("1", 1000 * number, {}, backfilled=backfilled, nominal_v=volts, nominal_hz=60.0)
    return replace(row, sequence=number, start_id=start_id)


def test_each_start_is_kept_by_number(store: CloudStore) -> None:
    """With what it stated, also if it arrives late."""
    nominals = BoxNominals(store)
    assert read(nominals, [numbered(5, 7), numbered(6, 7), numbered(20, 9, 230.0)]) == 1
    assert read(nominals, [numbered(21, 9, 230.0)] * 100) == 0
    assert read(nominals, [numbered(k, 8, backfilled=True) for k in range(10, 14)]) == 1, "it was never live"
    assert read(nominals, [numbered(k, 9, 230.0, backfilled=True) for k in range(15, 20)]) == 1
    assert read(nominals, [numbered(7, 7, backfilled=True)]) == 0
    record = store.box("1")
    assert record is not None and record.nominal_v == 230.0
    assert [(one.first_number, one.start_id, one.nominal_v) for one in record.starts] == [
        (5, 7, 120.0),
        (10, 8, 120.0),
        (15, 9, 230.0),
    ]
    rows = [replace(numbered(k, 0), start_id=None, nominal_v=None) for k in (4, 9, 12, 15, 30)]
    told = [(row.start_id, row.nominal_v) for row in of_their_starts(record.starts, rows)]
    assert told == [(None, None), (7, 120.0), (8, 120.0), (9, 230.0), (9, 230.0)]


@given(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from([120.0, 230.0])), min_size=1, max_size=30),
    st.randoms(),
)
def test_each_number_is_found_in_its_start(stated: list[tuple[int, float]], order: random.Random) -> None:
    """In any order of arrival each number is found in its start."""
    rows = list(enumerate((start_id, volts, 60.0) for start_id, volts in sorted(stated)))
    shuffled = order.sample(rows, len(rows))
    starts: tuple[StatedStart, ...] = ()
    for number, each in shuffled:
        starts = with_stated(starts, number, each)
    for number, each in rows:  # what came first may have been split since
        starts = with_stated(starts, number, each)
    found = [start_of(starts, number) for number, _ in rows]
    assert [one and one.stated for one in found] == [each for _, each in rows]
    assert [one.first_number for one in starts] == sorted({one.first_number for one in starts})


def test_half_a_saying_changes_half(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "Box 1", nominal_v=120.0, nominal_hz=60.0))
    assert read(BoxNominals(store), [says(230.0, None)]) == 1
    assert stored(store) == (230.0, 60.0)


def test_an_old_measurement_states_no_present_values(store: CloudStore) -> None:
    """Nor does an original Box."""
    assert read(BoxNominals(store), [says(None, None), says(120.0, 60.0, backfilled=True)]) == 0
    assert stored(store) is None


def test_a_flapping_box_costs_one_write_per_batch(store: CloudStore) -> None:
    """The Box changes what it states all the time."""
    rows = [says(100.0 + k, 50.0) for k in range(1000)]
    assert read(BoxNominals(store), rows) == 1
    assert stored(store) == (1099.0, 50.0)


def test_a_gain_learned_leaves_the_nominal_values_alone(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "Box 1", nominal_v=230.0, nominal_hz=50.0))
    response = Response(box_id=1)
    response.get_data_response.volts_per_lsb = 0.0125
    BoxGains(lambda: store, 0.01, ServiceCounters()).read_response("1", response)
    record = store.box("1")
    assert record is not None and record.calibration_constant == pytest.approx(80.0)
    assert stored(store) == (230.0, 50.0)


def test_an_unknown_gain_is_reported_until_stated(
    store: CloudStore,
) -> None:
    """There is one warning for each Box."""
    counters = ServiceCounters()
    gains = BoxGains(lambda: store, 1 / 152.5, counters)
    original = Response(box_id=1)
    original.get_data_response.start_ts = 1
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            assert gains.v_per_lsb("1", 10**18) == 1 / 152.5
            gains.read_response("1", original)
    assert [line["box_id"] for line in lines if line["event"] == "box.gain_unknown"] == ["1"]
    assert counters.of("waveforms_scaled_by_fallback", "1") == 3
    (report,) = gains.health()
    assert report.ok
    assert report.info is not None
    assert "152.5 counts per volt are used, as configured" in report.info
    store.put_box(BoxRecord("1", "", calibration_constant=146.0))
    assert gains.v_per_lsb("1", 10**18) == 1 / 146.0
    gains.read_response("1", original)
    assert gains.health() == []
    assert counters.of("waveforms_scaled_by_fallback", "1") == 3


def test_health_names_the_command_for_a_gain(store: CloudStore) -> None:
    """An unstated gain is not ok, and the page names the command."""
    gains = BoxGains(lambda: store, EventServiceSection().v_per_lsb_fallback, ServiceCounters())
    assert gains.v_per_lsb("7", 10**18) is None
    original = Response(box_id=7)
    original.get_data_response.start_ts = 1
    gains.read_response("7", original)
    (report,) = gains.health()
    assert not report.ok
    assert "its volts are not judged" in str(report.info)
    assert "opq-tools boxes set 7 --calibration-constant COUNTS_PER_VOLT" in str(report.info)


def test_a_measurements_nominal_comes_before_the_stores() -> None:
    """The configuration's comes last."""
    boxes = BoxRegister(Nominal(120.0, 60.0))
    boxes.read_nominals([BoxRecord("1", "One", nominal_v=230.0, nominal_hz=50.0), BoxRecord("2", "Two")])
    assert boxes.nominal("1", 400.0, 50.0) == Nominal(400.0, 50.0)
    assert boxes.nominal("1", None, 60.0) == Nominal(230.0, 60.0)
    assert boxes.nominal("1", None, None) == Nominal(230.0, 50.0)
    assert boxes.nominal("2", None, None) == Nominal(120.0, 60.0)
    assert boxes.nominal("3", None, None) == Nominal(120.0, 60.0)
