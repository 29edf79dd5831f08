"""`opq-tools inject`, as a user types it."""

import pytest
from click.testing import CliRunner

from opq_proto.mauka_pb2 import MaukaMessage
from opq_tools.inject import command


@pytest.fixture
def reader(bus, wire):
    return wire.subscriber(bus)


def test_a_stored_event_is_injected_as_the_bridge_tells_it(bus, reader):
    result = CliRunner().invoke(
        command, ["MakaiEvent", "--event-id", "1", "--event-id", "2", "--endpoint", bus.sub]
    )
    assert result.exit_code == 0
    assert result.output == f"published 2 messages on MakaiEvent at {bus.sub}\n"
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


@pytest.mark.parametrize(
    "arguments",
    [
        ["MakaiEvent"],
        ["MakaiEvent", "text", "--event-id", "1"],
        ["Other", "--event-id", "1"],
        ["MakaiEvent", "--event-id", "0"],
        ["MakaiEvent", "text", "--port-offset", "60000"],
    ],
)
def test_wrong_use_ends_with_2_and_says_what_is_wanted(arguments):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert "Error:" in result.output
