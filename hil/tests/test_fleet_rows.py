"""The fleet's bytes beside those of the ordinary way, field by field."""

import numpy as np
import pytest

from opq_proto.measurement.fields import METRIC_NAMES
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.wire.frames import measurement_from_wire, measurement_to_wire
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement
from opq_sim.fleet.measurement_rows import MeasurementRows, sequence_tail, sequence_tails

IDS = ("1", "127", "128", "16384", "2000000000")
START_ID = 5 << 32
START_NS = 1_795_305_036_533_129_581


def ordinary(
    box_id: str, start_ns: int, end_ns: int, metrics: np.ndarray, clock: tuple[int, TimeSource]
) -> bytes:
    """Protobuf's own bytes, the map in the order of its keys."""
    named = {name: Metric(*row) for name, row in zip(METRIC_NAMES, metrics.tolist(), strict=True)}
    measurement = Measurement(
        box_id,
        (end_ns + 500_000) // 1_000_000,
        named,
        start_ns,
        end_ns,
        *clock,
        nominal_v=120.0,
        nominal_hz=60.0,
        start_id=START_ID,
    )
    return WireMeasurement.FromString(measurement_to_wire(measurement)).SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "clock", [(5_000_000, TimeSource.NTP), (0xFFFFFFFF, TimeSource.FREE), (0, TimeSource.GPS)]
)
def test_the_bytes_are_those_of_protobuf(clock):
    chance = np.random.Generator(np.random.PCG64(3))
    metrics = chance.uniform(0.01, 130.0, (5, 4, 3))
    metrics[3, 3] = 0.0  # protobuf leaves zeros out
    metrics[4, 2] = np.nan  # unknown: absent
    start_ns = START_NS + chance.integers(0, 10**15, 5)
    end_ns = start_ns + 999_999_999
    rows = MeasurementRows(IDS, np.full(5, 120.0), np.full(5, 60.0), *clock, START_ID)
    made = rows.bodies(np.arange(5), start_ns, end_ns, metrics)
    for at, (box_id, body) in enumerate(zip(IDS, made, strict=True)):
        expected = ordinary(box_id, int(start_ns[at]), int(end_ns[at]), metrics[at], clock)
        if at == 4:
            assert "thd" not in measurement_from_wire(body).metrics
            body = WireMeasurement.FromString(body).SerializeToString(deterministic=True)
        if at == 3:
            body = WireMeasurement.FromString(body).SerializeToString(deterministic=True)
        assert body == expected, box_id


def test_sequences_follow_as_the_gateway_appends_them():
    sequences = np.array([1_795_305_035_848, 1_795_305_035_849, 2**41])
    oldest = sequences - np.array([0, 7, 100])
    for tail, sequence, old in zip(sequence_tails(sequences, oldest), sequences, oldest, strict=True):
        wire = WireMeasurement(sequence=int(sequence), oldest_sequence=int(old), backfilled=False)
        assert tail == wire.SerializeToString()
    small = sequence_tails(np.array([5]), np.array([1]))
    assert small == [sequence_tail(5, 1, False)]
    assert WireMeasurement.FromString(sequence_tail(9, 3, True)).backfilled


def test_no_boxes_are_no_bytes():
    rows = MeasurementRows(IDS, np.full(5, 120.0), np.full(5, 60.0), 0, TimeSource.GPS)
    none = np.empty(0, np.int64)
    assert rows.bodies(none, none, none, np.empty((0, 4, 3))) == []
    assert sequence_tails(none, none) == []
