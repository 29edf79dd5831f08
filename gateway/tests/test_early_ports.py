"""What a start reads before the gateway is there, and how a Station takes it over."""

import os
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import telling_blocks
from waiting import wait_for

from opq_gateway.ring.ring import Ring
from opq_gateway.serial_side.early_ports import EarlyPorts, early_ports, in_arrears
from opq_proto.link import frames as link
from opq_proto.link.messages import FLAG_RESENT, Command, Hello, LinkMessage, Operation, Resend, Samples
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_sim.box.box import Box

HELLO: Hello = Box("1").hello()


def block(first_sample: int, flags: int = 0) -> Samples:
    counts = np.zeros(200, dtype=np.int16)
    return Samples(
        first_sample, 0, UNKNOWN_UNCERTAINTY_NS, TimeSource.FREE, HELLO.rate_millihz, flags, counts
    )


DECODERS: dict[int, link.Decoder] = {}
"""Of each Box's end: a read may end within a frame."""


@pytest.fixture
def line() -> Iterator[tuple[int, str]]:
    """The Box's end of a pty, and the path of the other."""
    master, slave = os.openpty()
    tty.setraw(slave)
    path = os.ttyname(slave)
    os.close(slave)
    os.set_blocking(master, False)
    DECODERS[master] = link.Decoder()
    yield master, path
    os.close(master)


def heard(master: int) -> list[LinkMessage]:
    """What the gateway's side said."""
    try:
        return [message for _, message in DECODERS[master].feed(os.read(master, 4096))]
    except BlockingIOError:
        return []


def each_once(found: list[LinkMessage]) -> list[LinkMessage]:
    """Without the requests that were made again, because their answer did not come in time."""
    return [message for at, message in enumerate(found) if message not in found[:at]]


def test_a_boxs_past_samples_are_requested_early(
    line: tuple[int, str],
) -> None:
    master, path = line
    ports = EarlyPorts([(path, 921_600, None)])
    sent = link.encode(block(200_000), 0)
    wait_for(lambda: path in ports._open)
    os.write(master, sent)  # what a port holds before it is opened may be dropped with its old settings
    assert heard(master) == []  # before `allow_requests` the link's messages are not read
    ports.allow_requests()
    found: list[LinkMessage] = []
    wait_for(lambda: found.extend(heard(master)) or len(found) >= 2)
    assert each_once(found) == [Command(0xFFFF, Operation.HELLO), Resend(80_000, 120_000)]
    taken = ports.take_port(path)
    assert taken is not None and sent in bytes(taken.data)
    assert taken.requested_s is not None and taken.requested_s <= time.monotonic()
    assert (taken.requested_first, taken.requested_end) == (80_000, 200_200)
    assert ports.take_port(path) is None
    taken.device.close()


def test_samples_beyond_the_room_are_counted(line: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    master, path = line
    monkeypatch.setattr("opq_gateway.serial_side.early_ports.MAX_BYTES", 1)
    ports = EarlyPorts([(path, 921_600, None)])
    wait_for(lambda: path in ports._open)
    port = ports._open[path]
    os.write(master, b"first")
    wait_for(lambda: bytes(port.data) == b"first")
    os.write(master, b"second")
    wait_for(lambda: port.dropped_bytes == len("second"))
    taken = ports.take_port(path)
    assert taken is port and bytes(port.data) == b"first"
    taken.device.close()


@pytest.mark.parametrize(
    ("end_sample", "first_asked"),
    [(161_600, 161_600), (199_800, 199_800), (10_000, 80_000), (300_000, 80_000), (None, 80_000)],
)
def test_a_box_sends_everything_after_the_rings_newest(
    tmp_path: Path, line: tuple[int, str], end_sample: int | None, first_asked: int
) -> None:
    """The ring was written a moment ago: the former gateway was late, or the Box ran faster than time."""
    master, path = line
    ring = Ring(tmp_path, "1", 1.0)
    for first in range(0 if end_sample is None else end_sample - 1000, end_sample or 0, 200):
        ring.append(telling_blocks.block(first))
    if end_sample is None:
        (tmp_path / "000000000001.seg").touch()  # killed before it had written anything
    # `ring` still writes: what was preallocated is there, as after a kill
    assert asked(master, path, tmp_path) == [Resend(first_asked, 200_000 - first_asked)]


def test_an_empty_ring_requests_nothing(tmp_path: Path, line: tuple[int, str]) -> None:
    assert asked(*line, tmp_path / "none") == []


def asked(master: int, path: str, ring: Path) -> list[LinkMessage]:
    """What a start says to a Box whose first live sample is 200,000, after the hello."""
    ports = EarlyPorts([(path, 921_600, ring)])
    ports.allow_requests()
    wait_for(lambda: path in ports._open)
    os.write(master, link.encode(block(90_000, FLAG_RESENT), 0) + link.encode(block(200_000), 1))
    port = ports._open[path]
    wait_for(lambda: port.requested_s is not None)
    more = port.requested_first < 200_000  # a pty hands on what was written later
    found: list[LinkMessage] = []
    wait_for(lambda: found.extend(heard(master)) or len(found) >= 1 + more)
    assert found[0] == Command(0xFFFF, Operation.HELLO)
    return each_once(found)[1:]


def test_samples_lost_on_the_line_are_requested_again(line: tuple[int, str]) -> None:
    """Not what the Box, which sends again in order, goes on with; but what is missing at its end."""
    master, path = line
    ports = EarlyPorts([(path, 921_600, None)])
    ports.allow_requests()
    wait_for(lambda: path in ports._open)
    blocks = [block(200_000)] + [block(first, FLAG_RESENT) for first in (161_600, 161_800, 162_400)]
    os.write(master, b"".join(link.encode(each, at) for at, each in enumerate([*blocks, block(200_400)])))
    found: list[LinkMessage] = []
    wait_for(lambda: found.extend(heard(master)) or len(found) >= 4)
    assert found[1:4] == [Resend(80_000, 120_000), Resend(162_000, 400), Resend(200_200, 200)]
    os.write(
        master,
        b"".join(link.encode(block(first, FLAG_RESENT), 9) for first in (162_000, 162_200, 200_200, 162_600)),
    )
    wait_for(lambda: found.extend(heard(master)) or Resend(162_800, 37_200) in found)
    assert ports._open[path]._arrived == [(161_600, 162_800), (200_000, 200_600)]


def test_a_request_that_was_lost_is_made_again(line: tuple[int, str]) -> None:
    master, path = line
    ports = EarlyPorts([(path, 921_600, None)])
    ports.allow_requests()
    wait_for(lambda: path in ports._open)
    os.write(master, link.encode(block(200_000), 0))
    found: list[LinkMessage] = []
    wait_for(lambda: found.extend(heard(master)) or found.count(Resend(80_000, 120_000)) >= 2)


def test_a_hung_up_port_goes_to_the_station(tmp_path: Path) -> None:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    ports = EarlyPorts([(name, 921_600, None) for name in (path, str(tmp_path / "absent"), "socket://x:1")])
    wait_for(lambda: path in ports._open)
    os.close(slave)
    os.close(master)
    wait_for(lambda: path not in ports._open)
    assert ports.take_port(path) is None and ports.take_port(str(tmp_path / "absent")) is None


@pytest.mark.parametrize("text", ['{"box": 3}', "[[box]]\nid = 1", "nonsense", '{"box": [3]}', ""])
def test_a_wrong_configuration_opens_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    assert early_ports(path)._wanted == [] and early_ports(tmp_path / "none")._wanted == []


def test_a_pipe_is_left_to_the_configuration_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert early_ports(tmp_path / "pipe")._wanted == []  # and it did not wait for a writer


def test_the_hello_comes_first_and_no_arrival_counts() -> None:
    messages = list(enumerate([block(400), HELLO, block(0, FLAG_RESENT), block(600)]))
    found = [message for _, message in in_arrears(messages)]
    assert found[0] == HELLO
    assert [one.first_sample for one in found if isinstance(one, Samples)] == [400, 0, 600]
    assert all(one.flags & FLAG_RESENT for one in found if isinstance(one, Samples))


def test_a_new_starts_hello_stays_at_its_indices() -> None:
    messages = list(enumerate([block(400), HELLO, block(0), block(200)]))
    assert [type(message) for _, message in in_arrears(messages)] == [Samples, Hello, Samples, Samples]
