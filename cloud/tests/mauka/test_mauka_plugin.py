"""The plug-in base: old plug-ins run on the real bus, and a broken one does not look healthy."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from structlog.testing import capture_logs

from opq_cloud.mauka.bus.bus_messages import gc_update, makai_event
from opq_cloud.mauka.bus_plugins.plugin_heartbeats import StatusPlugin
from opq_cloud.mauka.plugin import MaukaPlugin, run_plugin
from opq_proto.errors import FrameError, StoreError
from opq_proto.wire.mauka_pb2 import INCIDENTS, MaukaMessage

OLD_PLUGIN = """
import multiprocessing
import sys
import typing

import opq_cloud.mauka.plugin as base_plugin


class PrintPlugin(base_plugin.MaukaPlugin):
    NAME = "PrintPlugin"

    def __init__(self, config: typing.Dict, exit_event: multiprocessing.Event):
        super().__init__(config, ["MakaiEvent"], PrintPlugin.NAME, exit_event)

    def on_message(self, topic, mauka_message):
        print(topic, mauka_message.makai_event.event_id, mauka_message.source, flush=True)
        self.produce("Seen", mauka_message)


base_plugin.run_plugin(PrintPlugin, {"zmq.mauka.plugin.pub.interface": sys.argv[1],
                                     "zmq.mauka.plugin.sub.interface": sys.argv[2],
                                     "plugins.base.heartbeatIntervalS": 0.1})
"""


class Listener(MaukaPlugin):
    """Keeps what it hears; fails on event 13 and hangs on event 99."""

    NAME = "Listener"

    def __init__(self, config):
        super().__init__(config, ["MakaiEvent"], Listener.NAME)
        self.heard = []
        self.go_on = threading.Event()

    def on_message(self, topic, mauka_message):
        event_id = mauka_message.makai_event.event_id
        if event_id == 13:
            raise ValueError("thirteen")
        if event_id == 99:
            self.go_on.wait(240)
        self.heard.append(event_id)


@pytest.fixture
def listener(bus, running, wire):
    plugin = Listener(bus.settings)
    running.start(plugin)
    return plugin, wire.publisher(bus.sub)


def test_an_original_plugin_gets_makai_events(bus, wire, tmp_path):
    """In its own process."""
    path = tmp_path / "old_plugin.py"
    path.write_text(textwrap.dedent(OLD_PLUGIN))
    seen = wire.subscriber(bus, "Seen")
    writer = wire.publisher(bus.sub)
    process = subprocess.Popen([sys.executable, path, bus.sub, bus.pub], stdout=subprocess.PIPE, text=True)
    try:
        while not seen.poll(100):  # it is still starting
            writer.send_multipart([b"MakaiEvent", makai_event(17).SerializeToString()])
        assert MaukaMessage.FromString(seen.recv_multipart()[1]).makai_event.event_id == 17
        assert process.stdout.readline() == "MakaiEvent 17 makai_event_bridge\n"
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(240) == 0
    finally:
        process.kill()
        process.communicate()


def test_the_control_message_ends_a_plugin(bus, running, wire, until):
    plugin = Listener(bus.settings)
    running.start(plugin)
    writer = wire.publisher(bus.sub)
    thread = running.threads[-1][1]
    writer.send_multipart([b"Listener", b"EXIT"])
    thread.join(240)
    assert not thread.is_alive()


def test_foreign_exit_does_not_end_a_plugin(listener, until):
    """`exit` for a longer name, or other bytes."""
    plugin, writer = listener
    writer.send_multipart([b"ListenerToo", b"EXIT"])
    writer.send_multipart([b"Listener", b"exit"])
    writer.send_multipart([b"MakaiEvent", makai_event(2).SerializeToString()])
    assert until(lambda: plugin.heard == [2])


def test_garbage_on_the_bus_is_counted(listener, until):
    """The plug-in goes on."""
    plugin, writer = listener
    malformed = plugin.counters.total("malformed")
    for body in (b"\xff\xff\xff", b"\x0a", b"\x12\x02\xff\xfe"):  # the last: a source that is not UTF-8
        writer.send_multipart([b"MakaiEvent", body])
    writer.send_multipart([b"MakaiEvent\xff", b""])
    for body in (b"", b"EXIT"):  # to the plug-in of this name, which does not exist
        writer.send_multipart([b"MakaiEventPlugin", body])
    writer.send_multipart([b"MakaiEvent", makai_event(3).SerializeToString()])
    assert until(lambda: plugin.heard == [3])
    assert plugin.counters.total("malformed") - malformed == 4


def test_a_raising_plugin_reports_and_continues(listener, bus, wire, until):
    """Its heartbeat has the report."""
    plugin, writer = listener
    beats = wire.subscriber(bus, "heartbeat")
    writer.send_multipart([b"MakaiEvent", makai_event(13).SerializeToString()])
    assert until(lambda: plugin.counters.total("failures") == 1)

    def failing():
        return json.loads(MaukaMessage.FromString(beats.recv_multipart()[1]).heartbeat.status)["last_error"]

    assert until(failing) == "on_message: ValueError: thirteen"
    writer.send_multipart([b"MakaiEvent", makai_event(4).SerializeToString()])
    assert until(lambda: plugin.heard == [4])
    assert until(lambda: failing() is None)


def test_a_heartbeat_has_the_keys_of_the_original(listener, bus, wire, until):
    plugin, writer = listener
    body = makai_event(1).SerializeToString()
    writer.send_multipart([b"MakaiEvent", body])
    assert until(lambda: plugin.heard == [1])
    beats = wire.subscriber(bus, "heartbeat")
    message = until(
        lambda: (
            (beat := MaukaMessage.FromString(beats.recv_multipart()[1])).heartbeat.plugin_state == "IDLE"
            and beat
        )
    )
    status = json.loads(message.heartbeat.status)
    assert message.source == "Listener"
    assert message.heartbeat.plugin_state == "IDLE"
    assert message.heartbeat.on_message_count == 1
    assert abs(message.heartbeat.last_received_timestamp_ms - time.time() * 1000) < 60_000
    own = status["messages_received"] - message.heartbeat.on_message_count  # its name, said while joining
    told = message.heartbeat.on_message_count * (len(b"MakaiEvent") + len(body))
    assert own >= 1
    assert status["bytes_received"] == own * len(b"Listener") + told
    assert status["messages_published"] >= 0
    assert status["bytes_published"] >= 0


def test_status_separates_busy_hanging_and_dead(listener, bus, running, until):
    """The status distinguishes busy, hanging, dead and healthy plug-ins."""
    plugin, writer = listener
    now_s = [0.0]
    status = StatusPlugin(bus.settings, expected=["Listener", "Missing"], clock=lambda: now_s[0])
    running.start(status)

    def parts():
        return {part.name: part for part in status.health()}

    assert until(lambda: "Listener" in parts())
    assert parts()["Listener"].ok
    assert "Missing" not in parts()  # it may still be starting
    writer.send_multipart([b"MakaiEvent", makai_event(99).SerializeToString()])
    assert (
        until(lambda: [row for row in status.plugin_status() if row["plugin_state"] == "BUSY"][:1])[0][
            "plugin_name"
        ]
        == "Listener"
    )
    plugin.go_on.set()
    assert until(lambda: 99 in plugin.heard)
    running.threads[1][0].set()  # the listener's stop
    running.threads[1][1].join(240)
    assert until(lambda: not parts()["Listener"].ok)
    assert parts()["Listener"].info == "it was stopped"
    now_s[0] = 20.0
    assert until(lambda: parts()["Missing"].info) == "sent nothing on the bus yet"


def test_a_plugin_whose_heartbeats_stop_is_not_ok():
    now_s = [0.0]
    status = StatusPlugin({}, clock=lambda: now_s[0])
    message = MaukaMessage(source="Old", timestamp_ms=1_000)
    message.heartbeat.status = '{"messages_received": 3}'  # an original one: no interval, so 60 s
    message.heartbeat.plugin_state = "IDLE"
    status.on_message("heartbeat", message)
    now_s[0] = 149.0
    assert [part.ok for part in status.health()] == [True]
    now_s[0] = 151.0
    assert [(part.ok, part.info) for part in status.health()] == [(False, "no heartbeat for 151 s")]


def test_made_up_names_do_not_fill_memory():
    status = StatusPlugin({})
    for number in range(1000):
        message = MaukaMessage(source=f"made up {number}")
        message.heartbeat.status = "[no json"
        status.on_message("heartbeat", message)
    assert len(status.plugin_status()) == 256
    assert status.counters.total("malformed") == 1000


def test_run_plugin_returns_when_its_event_is_set(bus):
    stop = threading.Event()
    thread = threading.Thread(target=run_plugin, args=(Listener, bus.settings, stop))
    thread.start()
    stop.set()
    thread.join(240)
    assert not thread.is_alive()


def test_produce_without_bus_does_not_block():
    plugin = Listener({})
    plugin.produce("laha_gc", gc_update(INCIDENTS, 1, "Listener"))
    assert plugin.counters.total("unheard") == 1


def test_a_refusing_store_has_no_traceback(bus):
    plugin = Listener(bus.settings)

    def refuse():
        raise StoreError("the disk is full")

    with capture_logs() as lines:
        assert plugin.guard("event", refuse, event_id=7) is False
    (line,) = lines
    assert (line["event"], line["event_id"], line["error"]) == ("plugin.store_failed", 7, "the disk is full")
    assert "exc_info" not in line and plugin.last_error == "event: StoreError: the disk is full"
    assert plugin.counters.of("failures", "event") == 1
    assert plugin.guard("event", lambda: None) is True and plugin.last_error is None


def test_an_invalid_message_ends_an_earlier_error(bus):
    """The plug-in works again, and what came is wrong."""
    plugin = Listener(bus.settings)

    def refuse(error):
        raise error

    plugin.guard("event", lambda: refuse(StoreError("the disk is full")))
    plugin.guard("event", lambda: refuse(FrameError("no event")))
    assert plugin.last_error is None and plugin.counters.total("malformed") == 1
