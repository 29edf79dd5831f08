"""What comes is gathered and handled together; what may begin an event of milliseconds ends the wait."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai import TriggeringServiceSection
from opq_cloud.makai import triggering_service
from opq_cloud.makai.pressing import is_pressing
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_proto.decision import Nominal
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.wire.frames import measurement_to_wire
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement

LONG_S = 300.0
S = 10**9
QUIET = Measurement(
    "1", 2000, {"rms": Metric(118.0, 121.0, 120.0), "f": Metric(59.9, 60.1, 60.0)}, S, 2 * S, 1000,
    TimeSource.GPS, 7, 1,
)  # fmt: skip


def test_a_crossing_a_swing_and_what_is_no_measurement_press() -> None:
    def swings(low_v: float, high_v: float) -> bool:
        rms = {"rms": Metric(low_v, high_v, high_v)}
        return is_pressing(measurement_to_wire(replace(QUIET, metrics=rms)))

    assert not is_pressing(measurement_to_wire(QUIET))
    assert not is_pressing(measurement_to_wire(replace(QUIET, backfilled=True, nominal_v=120.0)))
    assert is_pressing(measurement_to_wire(replace(QUIET, crossing=True)))
    assert is_pressing(measurement_to_wire(replace(QUIET, metrics={"edge_dip": Metric(1.0, 1.0, 1.0)})))
    assert [swings(115.0, 120.0), swings(113.0, 120.0), swings(60.0, 60.5)] == [False, True, False]
    assert swings(float("nan"), 120.0) and is_pressing(b"") and is_pressing(b"\x0a\x03rms\x12\x0f\x0d")
    original = WireMeasurement(box_id=1, timestamp_ms=5)  # metrics in another order, no times
    for name, volts in (("thd", 0.1), ("rms", 120.0)):
        metric = original.metrics[name]
        metric.min = metric.max = metric.average = volts
    assert not is_pressing(original.SerializeToString())
    original.metrics["rms"].min = 60.0
    assert is_pressing(original.SerializeToString())


def test_a_dip_among_gathered_measurements_is_asked_for_at_once(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers = makai.brokers()
    shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
    config = TriggeringServiceSection(
        measurement_endpoint=brokers.triggering_config.backend_endpoint,
        request_endpoint=brokers.acquisition_config.request_endpoint,
        batch_ms=20,
    )
    service = TriggeringService(config, shared, Nominal(120.0, 60.0))
    client, box = makai.client(brokers), makai.holding_box(brokers, "1")
    with makai.running(brokers.triggering), makai.running(brokers.acquisition), makai.running(service):
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "1"))
        makai.wait_for(lambda: makai.arrives(box.plain, client) and service.counters.total("received"))
        monkeypatch.setattr(triggering_service, "GATHER_S", LONG_S)
        for _ in range(3):
            box.send()
        box.send(least=60.0)

        def asked() -> bool:  # it sends nothing again: that would be gathered for LONG_S
            command = box.plain.command(1000)
            return command is not None and command.WhichOneof("command") == "data_command"

        makai.wait_for(asked)
        monkeypatch.undo()
        makai.wait_for(lambda: shared.store.sequences("1", 1, 9) == [1, 2, 3, 4])
    shared.close()
