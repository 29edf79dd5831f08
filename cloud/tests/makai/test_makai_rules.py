"""Rules inside the triggering service: by REST, by a trigger plug-in of SQL, and at a gateway's edge."""

import importlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
from judged_triggers import decision_of

from opq_cloud.core.service import CloudContext, ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.endpoint_ports import with_port_offset
from opq_cloud.core.settings.makai_settings import CloudRulesSection, TriggeringServiceSection
from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_cloud.makai.judging.triggers_in_use import load_triggers
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_proto.decision import Nominal
from opq_proto.errors import ConfigError
from opq_proto.kit import log
from opq_proto.messages import Measurement, Metric
from opq_proto.wire.opqbox3_pb2 import Measurement as Wire

NOMINAL = Nominal(120.0, 60.0)
THD = "SELECT box, start_ms, end_ms, thd FROM boxes WHERE thd > 0.08"
STREAM = 'CREATE STREAM boxes () WITH (DATASOURCE="*", TYPE="opqbox", SHARED="true")'


def measurement_frames(box: Any, thd: float, **more: Any) -> list[bytes]:
    """A Measurement's frames with rms and thd over the last 200 ms."""
    at_ms = time.time_ns() // 1_000_000
    topic, body = box.measurement(120.0, at_ms, start_ns=(at_ms - 200) * 10**6, end_ns=at_ms * 10**6, **more)
    wire = Wire.FromString(body)
    metric = wire.metrics["thd"]
    metric.min = metric.max = metric.average = thd
    return [topic, wire.SerializeToString()]


def data_command(box: Any) -> Any:
    until = time.monotonic() + 240
    while time.monotonic() < until:
        command = box.command(timeout_ms=100)
        if command is not None and command.WhichOneof("command") == "data_command":
            return command
    pytest.fail("no data was asked for")


def test_a_rule_requests_a_waveform(makai_with: Callable[..., Any]) -> None:
    """A rule by rest asks for a waveform as a trigger does."""
    house = makai_with()
    box = house.box("4")
    house.ask("POST", "/streams", {"sql": STREAM}, 201)
    rule = {"id": "distorted", "sql": THD, "actions": [{"request_waveform": {"afterMs": 100}}]}
    for name, hint in (("thdd", 'did you mean "thd"?'), ("harmonics_v", "there are box, ")):
        refused = house.ask("POST", "/rules", {**rule, "sql": THD.replace("thd >", f"{name} >")}, 400)
        assert refused["message"].startswith(f"unknown column {name} of boxes")
        assert refused["hint"].startswith(hint)
    house.ask("POST", "/rules", rule, 201)

    def arrived() -> bool:
        box.pub.send_multipart(measurement_frames(box, 0.02))
        return bool(house.ask("GET", "/rules/distorted/status")["source_boxes_0_records_in_total"])

    house.wait_for(arrived)
    assert house.shared.store.unfinished_events() == []
    frames = measurement_frames(box, 0.09)
    box.pub.send_multipart(frames)
    command = data_command(box)
    (record,) = house.shared.store.unfinished_events()
    assert record.boxes_triggered == ("4",)
    assert "rule distorted: thd 0.09" in str(record)
    sent = Wire.FromString(frames[1])
    assert command.data_command.start_ms <= sent.start_ns // 10**6 - 1000
    assert command.data_command.end_ms >= sent.end_ns // 10**6 + 1000 + 100
    counters = house.service.counters
    house.wait_for(lambda: counters.total("triggers") == 1)  # counted after the commands went out
    assert counters.of("rule_requests", "distorted") == 1
    box.pub.send_multipart(frames)  # the event that is there covers it
    house.wait_for(lambda: counters.total("triggers_merged") == 1)
    assert len(house.shared.store.unfinished_events()) == 1

    def health() -> tuple[bool, str | None]:
        return next((part.ok, part.info) for part in house.service.health() if part.name == "rules")

    assert health() == (True, "1 rules, 1 running")
    house.ask("DELETE", "/streams/boxes?force=true")
    house.wait_for(lambda: health() == (False, "1 rules, 0 running; stopped by an error: distorted"))


def test_measurements_during_the_start_reach_the_rules(makai: Any, tmp_path: Path) -> None:
    importlib.import_module("opq_cloud.makai.judging.judging_rules")  # slow to import
    brokers = makai.brokers()
    shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
    forwarded = brokers.triggering.counters

    class Slow(TriggeringService):
        def _opened_rules(self, opened: ExitStack) -> Any:
            makai.wait_for(lambda: forwarded.total("subscriptions"))
            box = makai.box(brokers, "1")

            def sent() -> float:
                box.pub.send_multipart(measurement_frames(box, 0.01))
                return float(forwarded.total("received"))

            makai.wait_for(sent)
            return super()._opened_rules(opened)

    config = TriggeringServiceSection(
        measurement_endpoint=brokers.triggering_config.backend_endpoint,
        rules=CloudRulesSection(enabled=True, http_endpoint=f"127.0.0.1:{makai.free_port()}"),
    )
    service = Slow(config, shared, NOMINAL, tmp_path)
    with makai.running(brokers.triggering), makai.running(service):
        assert makai.wait_for(lambda: 0 < forwarded.total("received") == service.counters.total("received"))
    shared.close()


def test_a_row_without_a_span_is_counted(makai_with: Callable[..., Any]) -> None:
    house = makai_with()
    box = house.box("1")
    house.ask("POST", "/streams", {"sql": STREAM}, 201)
    wrong = {"id": "wrong", "sql": "SELECT box, thd FROM boxes", "actions": [{"request_waveform": {}}]}
    house.ask("POST", "/rules", wrong, 201)

    def failed() -> bool:
        box.pub.send_multipart(measurement_frames(box, 0.5))
        status = house.ask("GET", "/rules/wrong/status")
        return any("has no start_ms, end_ms" in str(value) for value in status.values())

    house.wait_for(failed)
    assert house.service.counters.total("rule_requests") == 0


def test_a_gateways_rule_opens_an_event(makai_with: Callable[..., Any]) -> None:
    """A rule of a gateway opens an event over the wire."""
    house = makai_with(PluginEntry(name="edge_rule"))
    box = house.box("1")

    def sent() -> bool:
        topic, body = measurement_frames(box, 0.01)
        wire = Wire.FromString(body)
        wire.crossing = True
        metric = wire.metrics["rule_edge-thd"]
        metric.min = metric.max = metric.average = 0.01
        box.pub.send_multipart([topic, wire.SerializeToString()])
        return box.command(timeout_ms=200) is not None

    house.wait_for(sent)
    record = house.shared.store.unfinished_events()[0]
    assert "rule edge-thd at the gateway: 0.01" in str(record)


def seen(k: int, thd: float, **more: Any) -> Measurement:
    return Measurement("1", 1_000_000 + 200 * k, {"thd": Metric(thd, thd, thd)}, **more)


def decisions(sql: str, values: list[Measurement]) -> list[bool]:
    plugin = load_triggers([PluginEntry(name="sql", settings={"sql": sql})], ServiceCounters(), log.get())[0]
    return [decision_of(plugin, each, NOMINAL) is not None for each in values]


def test_one_statement_is_a_trigger_plugin() -> None:
    values = [seen(k, thd) for k, thd in enumerate((0.01, 0.09, 0.02, 0.2))]
    assert decisions(THD, values) == [False, True, False, True]
    late = [seen(0, 0.01), seen(-500, 0.5, backfilled=True), seen(1, 0.5)]
    assert decisions(THD, late) == [False, False, True]


def test_a_statement_decides_at_the_windows_end() -> None:
    sql = "SELECT box, avg(thd) AS mean FROM boxes GROUP BY box, TUMBLINGWINDOW(ss, 1) HAVING avg(thd) > 0.05"
    values = [seen(k, 0.1 if 5 <= k < 10 else 0.01) for k in range(20)]
    assert [k for k, fired in enumerate(decisions(sql, values)) if fired] == [10]


def test_a_statement_reads_windows_or_crossings() -> None:
    """A sag from 1,000,450 to 1,000,850: its crossings come before the windows in which they lie."""

    def crossing(ms: int, volts: float) -> Measurement:
        return Measurement("1", ms, {"rms": Metric(volts, volts, volts)}, crossing=True)

    values = [seen(k, 0.01 * k) for k in range(7)]
    values.insert(3, crossing(1_000_450, 80.0))
    values.insert(6, crossing(1_000_850, 119.0))
    sag = "SELECT count(*) AS n FROM crossings GROUP BY STATEWINDOW(rms_min < 108, rms_min >= 108)"
    assert [k for k, fired in enumerate(decisions(sag, values)) if fired] == [6]
    step = "SELECT thd - lag(thd) AS step FROM boxes WHERE thd - lag(thd) > 0.005"
    assert [k for k, fired in enumerate(decisions(step, values)) if not fired] == [0, 3, 6]


def test_failed_rows_are_counted_in_health() -> None:
    """Rows that a statement cannot compute are counted and reported in health."""
    counters = ServiceCounters()
    sql = "SELECT box, thd FROM boxes WHERE abs(box) > 0 AND thd > 0.05"
    with structlog.testing.capture_logs() as lines:
        plugin = load_triggers([PluginEntry(name="sql", settings={"sql": sql})], counters, log.get())[0]
        assert str(plugin.health().info).startswith("SQL: one statement")
        for k in range(5):
            assert decision_of(plugin, seen(k, 0.09), NOMINAL) is None
    assert counters.of("row_errors", "sql") == 5
    assert "5 rows could not be computed, the last: Where: abs" in str(plugin.health().info)
    assert [line["event"] for line in lines] == ["plugin.row_failed"]


def test_a_statement_that_cannot_run_is_reported() -> None:
    misspelt = "SELECT box FROM boxes WHERE rms_mn < 100"
    for sql, why in (
        *(("SELECT FROM", "sql"), ("SELECT a FROM others", "others"), ("SHOW STREAMS", "SELECT")),
        (misspelt, "unknown column rms_mn of boxes"),
    ):
        with pytest.raises(ConfigError, match=why):
            load_triggers([PluginEntry(name="sql", settings={"sql": sql})], ServiceCounters(), log.get())


def test_rules_are_imported_only_where_enabled() -> None:
    """The address follows the port offset."""
    assert with_port_offset(CloudConfig(), 100).triggering_service.rules.http_endpoint == "127.0.0.1:9181"
    code = """if True:
        import sys
        import opq_cloud.makai.triggering_service
        print("opq_rules.api" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    assert done.stdout.split() == ["False"]


def test_an_address_beyond_loopback_needs_tokens(makai: Any, tmp_path: Path) -> None:
    shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
    rules = CloudRulesSection(enabled=True, http_endpoint="0.0.0.0:0")
    service = TriggeringService(TriggeringServiceSection(rules=rules), shared, NOMINAL, tmp_path)
    with pytest.raises(ConfigError, match="token_file"):
        service.run(threading.Event())
    shared.close()
