"""A Box's nominal values on their way from its Measurements into the store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from opq_cloud.makai.boxes import BoxGains, BoxNominals, BoxRegister
from opq_cloud.store import open_store
from opq_cloud.store.store import BoxRecord, CloudStore
from opq_proto.decision import Nominal
from opq_proto.messages import Measurement
from opq_proto.opqbox3_pb2 import Response


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    opened = open_store(None, tmp_path)
    yield opened
    opened.close()


def says(volts: float | None, hz: float | None, box_id: str = "1", backfilled: bool = False) -> Measurement:
    return Measurement(box_id, 1000, {}, backfilled=backfilled, nominal_v=volts, nominal_hz=hz)


def stored(store: CloudStore, box_id: str = "1") -> tuple[float | None, float | None] | None:
    record = store.box(box_id)
    return None if record is None else (record.nominal_v, record.nominal_hz)


def test_the_store_is_written_when_first_seen_and_when_changed_and_not_in_between(store: CloudStore) -> None:
    nominals = BoxNominals(store)
    assert nominals.read_measurements([says(230.0, 50.0)] * 100) == 1
    assert stored(store) == (230.0, 50.0)
    assert nominals.read_measurements([says(230.0, 50.0)] * 100) == 0
    assert nominals.read_measurements([says(400.0, 50.0), says(120.0, 60.0, "2")]) == 2
    assert (stored(store), stored(store, "2")) == ((400.0, 50.0), (120.0, 60.0))
    assert BoxNominals(store).read_measurements([says(400.0, 50.0)]) == 0, "it knows, after a restart"


def test_what_people_wrote_of_a_box_stays(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "Cellar", "oahu-1", 125.0, 120.0, 60.0, unplugged=True))
    BoxNominals(store).read_measurements([says(230.0, 50.0)])
    assert store.box("1") == BoxRecord("1", "Cellar", "oahu-1", 125.0, 230.0, 50.0, unplugged=True)


def test_half_a_saying_changes_half(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "Box 1", nominal_v=120.0, nominal_hz=60.0))
    assert BoxNominals(store).read_measurements([says(230.0, None)]) == 1
    assert stored(store) == (230.0, 60.0)


def test_an_original_box_and_a_measurement_of_long_ago_say_nothing(store: CloudStore) -> None:
    assert BoxNominals(store).read_measurements([says(None, None), says(120.0, 60.0, backfilled=True)]) == 0
    assert stored(store) is None


def test_a_box_that_changes_its_mind_all_the_time_costs_one_write_per_batch(store: CloudStore) -> None:
    rows = [says(100.0 + k, 50.0) for k in range(1000)]
    assert BoxNominals(store).read_measurements(rows) == 1
    assert stored(store) == (1099.0, 50.0)


def test_a_gain_learned_leaves_the_nominal_values_alone(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "Box 1", nominal_v=230.0, nominal_hz=50.0))
    response = Response(box_id=1)
    response.get_data_response.volts_per_lsb = 0.0125
    BoxGains(store, 0.01).read_response("1", response)
    record = store.box("1")
    assert record is not None and record.calibration_constant == pytest.approx(80.0)
    assert stored(store) == (230.0, 50.0)


def test_the_measurement_is_believed_first_then_the_store_then_the_configuration() -> None:
    boxes = BoxRegister(Nominal(120.0, 60.0))
    boxes.read_nominals([BoxRecord("1", "One", nominal_v=230.0, nominal_hz=50.0), BoxRecord("2", "Two")])
    assert boxes.nominal_of(says(400.0, 50.0)) == Nominal(400.0, 50.0)
    assert boxes.nominal_of(says(None, 60.0)) == Nominal(230.0, 60.0)
    assert boxes.nominal_of(says(None, None)) == Nominal(230.0, 50.0)
    assert boxes.nominal_of(says(None, None, "2")) == Nominal(120.0, 60.0)
    assert boxes.nominal_of(says(None, None, "3")) == Nominal(120.0, 60.0)
