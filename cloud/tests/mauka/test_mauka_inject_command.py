"""`opq-tools inject`, as a user types it."""

import json

import pytest
from click.testing import CliRunner

from opq_cloud.store import open_store
from opq_proto.errors import ConfigError
from opq_proto.messages import Trigger
from opq_proto.wire.mauka_pb2 import MaukaMessage
from opq_tools.mauka.inject import command


@pytest.fixture
def reader(bus, wire):
    return wire.subscriber(bus)


def test_a_stored_event_is_injected(bus, reader):
    """A stored event is injected as the bridge announces it."""
    result = CliRunner().invoke(
        command, ["MakaiEvent", "--event-id", "1", "--event-id", "2", "--endpoint", bus.sub]
    )
    assert result.exit_code == 0
    assert result.stdout == f"published 2 messages on MakaiEvent at {bus.sub}\n"
    for event_id in (1, 2):
        topic, body = reader.recv_multipart()
        message = MaukaMessage.FromString(body)
        assert (topic, message.source) == (b"MakaiEvent", "makai_event_bridge")
        assert message.makai_event.event_id == event_id


def test_text_and_files_go_out_as_they_are(bus, reader, tmp_path):
    path = tmp_path / "body"
    path.write_bytes(b"\x00\xff")
    assert CliRunner().invoke(command, ["Mine", "EXIT", "--endpoint", bus.sub]).exit_code == 0
    assert CliRunner().invoke(command, ["Mine", "--file", str(path), "--endpoint", bus.sub]).exit_code == 0
    assert reader.recv_multipart() == [b"Mine", b"EXIT"]
    assert reader.recv_multipart() == [b"Mine", b"\x00\xff"]


def test_a_range_of_history_is_injected_oldest_first(bus, reader, tmp_path):
    store = open_store(None, tmp_path)
    for hour in range(5):
        start_ns = (1_700_000_000 // 3600 + hour) * 3600 * 10**9  # 22:00 to 02:00 UTC
        store.open_event(Trigger(f"token{hour}", start_ns, start_ns + 10**9, ("1",), "1", "test"), "test")
    store.close()
    span = ["--from", "2023-11-14T23:00", "--to", "2023-11-15T02:00+01:00", "--data-dir", str(tmp_path)]
    result = CliRunner().invoke(command, ["MakaiEvent", *span, "--endpoint", bus.sub])
    assert result.exit_code == 0, result.output
    got = [MaukaMessage.FromString(reader.recv_multipart()[1]).makai_event.event_id for _ in range(2)]
    assert got == [2, 3]
    assert not reader.poll(100)


def test_an_event_that_is_not_stored_is_refused(bus, reader, tmp_path):
    store = open_store(None, tmp_path)
    store.open_event(Trigger("token", 10**18, 10**18 + 10**9, ("1",), "1", "test"), "test")
    store.close()
    asked = ["MakaiEvent", "--event-id", "1", "--data-dir", str(tmp_path), "--endpoint", bus.sub]
    refused = CliRunner().invoke(command, [*asked, "--event-id", "99"])
    assert refused.exit_code == 1 and "no event 99 is stored; nothing was published" in refused.output
    assert CliRunner().invoke(command, asked).exit_code == 0
    assert MaukaMessage.FromString(reader.recv_multipart()[1]).makai_event.event_id == 1
    assert not reader.poll(100)


def test_a_range_without_events_says_so(tmp_path):
    span = ["--from", "2023-11-14", "--data-dir", str(tmp_path)]
    result = CliRunner().invoke(command, ["MakaiEvent", *span])
    assert result.exit_code == 1
    assert "no event is stored in that time" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["MakaiEvent"],
        ["MakaiEvent", "text", "--event-id", "1"],
        ["Other", "--event-id", "1"],
        ["MakaiEvent", "--event-id", "0"],
        ["MakaiEvent", "--from", "yesterday"],
        ["MakaiEvent", "--event-id", "1", "--to", "2023-11-14"],
        ["MakaiEvent", "text", "--port-offset", "60000"],
    ],
)
def test_wrong_use_ends_with_2(arguments):
    """Wrong use ends with exit code 2 and states the usage."""
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert "Error:" in result.output


def test_a_device_that_never_ends_is_not_published(bus):
    result = CliRunner().invoke(command, ["Mine", "--file", "/dev/zero", "--endpoint", bus.sub])
    assert "/dev/zero has more than 64 MiB" in str(result.exception)


def test_the_originals_form_reads_its_address(bus, reader, tmp_path, monkeypatch):
    config = tmp_path / "mauka.config.json"
    config.write_text(json.dumps({"zmq.mauka.plugin.pub.interface": bus.sub}))
    result = CliRunner().invoke(command, [str(config), "foo", "some text"])
    assert result.stdout == f"published 1 message on foo at {bus.sub}\n"
    assert reader.recv_multipart() == [b"foo", b"some text"]
    monkeypatch.setenv("MAUKA_BUS", bus.sub)
    config.write_text(json.dumps({"zmq.mauka.plugin.pub.interface": "?MAUKA_BUS"}))
    assert CliRunner().invoke(command, [str(config), "foo", ""]).exit_code == 0
    assert reader.recv_multipart() == [b"foo", b""]
    for words, why in (
        ([str(config), "foo", "text", "--endpoint", bus.sub], "CONFIG or --endpoint, not both"),
        ([str(config), "foo", "two", "words"], "in quotes"),
        ([], "Missing argument"),
    ):
        result = CliRunner().invoke(command, words)
        assert result.exit_code == 2 and why in result.output
    config.write_text("{}")
    result = CliRunner().invoke(command, [str(config), "foo", "text"])
    assert isinstance(result.exception, ConfigError)
    assert "has no zmq.mauka.plugin.pub.interface" in str(result.exception)
