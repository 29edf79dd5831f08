"""Malformed commands, topics and files for Mauka's plug-ins: an error is answered, and no service ends."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from original_folders import plugin_code, write_folder

from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.operating.plugin_commands import PluginCommands
from opq_cloud.mauka.original.plugins import JOIN_TOPIC, OriginalPlugins
from opq_cloud.mauka.original.settings import read_settings
from opq_cloud.mauka.running.plugin_states import PluginStates
from opq_plugins.original.layout import listed_plugins
from opq_plugins.policy import Policy
from opq_proto.errors import ConfigError, PluginError

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
