"""A minute cut by an outage: its trend is of both parts, when the second comes late."""

from pathlib import Path
from typing import Any

import pytest
from in_thread import in_thread

from opq_cloud.makai.measurements import trends
from opq_cloud.makai.measurements.measurement_writer import MeasurementWriter
from opq_cloud.makai_settings import TriggeringServiceSection as Config
from opq_cloud.service import ServiceCounters
from opq_cloud.store import open_store
from opq_proto import log
from opq_proto.messages import Measurement, Metric, Trend


def measured(second: int, volts: float, backfilled: bool) -> Measurement:
    metrics = {"rms": Metric(volts - 1, volts + 1, volts)}
    return Measurement("1", 60_000 + 1000 * second, metrics, sequence=second, backfilled=backfilled)


def test_a_minute_that_was_backfilled_has_the_mean_of_all_of_it(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trends, "SILENT_S", 0.0)
    store = open_store(None, tmp_path)
    store.append_measurements([measured(second, 120.0, False) for second in range(40)])
    store.put_trends([Trend("1", 60_000, {"rms": (119.0, 121.0, 120.0)})])
    counters = ServiceCounters()
    config = Config(batch_ms=20, ack_interval_s=0.1)
    writer = MeasurementWriter(store, config, counters, log.get(), lambda box_id, text: None)
    with in_thread(writer.run):
        for second in range(40, 60):
            writer.accept_measurement(measured(second, 90.0, True))
        makai.wait_for(lambda: counters.total("measurements_stored") == 20)
        makai.wait_for(lambda: counters.total("trends_corrected") > 0)
    (trend,) = store.trends("1", 0, 200_000)
    store.close()
    assert trend.metrics["rms"] == (89.0, 121.0, pytest.approx(110.0))
