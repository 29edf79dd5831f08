"""The runner restarts what fails and says so; health answers in the original's contract."""

import json
import threading
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import pytest
import structlog

from opq_cloud.__main__ import _neighbours
from opq_cloud.core.runner import ServiceBoard, ServiceRunner
from opq_cloud.core.service import MAX_LABELS, HealthReport, ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.health.neighbours import Neighbour, Neighbours, health_from_json, report_of
from opq_cloud.health.server import HealthService
from opq_proto.config.reading import build
from opq_proto.errors import PortBusyError, StoreError


class Flaky:
    """Fails as often as it is told, then works until stopped."""

    def __init__(self, name: str, *failures: Exception, before_ready: bool = False) -> None:
        self.name = name
        self.counters = ServiceCounters()
        self.runs = 0
        self._failures = list(failures)
        self._before_ready = before_ready

    def health(self) -> Iterable[HealthReport]:
        return [HealthReport("12", True, timestamp_s=7)]

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        self.runs += 1
        if ready is not None and not self._before_ready:
            ready.set()
        if self._failures:
            raise self._failures.pop(0)
        if ready is not None:
            ready.set()
        stop.wait()


def ended(runner: ServiceRunner) -> None:
    runner.stop.set()
    runner.wait()


def test_a_service_that_crashes_is_started_again_and_health_tells(makai: Any) -> None:
    board = ServiceBoard()
    runner = ServiceRunner(board)
    service = Flaky("shaky", RuntimeError("boom"))
    with structlog.testing.capture_logs() as lines:
        assert runner.start([service])
        makai.wait_for(lambda: service.runs == 2 and board.entries[0].up)
    health = board.health("opq")
    assert health.ok
    assert health.subcomponents[0].info == "restarts: 1; last: RuntimeError: boom"
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["service.crashed"]
    ended(runner)


def test_health_is_not_ok_while_a_service_waits_for_its_restart(makai: Any) -> None:
    board = ServiceBoard()
    runner = ServiceRunner(board)
    failures = [StoreError("the disk is full") for _ in range(20)]
    runner.start([Flaky("writer", *failures)])
    makai.wait_for(lambda: not board.health("opq").ok)
    health = board.health("opq")
    assert health.info == "not ok: writer"
    assert "the disk is full" in (health.subcomponents[0].info or "")
    ended(runner)


class Careful(Flaky):
    """Says of itself what its thread does not show."""

    own = HealthReport("writer", False, info="the store takes nothing")

    def health(self) -> list[HealthReport]:
        return [self.own]


def test_what_a_service_says_of_itself_is_one_component_with_what_its_thread_does(makai: Any) -> None:
    board = ServiceBoard()
    runner = ServiceRunner(board)
    service = Careful("writer", StoreError("once"))
    runner.start([service])
    makai.wait_for(lambda: board.entries[0].restarts and board.entries[0].up)
    health = board.health("opq")
    assert (health.ok, health.info) == (False, "not ok: writer")
    assert [part.info for part in health.subcomponents] == ["the store takes nothing"]
    service.own = HealthReport("writer", True)
    (part,) = board.health("opq").subcomponents
    assert part.ok and part.info == "restarts: 1; last: StoreError: once"
    ended(runner)


def test_what_cannot_start_ends_the_process_with_its_error() -> None:
    board = ServiceBoard()
    runner = ServiceRunner(board)
    busy = PortBusyError("x cannot bind")
    assert not runner.start([Flaky("broker", busy, before_ready=True), Flaky("never")])
    runner.wait()
    assert runner.failure is busy
    assert [entry.service.name for entry in board.entries] == ["broker"]


def test_health_speaks_the_originals_contract_and_counts_for_prometheus() -> None:
    board = ServiceBoard()
    runner = ServiceRunner(board)
    service = Flaky("broker")
    runner.start([service])
    service.counters.add("refused", 3, label='key "with\nodd\\ letters')
    service.counters.set("pending_now", 2)
    health = HealthService("127.0.0.1:0", board, "opq")
    status, content_type, body = health.reply("/")
    document = json.loads(body)
    assert (status, content_type) == (HTTPStatus.OK, "application/json")
    assert (document["name"], document["ok"], document["info"]) == ("opq", True, None)
    assert isinstance(document["timestamp"], int)
    assert [part["name"] for part in document["subcomponents"]] == ["broker", "12"]
    assert document["subcomponents"][1] == {
        "name": "12", "ok": True, "timestamp": 7, "info": None, "subcomponents": None,
    }  # fmt: skip
    text = health.reply("/metrics")[2].decode()
    assert r'opq_refused_total{of="key \"with\nodd\\ letters",service="broker"} 3.0' in text
    assert 'opq_pending_now{of="",service="broker"} 2.0' in text
    assert health.reply("/nothing")[0] == HTTPStatus.NOT_FOUND
    assert HealthService("127.0.0.1:0", board, "mauka", any_path=True).reply("/x")[0] == HTTPStatus.OK
    ended(runner)


def test_health_asks_the_services_of_the_cloud_and_a_gateway_only_where_one_is_configured() -> None:
    def asked(**section: Any) -> list[str]:
        config = build(CloudConfig, {"health": section}, "cloud.toml")
        return [each.name for each in _neighbours("health", config)]

    own = [
        *("triggering-broker", "acquisition-broker", "makai", "event-service", "mauka", "view"),
        "notifications",
    ]
    assert asked() == own
    assert asked(gateway_endpoint="127.0.0.1:8913") == [*own, "gateway"]
    named = {"name": "makai", "url": "http://makai:8080"}
    assert asked(services=[named]) == ["makai"]


def test_neighbours_are_asked_and_one_that_is_down_or_old_is_reported(makai: Any) -> None:
    there = ServiceBoard()
    runner = ServiceRunner(there)
    port, dead = makai.free_port(), f"http://127.0.0.1:{makai.free_port()}/"
    runner.start([Flaky("broker"), HealthService(f"127.0.0.1:{port}", there, "broker")])
    asked = [Neighbour("good", f"http://127.0.0.1:{port}/"), Neighbour("gone", dead)]
    neighbours = Neighbours(asked, ServiceCounters())
    good, gone = map(report_of, neighbours.read())
    neighbours.close()
    assert (good.name, good.ok, gone.ok) == ("good", True, False)
    assert [part.name for part in good.subcomponents] == ["broker", "health", "12"]
    assert not good.subcomponents[2].ok, "Box 12 was last heard in 1970"
    assert dead in (gone.info or "")
    ended(runner)


@pytest.mark.parametrize("text", ["[]", "{}", '{"name": 1, "ok": true, "timestamp": "x"}', "null"])
def test_what_is_no_health_document_is_refused(text: str) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        health_from_json(json.loads(text))


def test_a_clock_that_is_ahead_is_not_old() -> None:
    document = {"name": "x", "ok": True, "timestamp": 2_000, "subcomponents": None}
    assert health_from_json(document, now_s=1_000).ok
    assert not health_from_json(document, now_s=2_020).ok


def test_counters_do_not_grow_with_a_flood_of_labels() -> None:
    counters = ServiceCounters()
    for number in range(2 * MAX_LABELS):
        counters.add("refused", label=str(number))
    assert counters.total("refused") == 2 * MAX_LABELS
    assert len(counters.snapshot()["refused"]) == MAX_LABELS + 1
    assert counters.of("refused", "other") == MAX_LABELS
