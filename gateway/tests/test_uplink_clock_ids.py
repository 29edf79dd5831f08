"""The number of the clock that stamped: one per clock, and unset for an unknown clock."""

from dataclasses import replace
from pathlib import Path

import pytest
from uplink_bench import measurement

from opq_gateway.gateway_status import BoxStatus
from opq_gateway.uplink.clock_ids import LARGEST, ClockIds
from opq_proto.errors import FrameError
from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire
from opq_proto.messages import Measurement, TimeSource
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement


def by(source: TimeSource, box_id: str = "1", backfilled: bool = False) -> Measurement:
    return replace(measurement(0), source=source, box_id=box_id, backfilled=backfilled)


def test_a_gateways_boxes_share_its_clock(
    tmp_path: Path,
) -> None:
    """In holdover each has a clock id for itself."""
    ids, here, there = ClockIds(tmp_path / "new" / "clock_id"), BoxStatus("1", 60), BoxStatus("1", 60)
    here.shares_clock = True
    stamped = [by(source, box_id) for source in (TimeSource.NTP, TimeSource.FREE) for box_id in "12"]
    ours = {ids.of(each, here) for each in stamped}
    assert len(ours) == 1 and None not in ours
    own = [ids.of(by(TimeSource.HOLDOVER, box_id), here) for box_id in "12"]
    assert None not in own and len({*own, *ours}) == 3
    assert ids.of(by(TimeSource.NTP), there) == own[0]
    assert ids.of(by(TimeSource.FREE), there) is None
    assert ids.of(by(TimeSource.GPS), here) is None
    assert ids.of(by(TimeSource.NTP, backfilled=True), here) is None
    again = ClockIds(tmp_path / "new" / "clock_id")
    assert {again.of(by(TimeSource.NTP), here)} == ours
    assert {ClockIds(tmp_path / "other").of(by(TimeSource.NTP), here)} != ours


def test_ring_contents_keep_their_clock_over_a_kill(
    tmp_path: Path,
) -> None:
    path, here, there = tmp_path / "clock_id", BoxStatus("1", 60), BoxStatus("2", 60)
    here.shares_clock = True
    before = ClockIds(path)
    ours = before.of(by(TimeSource.FREE), here)
    assert before.of(by(TimeSource.FREE, "2"), there) is None
    after, unknown_yet = ClockIds(path), BoxStatus("1", 60)
    assert after.of(by(TimeSource.FREE, backfilled=True), unknown_yet) == ours
    assert after.of(by(TimeSource.FREE, "2", backfilled=True), there) is None
    assert after.of(by(TimeSource.HOLDOVER, backfilled=True), here) is None
    after.of(by(TimeSource.NTP), unknown_yet)  # its own time passes through from now on
    assert ClockIds(path).of(by(TimeSource.NTP, backfilled=True), unknown_yet) is None


@pytest.mark.parametrize("text", ["", "-5", "0", "ten", str(LARGEST + 1), "\xff"])
def test_a_file_that_holds_no_number_is_replaced(tmp_path: Path, text: str) -> None:
    path, status = tmp_path / "clock_id", BoxStatus("1", 60)
    status.shares_clock = True
    path.write_bytes(text.encode("latin-1"))
    drawn = ClockIds(path).of(by(TimeSource.NTP), status)
    assert drawn is not None and int(path.read_text()) == drawn


def test_an_unwritable_folder_costs_one_number(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    status = BoxStatus("1", 60)
    status.shares_clock = True
    assert ClockIds(tmp_path / "file" / "clock_id").of(by(TimeSource.NTP), status) is not None


def test_an_oversized_number_reads_as_unknown() -> None:
    made = replace(measurement(0), clock_id=LARGEST)
    assert measurement_from_wire(measurement_to_wire(made)).clock_id == LARGEST
    assert measurement_from_wire(measurement_to_wire(measurement(0))).clock_id is None
    beyond = WireMeasurement(box_id=1, clock_id=LARGEST + 1).SerializeToString()
    assert measurement_from_wire(beyond).clock_id is None
    with pytest.raises(FrameError):
        measurement_to_wire(replace(made, clock_id=-1))
