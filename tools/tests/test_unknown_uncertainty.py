"""An unknown uncertainty is null in what people and scripts read; 4294967295 stays on the wire."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from opq_cloud.export.exported_records import WaveformRecord
from opq_cloud.export.selection import finding_row
from opq_cloud.store import BoxRecord, EventRecord
from opq_cloud.view.live.feed_messages import measurement_message, newest_json
from opq_cloud.view.live.recent import NewestMeasurement
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.local.health import health
from opq_gateway.local.measured import _row as measured_row
from opq_gateway.measured_shares import MeasuredShares
from opq_gateway.measuring.feed import DisturbanceNotice, Values
from opq_gateway.mqtt.board import MqttTopics
from opq_gateway.rules.gateway_streams import rows_of
from opq_proto.measurement.measurement_json import measurement_json
from opq_proto.measurement.wire import measurement_to_wire
from opq_proto.messages import (
    UNKNOWN_UNCERTAINTY_NS,
    Finding,
    Measurement,
    Metric,
    StoredFinding,
    TimeSource,
    Waveform,
    known_uncertainty_ns,
)
from opq_proto.wire.half_cycles import HalfCycleRms
from opq_proto.wire.opqbox3_pb2 import Response
from opq_rules.feeds.wave_windows import WavePiece, WaveWindows
from opq_rules.streams.measurement_row import row_of
from opq_tools.boxes.box.box_half_cycles import facts_of
from opq_tools.boxes.box.waveform import write_recording

T_NS, UNKNOWN = 1_795_000_000 * 10**9, UNKNOWN_UNCERTAINTY_NS
METRICS = {name: Metric(1.0, 1.0, 1.0) for name in ("rms", "f", "thd", "trans")}
MEASUREMENT = Measurement("1", T_NS // 10**6, METRICS, T_NS - 10**9, T_NS, UNKNOWN, TimeSource.FREE)
COUNTS = np.zeros(12, np.int16)
WAVE = Waveform("1", T_NS, UNKNOWN, TimeSource.FREE, 12_000_000, 0.01, 0, COUNTS)
EVENT = EventRecord(1, "", T_NS, T_NS + 10**9, ("1",), ("1",), {}, True, True, "rms 84 V")
VALUES = Values("1", "3s", T_NS, T_NS + 3 * 10**9, UNKNOWN, TimeSource.FREE, False, {"rms_v": 120.0})
NOTICE = DisturbanceNotice("1", "dip", T_NS, UNKNOWN, TimeSource.FREE, True, 80.0)
PIECE = WavePiece("1", 0, 0, T_NS, UNKNOWN, "free", 12_000_000, 0.01, COUNTS)
HALF = HalfCycleRms("1", T_NS, T_NS + 10**9, np.array([T_NS]), np.ones(1), np.ones(1), uncertainty_ns=UNKNOWN)
STATUS = BoxStatus("1", 60, sample_uncertainty_ns=UNKNOWN, sample_source=TimeSource.FREE)
FINDING = StoredFinding(1, 1, 1, Finding("sag", "1", T_NS, T_NS + 1, UNKNOWN))


def mqtt_payloads() -> list[Any]:
    topics = MqttTopics("opq/attic", {}, 1.0, MeasuredShares({}))
    topics.accept_items([VALUES, NOTICE], connected=True)
    return [json.loads(message.payload) for message in topics.due(1e9)]


def recording(tmp_path: Any) -> Any:
    return write_recording(tmp_path / "out.i16", Response(), WAVE)


PLACES = {
    "health of a gateway": lambda _: health({"1": STATUS}, 1.0, 1e9)["subcomponents"],
    "/measured": lambda _: [measured_row(VALUES)],
    "MQTT": lambda _: mqtt_payloads(),
    "rows of a gateway": lambda _: rows_of([VALUES, NOTICE]),
    "windows of samples": lambda _: WaveWindows(1, volts=False).push_piece(PIECE),
    "REST, newest": lambda _: [newest_json(MEASUREMENT)],
    "live feed": lambda _: [
        json.loads(measurement_message(MEASUREMENT, NewestMeasurement(MEASUREMENT, 0, 0), 0).data)
    ],
    "waveform of REST and exports": lambda _: [WaveformRecord(WAVE, EVENT, BoxRecord("1", "Box 1")).facts()],
    "export and REST, Measurement": lambda _: [measurement_json(MEASUREMENT)],
    "export, finding": lambda _: [finding_row(FINDING)],
    "box waveform": lambda tmp_path: [recording(tmp_path)],
    "box waveform --half-cycles": lambda _: [facts_of([HALF])],
}


@pytest.mark.parametrize("place", PLACES)
def test_it_is_null(place: str, tmp_path: Any) -> None:
    found = PLACES[place](tmp_path)
    assert found, "something is told"
    for row in found:
        assert row["uncertainty_ns"] is None
        assert str(UNKNOWN) not in json.dumps(row, default=str)


def test_a_rules_row_leaves_it_out() -> None:
    assert "uncertainty_ns" not in row_of(MEASUREMENT)
    assert row_of(replace(MEASUREMENT, uncertainty_ns=5))["uncertainty_ns"] == 5
    assert b"\xff\xff\xff\xff" in measurement_to_wire(MEASUREMENT)
    assert [known_uncertainty_ns(each) for each in (None, 0, UNKNOWN - 1)] == [None, 0, UNKNOWN - 1]
    assert known_uncertainty_ns(UNKNOWN) is None
