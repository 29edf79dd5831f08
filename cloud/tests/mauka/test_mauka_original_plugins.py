"""Plug-ins of the original, unchanged, in their confined processes, on a real bus."""

import os
import signal
import socket
import threading
import time

import free_ports
import pytest
from original_folders import GUIDE, PRODUCING, original_plugins, plugin_code, write_folder

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.bus.bus_messages import makai_event
from opq_cloud.mauka.original.incident_ids import IncidentIds
from opq_cloud.mauka.original.settings import INCIDENT_ID_KEY
from opq_cloud.store import open_store
from opq_plugins.original.layout import listed_plugins
from opq_proto.errors import PluginError
from opq_proto.keys.backend_keys import BackendAddress, BackendKeyFolder


@pytest.fixture
def service(tmp_path, bus, running):
    made = original_plugins(tmp_path, bus.settings, call_s=60.0)
    running.start(made)
    return made


def deploy(service, folder, name="mine"):
    deployed = service.deployments.add(folder, name)
    return service.load_folder(deployed.name)


def received(socket, count):
    return [socket.recv_multipart() for _ in range(count)]


def test_the_guides_plugin_gets_text_and_bytes(tmp_path, service, bus, wire, until):
    """The plug-in is as the guide prints it."""
    said = deploy(service, write_folder(tmp_path / "mine", MyFancyPlugin=GUIDE))
    assert said == ["MyFancyPlugin 1 runs"]
    writer = wire.publisher(bus.sub)
    writer.send_multipart([b"foo", b"a text"])
    writer.send_multipart([b"bar", b"\xff\x00"])
    writer.send_multipart([b"other", b"not for it"])
    until(lambda: service.status("MyFancyPlugin")["handled"] == 2)
    wanted = "foo a text\nbar b'\\xff\\x00'\n"
    until(lambda: service.status("MyFancyPlugin")["output_tail"] == wanted)
    status = until(lambda: (row := service.status("MyFancyPlugin"))["handled_ms_mean"] and row)
    assert status["memory_mb"] > 1 and 0 < status["handled_ms_mean"] <= status["handled_ms_longest"]


def test_a_replaced_plugin_loses_no_message(tmp_path, service, bus, wire, until):
    """It produces text, and is replaced while messages flow."""
    folder = write_folder(tmp_path / "mine", MyFancyPlugin=PRODUCING)
    deploy(service, folder)
    heard = wire.subscriber(bus, "topic")
    wire.publisher(bus.sub).send_multipart([b"foo", b"x"])
    assert heard.recv_multipart() == [b"topic", b"message"]
    echo = plugin_code("MyFancyPlugin", 'self.produce("topic", message)')
    write_folder(folder, MyFancyPlugin=echo)
    deploy(service, folder)
    writer, count, ended = wire.publisher(bus.sub), 0, threading.Event()

    def swap():
        for _ in range(2):
            deploy(service, folder)
        ended.set()

    swapping = threading.Thread(target=swap)
    swapping.start()
    while not ended.is_set():
        writer.send_multipart([b"foo", str(count).encode()])
        count += 1
        time.sleep(0.002)
    swapping.join()
    assert [int(body) for _, body in received(heard, count)] == list(range(count))
    assert service.status("MyFancyPlugin")["version"] == 4
    assert service.counters.total("failures") == 0


def test_a_refused_version_leaves_the_old_one(tmp_path, service):
    """A refused plug-in leaves the former version, also after a restart."""
    folder = write_folder(tmp_path / "mine", Mine=plugin_code("Mine", "pass"))
    deploy(service, folder)
    write_folder(folder, Mine="import nothere\n" + plugin_code("Mine", "pass"))
    for _ in range(3):  # more than are kept
        with pytest.raises(PluginError, match="No module named 'nothere'"):
            deploy(service, folder)
    first = write_folder(tmp_path / "first", First="import nothere\n" + plugin_code("First", "pass"))
    with pytest.raises(PluginError, match="No module named 'nothere'"):
        deploy(service, first, "first")
    write_folder(folder, Mine=plugin_code("Mine", "pass"))
    with pytest.raises(PluginError, match="belongs to the folder mine already"):
        deploy(service, folder, "other")
    assert service.deployments.names() == ["mine"]
    assert service.deployments.current("mine").number == service.status("Mine")["version"] == 1
    assert deploy(service, folder) == ["Mine 2 replaced 1"]


def test_text_also_answers_as_bytes_do(tmp_path, service, bus, wire):
    body = (
        'assert message == "ab" and message == b"ab" and message.decode() == "ab"\n'
        'self.produce(b"got", bytes(message) + b"!")'
    )
    deploy(service, write_folder(tmp_path / "mine", Both=plugin_code("Both", body)))
    heard = wire.subscriber(bus, "got")
    wire.publisher(bus.sub).send_multipart([b"foo", b"ab"])
    assert heard.recv_multipart() == [b"got", b"ab!"]


def test_the_later_form_gets_messages_and_its_settings(tmp_path, service, bus, wire, until):
    code = """
import plugins.base_plugin
import protobuf.mauka_pb2
import protobuf.pb_util
import config
import log
logger = log.get_logger(__name__)

class LaterPlugin(plugins.base_plugin.MaukaPlugin):
    NAME = "LaterPlugin"
    def __init__(self, conf: config.MaukaConfig, exit_event):
        super().__init__(conf, ["MakaiEvent"], LaterPlugin.NAME, exit_event)
        self.limit = float(self.config.get("plugins.ThdPlugin.threshold.percent"))
    def on_message(self, topic, mauka_message):
        if protobuf.pb_util.is_makai_event_message(mauka_message):
            number = mauka_message.makai_event.event_id
            domain = protobuf.mauka_pb2.EVENTS
            self.produce("laha_gc", protobuf.pb_util.build_gc_update(self.name, domain, number))
            logger.info("event %d, limit %.1f", number, self.limit)
"""
    folder = write_folder(tmp_path / "mine", later_plugin=code)
    (folder / "OpqMauka.py").rename(folder / "opq_mauka.py")
    (folder / "opq_mauka.py").write_text(
        "import plugins.later_plugin\nmanager.register_plugin(plugins.later_plugin.LaterPlugin)\n"
    )
    deploy(service, folder)
    heard = wire.subscriber(bus, "laha_gc")
    writer = wire.publisher(bus.sub)
    writer.send_multipart([b"MakaiEvent", b"\xff no message"])
    writer.send_multipart([b"MakaiEvent", makai_event(7).SerializeToString()])
    assert b"LaterPlugin" in heard.recv_multipart()[1]
    until(lambda: "event 7, limit 5.0" in service.status("LaterPlugin")["output_tail"])
    assert service.status("LaterPlugin")["malformed"] == 1


VISITOR = """
try:
    found = self.request_next_available_incident_id()
except Exception as error:
    found = type(error).__name__
self.produce("numbers", str(found))
"""


@pytest.mark.parametrize("with_keys", [False, True])
def test_a_confined_plugin_gets_incident_numbers(tmp_path, bus, running, wire, with_keys):
    """It does not see the folder of keys, so that foreign code cannot act as the cloud."""
    keys = BackendKeyFolder(tmp_path / "backend")
    keys.create(True, ["cloud"])
    endpoint = free_ports.free_endpoint()
    address = str(BackendAddress(endpoint, keys.root)) if with_keys else endpoint
    store = open_store(None, tmp_path / "store")
    ids = IncidentIds(MaukaSection(incident_id_endpoint=address), CloudContext(lambda: store))
    running.start(ids)
    made = original_plugins(tmp_path, {**bus.settings, INCIDENT_ID_KEY: address}, call_s=60.0)
    running.start(made)
    deploy(made, write_folder(tmp_path / "mine", Asking=plugin_code("Asking", VISITOR)))
    heard, writer = wire.subscriber(bus, "numbers"), wire.publisher(bus.sub)
    for number in (b"1", b"2"):
        writer.send_multipart([b"foo", b""])
        assert heard.recv_multipart()[1] == (b"KeyFileError" if with_keys else number)
    assert ids.counters.total("ids_given") == (0 if with_keys else 2)
    running.end()
    store.close()


def test_a_killed_plugin_analyses_once(tmp_path, running, bus, wire, until):
    """After `kill -9` of a plug-in within an analysis the event is analysed once."""
    port = free_ports.free_port()
    service = original_plugins(tmp_path, bus.settings, call_s=60.0, network=(f"tcp:{port}",))
    running.start(service)
    body = (
        "print('begins', message, flush=True)\n"
        f"while socket.socket().connect_ex(('127.0.0.1', {port})):\n    time.sleep(0.01)\n"
        'self.produce("done", message)'
    )
    deploy(
        service, write_folder(tmp_path / "mine", Slow=plugin_code("Slow", body, head="import socket, time"))
    )
    heard, writer = wire.subscriber(bus, "done"), wire.publisher(bus.sub)
    for number in range(3):
        writer.send_multipart([b"foo", str(number).encode()])
    until(lambda: "begins 0" in service.status("Slow")["output_tail"])
    os.kill(service.status("Slow")["pid"], signal.SIGKILL)
    until(lambda: service.status("Slow")["crashes"] == 1 and service.status("Slow")["ends"] == 1)
    service._plugins["Slow"].kill()
    with socket.create_server(("127.0.0.1", port), backlog=100):
        assert [body for _, body in received(heard, 3)] == [b"0", b"1", b"2"]
        writer.send_multipart([b"foo", b"last"])
        assert heard.recv_multipart() == [b"done", b"last"]  # and none of them a second time


BAD = {
    "Raising": 'raise ValueError("no")',
    "Hanging": "import time\nwhile True:\n    time.sleep(1)",
    "Eating": "held = []\nwhile True:\n    held.append(bytearray(50_000_000))",
}


@pytest.mark.parametrize(
    "name", ["Raising", *(pytest.param(name, marks=pytest.mark.slow) for name in ("Hanging", "Eating"))]
)
def test_a_failing_plugin_is_stopped_and_reported(tmp_path, bus, running, wire, until, name):
    """It fails on every message; the others go on."""
    service = original_plugins(tmp_path, bus.settings, call_s=0.3 if name == "Hanging" else 60.0)
    running.start(service)
    codes = {"Good": plugin_code("Good", 'self.produce("good", message)'), name: plugin_code(name, BAD[name])}
    folder = write_folder(tmp_path / "mine", **codes)
    deploy(service, folder)
    heard, writer = wire.subscriber(bus, "good"), wire.publisher(bus.sub)
    for number in range(100):
        writer.send_multipart([b"foo", str(number).encode()])
    assert [int(body) for _, body in received(heard, 100)] == list(range(100))
    until(lambda: not service.running(name) and "stopped" in (service.status(name)["trouble"] or ""))
    (report,) = [part for part in service.health() if part.name == f"plug-in {name}"]
    assert not report.ok and "in a row" in report.info
    status = until(
        lambda: (status := service.status(name))["waiting"] + status["put_aside"] == 100 and status
    )
    assert status["put_aside"] >= 2
    write_folder(folder, **codes | {name: plugin_code(name, 'self.produce("good", message)')})
    deploy(service, folder)
    assert [int(body) for _, body in received(heard, 100)] == list(range(100))  # nothing of it is lost


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_messages_behind_a_failing_plugin_are_kept(tmp_path, bus, running, wire, until):
    """Ten thousand messages are neither lost nor doubled."""
    service = original_plugins(tmp_path, bus.settings, call_s=5.0)
    running.start(service)
    folder = write_folder(
        tmp_path / "mine", MyFancyPlugin=plugin_code("MyFancyPlugin", "raise RuntimeError('each time')")
    )
    deploy(service, folder)
    writer = wire.publisher(bus.sub)

    def kept():
        status = service.status("MyFancyPlugin")
        return status["waiting"] + status["put_aside"]

    for first in range(0, 10_000, 500):
        for number in range(first, first + 500):
            writer.send_multipart([b"foo", str(number).encode()])
        until(lambda first=first: kept() == first + 500)  # PUB/SUB drops messages that are not read in time
    assert not service.running("MyFancyPlugin")
    heard = wire.subscriber(bus, "topic")
    echo = plugin_code("MyFancyPlugin", 'self.produce("topic", message)')
    deploy(service, write_folder(folder, MyFancyPlugin=echo))
    assert [int(body) for _, body in received(heard, 10_000)] == list(range(10_000))
    until(lambda: kept() == 0)
    assert service.status("MyFancyPlugin")["handled"] == 10_000


def test_a_killed_mauka_finds_what_was_under_way(tmp_path, bus, running, wire, until):
    """The inbox as a kill leaves it: received, and not handled."""
    service = original_plugins(tmp_path, bus.settings)
    stop = running.start(service)
    echo = plugin_code("Echo", 'self.produce("echo", message)')
    deploy(service, write_folder(tmp_path / "mine", Echo=echo))
    service.stop("Echo")
    writer = wire.publisher(bus.sub)
    for number in range(50):
        writer.send_multipart([b"foo", str(number).encode()])
    until(lambda: service.status("Echo")["waiting"] == 50)
    heard = wire.subscriber(bus, "echo")
    stop.set()
    again = original_plugins(tmp_path, bus.settings)
    running.start(again)
    assert [int(body) for _, body in received(heard, 50)] == list(range(50))
    until(lambda: again.status("Echo")["waiting"] == 0)


def test_a_failed_load_changes_nothing(tmp_path, service, bus, wire):
    """The reason is stated."""
    folder = write_folder(tmp_path / "mine", Echo=plugin_code("Echo", 'self.produce("echo", message)'))
    deploy(service, folder)
    heard = wire.subscriber(bus, "echo")
    write_folder(folder, Echo="import plugins.base\nraise RuntimeError('not today')\n")
    with pytest.raises(PluginError, match="not today"):
        deploy(service, folder)
    wire.publisher(bus.sub).send_multipart([b"foo", b"1"])
    assert heard.recv_multipart() == [b"echo", b"1"]
    assert service.status("Echo")["version"] == 1


def test_exit_stops_and_unload_removes_a_plugin(tmp_path, service, bus, wire, until):
    """`exit` comes over the bus."""
    deploy(service, write_folder(tmp_path / "mine", MyFancyPlugin=GUIDE))
    wire.publisher(bus.sub).send_multipart([b"MyFancyPlugin", b"EXIT"])
    until(lambda: not service.running("MyFancyPlugin"))
    service.unload("MyFancyPlugin")
    assert service.names() == []
    with pytest.raises(PluginError, match="is not loaded"):
        service.status("MyFancyPlugin")


def test_the_misprint_and_a_missing_module_are_named(tmp_path):
    folder = write_folder(tmp_path / "mine", MyFancyPlugin=GUIDE.replace("class My", "def My"))
    with pytest.raises(PluginError, match=r"MyFancyPlugin.py, line 7: .*`class MyFancyPlugin"):
        listed_plugins(folder)
    (folder / "plugins" / "MyFancyPlugin.py").unlink()
    with pytest.raises(PluginError, match=r"there is no plugins/MyFancyPlugin\.py"):
        listed_plugins(folder)
    with pytest.raises(PluginError, match="no folder `plugins`"):
        listed_plugins(tmp_path)


def test_an_unwritable_inbox_is_reported(tmp_path, bus, until, monkeypatch):
    """It is opened later."""
    monkeypatch.setattr("opq_cloud.mauka.original.original_plugins.INBOX_RETRY_S", 0.01)
    made = original_plugins(tmp_path, bus.settings)
    in_the_way = made._folder / "inbox.sqlite"
    in_the_way.mkdir(parents=True)
    opened = []
    opening = threading.Thread(target=lambda: opened.append(made._wait_for_inbox(threading.Event())))
    opening.start()
    until(lambda: "unable to open" in made.health()[0].info)
    assert not made.health()[0].ok
    in_the_way.rmdir()
    opening.join(240)
    assert opened[0].add([("MyFancyPlugin", "topic", b"body")]) == {}
    opened[0].close()
    assert made.health()[0].ok
