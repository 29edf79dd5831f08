"""Loops without work sleep: only what is due limits a wait, and each stop ends it."""

import multiprocessing
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import zmq

from opq_cloud.core.backend.sockets import POLL_MS, open_socket, service_context
from opq_cloud.core.backend.waits import PollableEvent, wait_for
from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.bus_plugins.laha_gc import REPORT_S, LahaGcPlugin
from opq_cloud.mauka.bus_plugins.plugin_heartbeats import StatusPlugin
from opq_cloud.mauka.bus_plugins.printing import PrintPlugin
from opq_cloud.mauka.original.incident_ids import IncidentIds
from opq_cloud.mauka.plugin import STOPPED, MaukaPlugin
from opq_cloud.store import open_store
from opq_proto.kit.watchdog import Heartbeats

Limits = dict[str, list[int]]
FOR_EVER = -1


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Limits:
    """Thread -> the limits of its waits in milliseconds; the last one is that of its wait now."""
    found: Limits = defaultdict(list)
    poll = zmq.zmq_poll

    def noted(sockets: Any, limit_ms: int) -> Any:
        found[threading.current_thread().name].append(limit_ms)
        return poll(sockets, limit_ms)

    monkeypatch.setattr(zmq, "zmq_poll", noted)
    return found


class Overriding(MaukaPlugin):
    """Of the original's form: its own `on_idle`, and no word of when that is due."""

    def __init__(self, config: Any, exit_event: Any = None) -> None:
        super().__init__(config, ["MakaiEvent"], "Overriding", exit_event)
        self.idles = 0

    def on_idle(self) -> bool:
        self.idles += 1
        return False


class ResumedWhileItEnds(Overriding):
    """An operator starts it again before its loop has ended."""

    def _send_heartbeat(self, state: str) -> None:
        super()._send_heartbeat(state)
        if state == STOPPED and self.on_hold:
            self.idles = 0
            self.resume()


def test_stop_message_and_event_end_a_wait(limits: Limits) -> None:
    stop, other = PollableEvent(), PollableEvent()
    with (
        service_context() as context,
        closing(open_socket(context, zmq.PAIR)) as read,
        closing(open_socket(context, zmq.PAIR)) as written,
    ):
        read.bind("inproc://pair")
        written.connect("inproc://pair")
        written.send(b"")
        assert wait_for(stop, read, other) == {read}
        read.recv()
        other.set()
        assert read not in wait_for(stop, read, other)
        other.clear()
        stop.set()
        assert read not in wait_for(stop, read, other)
    assert [*limits.values()] == [[FOR_EVER] * 3]


def test_an_event_without_a_descriptor_is_polled(limits: Limits) -> None:
    stop = PollableEvent()
    stop.set()
    wait_for(stop, multiprocessing.Event())
    wait_for(stop, due_s=0.0121)
    wait_for(stop, due_s=-1.0)
    assert [*limits.values()] == [[POLL_MS, 13, 0]]


def test_idle_services_wait_for_ever(
    bus: Any, running: Any, limits: Limits, until: Callable[[Any], Any], free_endpoint: Any, tmp_path: Any
) -> None:
    """Services without anything due sleep; `running` then ends each of them."""
    with closing(CloudContext(lambda: open_store(None, tmp_path))) as shared:
        ids = IncidentIds(MaukaSection(incident_id_endpoint=free_endpoint()), shared)
        status, printing = StatusPlugin(bus.settings), PrintPlugin(bus.settings)
        for service in (ids, status, printing):
            running.start(service)
        for service in (ids, printing):
            assert until(lambda name=service.name: limits[name][-1:] == [FOR_EVER])
        assert until(lambda: limits["StatusPlugin"][-1:] == [FOR_EVER])
        assert set(limits["PrintPlugin"]) == {FOR_EVER}


def test_a_held_plugin_begins_and_ends_at_once(
    bus: Any, running: Any, limits: Limits, until: Callable[[Any], Any]
) -> None:
    printing = PrintPlugin(bus.settings)
    running.start(printing)
    assert until(lambda: limits["PrintPlugin"][-1:] == [FOR_EVER])
    printing.resume()
    assert until(lambda: printing.counters.total("received"))
    printing.hold()
    assert until(lambda: "PrintPlugin-heartbeat" not in {each.name for each in threading.enumerate()})
    assert until(lambda: limits["PrintPlugin"][-1] == FOR_EVER)


def test_a_plugin_resumed_while_it_ends_runs(bus: Any, running: Any, until: Callable[[Any], Any]) -> None:
    plugin = ResumedWhileItEnds(bus.settings)
    running.start(plugin)
    assert until(lambda: plugin.idles)
    plugin.hold()
    assert until(lambda: not plugin.on_hold and plugin.idles)


def test_a_wait_ends_when_something_is_due(
    bus: Any, running: Any, limits: Limits, until: Callable[[Any], Any]
) -> None:
    plugin = LahaGcPlugin(bus.settings, lambda: pytest.fail("nothing is due"), clock=lambda: 100.0)
    running.start(plugin)
    assert until(lambda: limits["LahaGcPlugin"][-1:] == [REPORT_S * 1000])


def test_an_override_of_on_idle_runs_without_messages(
    bus: Any, running: Any, limits: Limits, until: Callable[[Any], Any]
) -> None:
    """As in plug-ins of users, also with an event of multiprocessing, which ends it."""
    exit_event = multiprocessing.Event()
    plugin = Overriding(bus.settings, exit_event)
    running.start(plugin)
    assert until(lambda: plugin.idles > 3)
    assert limits["Overriding"][-1] == POLL_MS
    exit_event.set()
    running.threads[-1][1].join(240)
    assert not running.threads[-1][1].is_alive()


def test_a_thread_that_waits_does_not_hang(limits: Limits, until: Callable[[Any], Any]) -> None:
    now_s, stop = [0.0], PollableEvent()
    heartbeats = Heartbeats(lambda: now_s[0])
    beat = heartbeats.beat("service", stop)
    thread = threading.Thread(target=wait_for, args=(beat,), name="waits")
    thread.start()
    assert until(lambda: limits["waits"] == [FOR_EVER])
    now_s[0] = 1000.0
    assert heartbeats.late(60.0, ["service"]) == ()
    stop.set()
    thread.join(240)
    now_s[0] = 2000.0
    assert heartbeats.late(60.0, ["service"]) == ("service",)
