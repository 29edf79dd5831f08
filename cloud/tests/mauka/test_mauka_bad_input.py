"""Malformed commands, topics and files for Mauka's plug-ins: an error is answered, and no service ends."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from original_folders import plugin_code, write_folder

from opq_cloud.core.settings.mauka import MaukaSection, SystemStatsSection
from opq_cloud.mauka.bus.bus_messages import new_message, read_body
from opq_cloud.mauka.bus.incident_notice import read_notice
from opq_cloud.mauka.bus_plugins.plugin_heartbeats import StatusPlugin
from opq_cloud.mauka.bus_plugins.system_stats import SystemStatsPlugin
from opq_cloud.mauka.operating.plugin_commands import PluginCommands
from opq_cloud.mauka.original.original_plugins import JOIN_TOPIC, OriginalPlugins
from opq_cloud.mauka.original.settings import read_settings
from opq_cloud.mauka.running.known.plugin_states import PluginStates
from opq_plugins.original.layout import listed_plugins
from opq_plugins.policy import Policy
from opq_proto.errors import ConfigError, FrameError, PluginError

ODD_NAME = os.fsdecode(b"b\xff.py")
"""Name of a file that is not UTF-8."""


class Wire:
    """The manager's socket with one request."""

    def __init__(self):
        self.said = None

    def send(self, answer):
        self.said = answer.decode()


def no_plugin(name):
    raise PluginError(f"there is no plug-in {name}; the folder has {ODD_NAME}")


def answered(*frames):
    control = SimpleNamespace(start=no_plugin, load_settings=lambda path: len(read_settings(path)))
    wire = Wire()
    PluginCommands(MaukaSection(), control)._answer(wire, list(frames))
    return wire.said


@pytest.mark.parametrize(
    "frames",
    [
        (b"",),
        (b" ",),
        (b"\xff\xfe",),
        (b"x" * 5000,),
        (b"status", b"status"),
        (b"__class__ x",),
        (b"start-plugin",),
        (b"start-plugin \x00",),
        (b"start-plugin ../../x",),
        (b"load-config \x00",),
        (b"load-config /",),
    ],
)
def test_a_command_that_is_none_gets_an_error(frames):
    assert "ERROR" in answered(*frames)


def test_settings_are_not_read_from_a_device(tmp_path):
    """Nor from a pipe."""
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe", tmp_path):
        with pytest.raises(ConfigError, match="no file"):
            read_settings(path)


def test_settings_nested_beyond_reading_are_refused(tmp_path):
    deep = tmp_path / "mauka.config.json"
    deep.write_text("[" * 100_000)
    assert "cannot be read" in answered(f"load-config {deep}".encode())


def test_an_invalid_variable_is_not_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("OPQ_SECRET", "hunter2")
    path = tmp_path / "mauka.config.json"
    path.write_text('{"mongo.port": "!OPQ_SECRET"}')
    said = answered(f"load-config {path}".encode())
    assert "OPQ_SECRET in the environment is not a whole number" in said and "hunter2" not in said


def test_a_similar_topic_does_not_end_mauka(tmp_path):
    """A topic on the bus that begins like ours ends nothing."""
    plugins = OriginalPlugins(tmp_path, {}, Policy(), PluginStates(tmp_path / "plugins.json"))
    plugins._wanted_join = 1
    for rest in ("1x", "", "1" * 5000, "19"):
        plugins._note_join(f"{JOIN_TOPIC}{rest}")
        assert plugins._done_join == 0
    plugins._note_join(f"{JOIN_TOPIC}1")
    assert plugins._done_join == 1


def test_a_deeply_nested_file_is_refused(tmp_path):
    """A file nested beyond reading is refused by name."""
    folder = write_folder(tmp_path / "mine", A=plugin_code("A", "pass"))
    (folder / "plugins" / "A.py").write_text("x = " + "-" * 20_000 + "1\n")
    with pytest.raises(PluginError, match=r"A\.py"):
        listed_plugins(folder)


def beaten(status, source="Peak", state="IDLE"):
    message = new_message(source)
    message.heartbeat.plugin_state, message.heartbeat.status = state, status
    return message


@pytest.mark.parametrize(
    "status",
    [
        '{"messages_received": Infinity, "busy_s": 1}',
        '{"messages_received": 1e999}',
        f'{{"messages_received": {10**400}, "interval_s": -1e308, "busy_s": {10**400}}}',
        '{"last_error": "\\ud800"}',
        '{"last_error": "a\\u001b[31m"}',
        "[" * 100_000,
        "[]",
        '"' + "x" * 2_000_000 + '"',
    ],
)
def test_no_status_of_a_plugin_fails_the_page(status):
    """Its row, the health of all and the document of the minute are made, as JSON that browsers read."""
    plugin = StatusPlugin({}, ["Peak"], lambda: 5.0)
    plugin.on_message("heartbeat", beaten(status))
    text = json.dumps([plugin.plugin_status(), [each.as_json() for each in plugin.health()]], allow_nan=False)
    assert "\\u001b" not in text and text.encode() and len(text) < 5000
    stats = SystemStatsPlugin({}, lambda: None, SystemStatsSection(), Path("/"), lambda: 5.0)
    stats.on_message("heartbeat", beaten(status))
    assert all(0 <= each < 2**63 for row in stats._plugins.values() for each in row.values())


@pytest.mark.parametrize("source", ["a\nb", "x" * 200, "\u202e", "\x1b[31m"])
def test_a_source_that_is_no_name_is_refused(source):
    with pytest.raises(FrameError, match="want a name"):
        read_body(beaten("{}", source).SerializeToString())
    assert read_body(new_message("").SerializeToString()).source == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "[" * 100_000,
        '{"incident": {"id": 1}}',
        '{"kind": "incident", "incident": 3, "boxes": 1}',
    ]
    + [
        f'{{"kind": "incident", "incident": {{"id": {each[0]}}}, "boxes": {each[1]}}}'
        for each in (
            ("0", "1"),
            ("-1", "1"),
            ("1e99", "1"),
            ("1" + "0" * 40, "1"),
            ("true", "1"),
            ("1", "1e999"),
        )
    ],
)
def test_a_notice_without_an_incident_is_refused(text):
    message = new_message("x")
    message.incident_json = text
    with pytest.raises(FrameError):
        read_notice(message)
