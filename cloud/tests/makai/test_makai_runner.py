"""The runner restarts what fails and says so; health answers in the original's contract."""

import json
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import structlog

from opq_cloud import serving
from opq_cloud.__main__ import HELP
from opq_cloud.core.meant_service import ONE_PER_FOLDER, ONE_PER_STORE, meant_service, note_running
from opq_cloud.core.runner import ServiceBoard, ServiceRunner
from opq_cloud.core.service import MAX_LABELS, HealthReport, ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.endpoint_ports import with_port_offset
from opq_cloud.health.health_service import HealthService
from opq_cloud.health.neighbours import Neighbours, health_from_json, report_of
from opq_cloud.makai.makai_service import NAMES
from opq_cloud.serving import BROKERS, ROOMS, _elsewhere
from opq_proto.config.reading import build
from opq_proto.errors import PortBusyError, StoreError
from opq_proto.kit.system_record import MeantService, identity_of, note_meant, read_record


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


def test_each_service_is_made_by_one_room() -> None:
    named = [name for own in ROOMS.values() for name in own]
    assert sorted(named) == sorted(HELP.keys() - {"all", "all-but-brokers", "health"})
    assert ROOMS["opq_cloud.makai.makai_service"] == NAMES


def test_a_crashed_service_is_started_again(makai: Any) -> None:
    """A crashed service is started again, and health reports it."""
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


@pytest.mark.parametrize("signalled", [True, False])
def test_an_end_asked_of_a_silent_store(
    signalled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that waits for its store ends without an error where a signal came, and only there."""

    @contextmanager
    def silent(*given: Any) -> Iterator[None]:
        if signalled:
            os.kill(os.getpid(), signal.SIGTERM)
            assert given[-1].stop.wait(240)
        raise StoreError("MongoDB: the server does not answer in time")
        yield

    monkeypatch.setattr(serving, "_locked", silent)
    config = build(CloudConfig, {}, "cloud.toml")
    if signalled:
        assert serving.run("health", [], config, tmp_path) is None
    else:
        with pytest.raises(StoreError, match="does not answer"):
            serving.run("health", [], config, tmp_path)


def test_a_silent_store_after_a_signal() -> None:
    """The signal comes before the store's answer, while the service begins."""
    runner = ServiceRunner(ServiceBoard())

    class Beginning(Flaky):
        def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
            runner.stop.set()
            super().run(stop, ready)

    assert not runner.start([Beginning("writer", StoreError("no answer in time"), before_ready=True)])
    assert runner.wait() and runner.failure is None


def test_a_service_that_hangs_ends_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(ServiceRunner, "start", lambda *_: False)
    monkeypatch.setattr(ServiceRunner, "wait", lambda _: False)
    monkeypatch.setattr(os, "_exit", codes.append)
    serving.run("health", [], build(CloudConfig, {}, "cloud.toml"), tmp_path)
    assert codes == [1]


def test_health_is_not_ok_before_a_restart(makai: Any) -> None:
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


def test_a_service_has_one_component(makai: Any) -> None:
    """Its own state and its thread are reported together."""
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


def test_a_failed_start_ends_the_process() -> None:
    """A service that cannot start ends the process with its error."""
    board = ServiceBoard()
    runner = ServiceRunner(board)
    busy = PortBusyError("x cannot bind")
    assert not runner.start([Flaky("broker", busy, before_ready=True), Flaky("never")])
    runner.wait()
    assert runner.failure is busy
    assert [entry.service.name for entry in board.entries] == ["broker"]


def test_health_speaks_the_originals_contract() -> None:
    """It also has counters for Prometheus."""
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
        "name": "12",
        "ok": True,
        "timestamp": 7,
        "info": None,
        "subcomponents": None,
    }
    text = health.reply("/metrics")[2].decode()
    assert r'opq_refused_total{of="key \"with\nodd\\ letters",service="broker"} 3.0' in text
    assert 'opq_pending_now{of="",service="broker"} 2.0' in text
    assert health.reply("/nothing")[0] == HTTPStatus.NOT_FOUND
    assert HealthService("127.0.0.1:0", board, "mauka", any_path=True).reply("/x")[0] == HTTPStatus.OK
    ended(runner)


def test_health_asks_configured_and_recorded_services() -> None:
    """Those of the configuration, and those that the data folder's record names."""

    def asked(**section: Any) -> list[str]:
        config = build(CloudConfig, {"health": section}, "cloud.toml")
        return [each.name for each in _elsewhere(config)]

    assert asked() == []
    assert asked(gateway_endpoint="127.0.0.1:8913") == ["gateway"]
    named = {"name": "makai", "url": "http://makai:8080"}
    assert asked(services=[named]) == ["makai"]


def test_each_service_is_recorded_with_its_health() -> None:
    """The record has the address of its health."""
    config = with_port_offset(CloudConfig(), 1000)
    found = {name: meant_service(name, config, 1000).health for name in HELP}
    assert len(set(found.values())) == len(HELP) - 2, "both kinds of all answer where Mauka does alone"
    assert found["view"] == "http://127.0.0.1:9888/health" and found["update"] == "http://127.0.0.1:9151/"
    assert found["triggering-service"] == "http://127.0.0.1:9080/"


def test_all_and_single_services_replace_each_other(tmp_path: Path) -> None:
    """`opq-cloud all` and single services, on one store."""
    config = CloudConfig()

    def noted(command: str, left_out: Sequence[str] = ()) -> list[str]:
        every = [each for each in (*ONE_PER_FOLDER, *ONE_PER_STORE) if each not in left_out]
        single = [each for each in every if command == "all" or each not in BROKERS]
        note_running(meant_service(command, config, left_out=left_out), tmp_path, single)
        return [each.name for each in read_record(tmp_path).services]

    note_meant(tmp_path, [MeantService("gateway", "http://127.0.0.1:8913/")])
    assert noted("health") == ["gateway", "health"]
    assert noted("view") == ["gateway", "health", "view"]
    assert noted("all") == ["cloud", "gateway"]
    assert noted("triggering-broker") == ["cloud", "gateway", "triggering-broker"]
    assert noted("all-but-brokers") == ["cloud", "gateway", "triggering-broker"]
    assert noted("mauka") == ["gateway", "mauka", "triggering-broker"]
    assert noted("all", left_out=["view"]) == ["cloud", "gateway"]
    assert noted("view") == ["cloud", "gateway", "view"], "the cloud leaves it out"
    assert noted("mauka") == ["gateway", "mauka", "view"]
    (tmp_path / "file").write_text("")
    note_running(meant_service("view", config), tmp_path / "file", ["view"])  # it serves all the same


def test_a_neighbour_that_is_down_is_reported(makai: Any, tmp_path: Path) -> None:
    """So is one whose answer is old."""
    there = ServiceBoard()
    runner = ServiceRunner(there)
    port, dead = makai.free_port(), f"http://127.0.0.1:{makai.free_port()}/"
    runner.start([Flaky("broker"), HealthService(f"127.0.0.1:{port}", there, "broker")])
    asked = [
        MeantService("good", f"http://127.0.0.1:{port}/", here=False),
        MeantService("gone", dead, here=False),
    ]
    neighbours = Neighbours("health", identity_of(tmp_path), asked, ServiceCounters())
    good, gone = map(report_of, neighbours.read())
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


def test_counters_are_bounded_in_labels() -> None:
    """A flood of labels does not grow them."""
    counters = ServiceCounters()
    for number in range(2 * MAX_LABELS):
        counters.add("refused", label=str(number))
    assert counters.total("refused") == 2 * MAX_LABELS
    assert len(counters.snapshot()["refused"]) == MAX_LABELS + 1
    assert counters.of("refused", "other") == MAX_LABELS
