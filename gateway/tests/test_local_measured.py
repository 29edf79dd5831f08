"""`/measured` and `/metrics` over HTTP: the ledger by time and kind, gauges with their help."""

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from free_ports import free_port

from opq_gateway.counters import MEANING, BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.local.health import HealthServer, pages_of
from opq_gateway.local.measured import MAX_ROWS, measured
from opq_gateway.local.metrics import GatewayMetrics, show_feed, show_rings, show_threads
from opq_gateway.measuring.feed import MeasuredFeed, Values
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.ring.ring import Ring
from opq_proto.kit.http_server import MAX_AT_ONCE
from opq_proto.kit.watchdog import Heartbeats
from opq_proto.link.messages import Health, Losses
from opq_proto.messages import TimeSource

NOON_NS = 1_800_014_400 * 10**9  # 2027-01-15T12:00:00Z
MINUTES_10_NS = 600 * 10**9


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "ledger", "1", 24, 30)
    for number in range(6):
        start_ns = NOON_NS + number * MINUTES_10_NS
        values = {"rms_v": 120.0 + number, "harmonics_v": (120.0, 0.5)}
        end_ns = start_ns + MINUTES_10_NS
        ledger.append(Values("1", "10min", start_ns, end_ns, 1000, TimeSource.GPS, number == 2, values))
    ledger.flush()
    return ledger


def asked(ledger: Ledger, query: str) -> tuple[int, dict]:
    return measured(parse_qs(query), {"1": lambda: ledger}, lambda: NOON_NS + 6 * MINUTES_10_NS)


def test_rows_come_with_time_and_uncertainty(ledger: Ledger) -> None:
    status, document = asked(ledger, "box=1&from=2027-01-15T12:10:00Z&to=2027-01-15T12:30:00Z")
    assert status == 200 and document["kind"] == "10min" and document["next_from_ns"] is None
    one, two = document["rows"]
    assert one["start_ns"] == NOON_NS + MINUTES_10_NS and one["rms_v"] == 121.0
    assert (one["flagged"], two["flagged"]) == (False, True)
    assert one["uncertainty_ns"] == 1000 and one["time_source"] == "gps"
    assert json.loads(json.dumps(one))["harmonics_v"] == [120.0, 0.5]


def test_the_default_span_is_a_day(ledger: Ledger) -> None:
    assert len(asked(ledger, "box=1")[1]["rows"]) == 6
    assert len(asked(ledger, f"box=1&from={NOON_NS / 1e9 + 3000}")[1]["rows"]) == 1
    assert asked(ledger, "box=1&kind=2h")[1]["rows"] == []


@pytest.mark.parametrize(
    "query",
    ["", "box=2", "box=1&kind=year", "box=1&from=yesterday", "box=1&to=1e300", "box=1&to=-5", "box=1&bux=1"],
)
def test_a_wrong_query_is_told_what_is_wrong(ledger: Ledger, query: str) -> None:
    status, document = asked(ledger, query)
    assert status == 400 and ("want" in document["error"] or "there are" in document["error"])


def test_a_cut_answer_says_where_to_continue(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "many", "1", 24, 30)
    for number in range(MAX_ROWS + 5):
        start_ns = NOON_NS + number * 10**9
        ledger.append(
            Values("1", "10s", start_ns, start_ns + 10**9, 1, TimeSource.NTP, False, {"f_hz": 60.0})
        )
        if ledger.is_behind:
            ledger.flush()
    ledger.flush()
    query = f"box=1&kind=10s&from={NOON_NS // 10**9}&to={NOON_NS // 10**9 + 20_000}"
    document = asked(ledger, query)[1]
    assert len(document["rows"]) == MAX_ROWS
    assert document["next_from_ns"] == NOON_NS + MAX_ROWS * 10**9


@pytest.fixture
def address(tmp_path: Path, ledger: Ledger) -> Iterator[str]:
    statuses = {"1": BoxStatus("1", 60), "2": BoxStatus("2", 60)}
    statuses["1"].health = Health(61_000, 31.5, 5.02, None, 100, 0, 0, 0, 0, 0, 1000, 0)
    statuses["1"].losses = Losses((4, 2))
    metrics = GatewayMetrics(statuses, {"1": BoxCounters(), "2": BoxCounters()})
    ring = Ring(tmp_path / "ring", "1", 1.0)
    heartbeats = Heartbeats()
    heartbeats.beat("reader", threading.Event())
    feed = MeasuredFeed()
    feed.subscribe("mqtt", (Values,))
    show_rings(metrics, {"1": ring}, statuses)
    show_threads(metrics, heartbeats)
    show_feed(metrics, feed)
    port = free_port()
    pages = pages_of(metrics, {"1": lambda: ledger, "2": partial(Ledger, tmp_path / ("x" * 300), "2", 1, 1)})
    server = HealthServer(f"127.0.0.1:{port}", statuses, pages)
    yield f"http://127.0.0.1:{port}"
    server.close()
    ring.close()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=240) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_routes_answer_over_http(address: str) -> None:
    status, text = get(f"{address}/measured?box=1&to=2027-01-15T13:00:00Z")
    assert status == 200 and len(json.loads(text)["rows"]) == 6
    assert get(f"{address}/measured?box=")[0] == 400
    status, text = get(f"{address}/measured?box=2")
    assert status == 500 and "cannot be read" in text
    assert get(f"{address}/elsewhere") == (404, "not found; there are /, /metrics, /measured\n")
    health = json.loads(get(address)[1])
    assert [part["lost"].get("link_overruns") for part in health["subcomponents"]] == [4, None]
    assert health["subcomponents"][0]["info"] == (
        "port not open: opening; lost in the Box since its start: "
        "4 times that bytes of the gateway were lost: the Box's UART was read too late"
    )
    assert health["subcomponents"][0]["supply_v"] == 5.02 and health["subcomponents"][1]["supply_v"] is None


def test_every_metric_has_help(address: str) -> None:
    lines = get(f"{address}/metrics")[1].splitlines()
    helped = {line.split(" ")[2] for line in lines if line.startswith("# HELP ")}
    typed = {line.split(" ")[2] for line in lines if line.startswith("# TYPE ")}
    assert helped == typed
    assert {f"opq_gateway_{name}_total" for name in MEANING} <= helped
    assert 'opq_gateway_box_supply_volts{box_id="1"} 5.02' in lines
    assert not any(line.startswith('opq_gateway_box_supply_volts{box_id="2"}') for line in lines)
    assert not any(line.startswith("opq_gateway_box_battery_volts{") for line in lines)
    assert not any(line.startswith("opq_gateway_box_lost_pps_dropped{") for line in lines)
    for name in (
        'opq_gateway_box_ok{box_id="1"} 0.0',
        'opq_gateway_box_lost_link_overruns{box_id="1"} 4.0',
        'opq_gateway_ring_bytes{box_id="1"}',
        'opq_gateway_thread_age_seconds{thread="reader"}',
        'opq_gateway_feed_waiting{reader="mqtt"} 0.0',
        "process_resident_memory_bytes",
    ):
        assert any(line.startswith(name) for line in lines), name


def test_excess_health_requests_are_closed_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opq_gateway.local.health.SOCKET_TIMEOUT_S", 120.0)
    port, counters = free_port(), BoxCounters()
    server = HealthServer(f"127.0.0.1:{port}", {}, {}, counters=counters)
    held = [socket.create_connection(("127.0.0.1", port), timeout=240) for _ in range(MAX_AT_ONCE + 2)]
    assert [one.recv(1) for one in held[:2]] == [b"", b""]  # the oldest give way
    assert counters["health_overflow"] == 2
    for one in held:
        one.close()
    server.close()
