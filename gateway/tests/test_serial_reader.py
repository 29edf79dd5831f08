"""One reader for all ports: real ptys and TCP sockets, plugs pulled, Boxes that flood, hang or break things.

Each peer is a pty (or socket) whose other end the test holds; blocks are counted by what came behind.
"""

import contextlib
import fcntl
import os
import select
import socket
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st
from rfc2217_server import served
from waiting import wait_for

from opq_gateway.blocks import SampleBlock
from opq_gateway.config import BoxSection
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.ring.lost import MACHINE_PAUSED, NOT_RESENT
from opq_gateway.ring.ring import Ring
from opq_gateway.serial_side import station as station_module
from opq_gateway.serial_side.early_ports import EarlyPort, EarlyPorts
from opq_gateway.serial_side.intake import Intake
from opq_gateway.serial_side.port import FULL_TTY_BYTES, OUT_BYTES, SerialPort
from opq_gateway.serial_side.reader import SerialReader
from opq_gateway.serial_side.station import BoxStation
from opq_proto.kit.open_port import open_port
from opq_proto.link.frames import Decoder, encode
from opq_proto.link.messages import Command, Hello, LinkMessage, Operation, Samples
from opq_proto.messages import Gap, TimeSource

HELLO = Hello(1, 1, 5, 12_000_000, 0.0068, 120.0, 60.0, 15.0, 200, 120_000, "test", "1")
T0_NS = 1_700_000_000_000_000_000


def samples(first: int) -> Samples:
    counts = np.arange(first, first + 200).astype(np.int16)
    return Samples(first, T0_NS + first * 10**12 // 12_000_000, 100, TimeSource.GPS, 12_000_000, 0, counts)


class Pty:
    """A Box's end of a pty, with a link to the other."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self.master, False)
        self.device = os.ttyname(slave)
        self.slave: int | None = slave
        self.sequence = 0
        self.decoder = Decoder()
        self.said: list[LinkMessage] = []
        fresh = link.with_name(link.name + ".new")
        fresh.symlink_to(self.device)
        fresh.replace(link)

    def send(self, *messages: LinkMessage) -> None:
        for message in messages:
            rest = encode(message, self.sequence)
            while rest:  # a tty holds a tenth of a second, and a busy machine may read it later
                assert select.select([], [self.master], [], 60.0)[1], "the port is not read"
                with contextlib.suppress(BlockingIOError):
                    rest = rest[os.write(self.master, rest) :]
            self.sequence += 1

    def unread_bytes(self) -> int:
        """Bytes that the gateway's end holds."""
        assert self.slave is not None
        return int.from_bytes(fcntl.ioctl(self.slave, termios.FIONREAD, bytes(4)), sys.byteorder)

    def heard(self) -> list[LinkMessage]:
        with contextlib.suppress(BlockingIOError, OSError):
            self.said += [message for _, message in self.decoder.feed(os.read(self.master, 65_536))]
        return self.said

    def unplug(self) -> None:
        """As USB does it: the tty hangs up and its link goes."""
        self.link.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        for fd in (self.master, self.slave):
            if fd is not None:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self.slave = None


class Behind:
    """Keeps what comes; throws once where it is told to."""

    def __init__(self) -> None:
        self.blocks: dict[str, list[SampleBlock]] = {}
        self.gaps: list[Gap] = []
        self.throw = ""

    def restart(self, box_id: str, hello: Hello) -> None:
        self.blocks.setdefault(box_id, [])

    def accept_blocks(self, box_id: str, blocks: Sequence[SampleBlock]) -> None:
        if self.throw == box_id:
            self.throw = ""
            raise RuntimeError("a defect behind the serial side")
        self.blocks[box_id] += blocks

    def gap(self, box_id: str, gap: Gap) -> None:
        self.gaps.append(gap)

    def figures(self, *_: object) -> None: ...

    def crossing(self, *_: object) -> None: ...

    def count(self, box_id: str) -> int:
        return sum(len(block.counts) for block in self.blocks.get(box_id, []))


class Gateway:
    """A reader in its thread, with a Station and Intake per port."""

    def __init__(self, folder: Path, **ports: str) -> None:
        self.behind = Behind()
        self.counters: dict[str, BoxCounters] = {}
        self.statuses: dict[str, BoxStatus] = {}
        self.intakes: dict[str, Intake] = {}
        self.reader = SerialReader(round_s=0.005)
        self.stop = threading.Event()
        for name, port in ports.items():
            box_id = name.removeprefix("box")
            counters, status = BoxCounters(), BoxStatus(box_id, 60)
            station = BoxStation(BoxSection(id=box_id, port=port), status, counters)
            ring = Ring(folder / f"ring{box_id}", box_id, 1.0)
            intake = Intake(status, ring, counters, station.send, self.behind)
            self.reader.add(station, intake)
            self.counters[box_id], self.statuses[box_id], self.intakes[box_id] = counters, status, intake
        self.thread = threading.Thread(target=self.reader.run, args=(self.stop,))

    def __enter__(self) -> "Gateway":
        self.thread.start()
        return self

    def opened(self, times: int = 1, *boxes: str) -> None:
        """Opening a port throws away what stood in it: wait before anything is sent."""
        for box_id in boxes or self.counters:
            wait_for(lambda box_id=box_id: self.counters[box_id]["serial_opened"] >= times)

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(240)
        assert not self.thread.is_alive()


@pytest.fixture
def ptys(tmp_path: Path) -> Iterator[Callable[[str], Pty]]:
    made: list[Pty] = []

    def make(name: str = "box1") -> Pty:
        made.append(Pty(tmp_path / name))
        return made[-1]

    yield make
    for pty in made:
        pty.close()


def hello(box_id: int) -> Hello:
    return replace(HELLO, box_id=box_id)


def blocks_of(pty: Pty, first: int, end: int, pause_s: float = 0.0) -> None:
    for at in range(first, end, 200):
        pty.send(samples(at))
        time.sleep(pause_s)


def test_many_boxes_are_read_by_one_thread(tmp_path: Path, ptys: Callable[[str], Pty]) -> None:
    boxes = {f"box{k}": ptys(f"box{k}") for k in range(1, 9)}
    threads = threading.active_count()
    with Gateway(tmp_path, **{name: str(pty.link) for name, pty in boxes.items()}) as gateway:
        gateway.opened()
        for k, pty in enumerate(boxes.values(), 1):
            pty.send(hello(k))
        for at in range(0, 4000, 200):
            for pty in boxes.values():
                pty.send(samples(at))
            time.sleep(0.003)
        wait_for(lambda: all(gateway.behind.count(str(k)) == 4000 for k in range(1, 9)))
        wait_for(lambda: threading.active_count() <= threads + 1)
        for counters in gateway.counters.values():
            assert counters["frame_crc_errors"] == counters["frame_sequence_gaps"] == counters["gaps"] == 0
            assert counters["serial_opened"] == 1


def test_a_replugged_box_returns_by_its_link(tmp_path: Path, ptys: Callable[[str], Pty]) -> None:
    first = ptys("box1")
    with Gateway(tmp_path, box1=str(first.link)) as gateway:
        gateway.opened()
        first.send(hello(1))
        blocks_of(first, 0, 2000, 0.001)
        wait_for(lambda: gateway.behind.count("1") == 2000)
        first.unplug()
        wait_for(lambda: "no such port" in gateway.statuses["1"].serial_problem)
        wait_for(lambda: not gateway.statuses["1"].serial_open and gateway.counters["1"]["serial_lost"] == 1)
        second = ptys("box1")
        assert second.link == first.link
        gateway.opened(2)
        second.send(hello(1))
        blocks_of(second, 2000, 3000, 0.001)
        wait_for(lambda: gateway.behind.count("1") == 3000)
        assert gateway.counters["1"]["failures"] == 0


def test_a_long_unplugged_box_returns_quickly(tmp_path: Path, ptys: Callable[[str], Pty]) -> None:
    status, counters = BoxStatus("1", 60), BoxCounters()
    station = BoxStation(BoxSection(id="1", port=str(tmp_path / "box1")), status, counters)
    intake = Intake(status, Ring(tmp_path / "ring", "1", 1.0), counters, station.send, Behind())
    station.attach(intake, select.poll())
    steps = np.arange(0.0, 60.0, 0.03).tolist()
    for now_s in steps:
        station.round(0, now_s)
    assert "no such port" in status.serial_problem
    ptys("box1")
    until_s = steps[-1] + 1.1
    for now_s in np.arange(steps[-1], until_s, 0.03).tolist():
        station.round(0, now_s)

    def opened() -> bool:
        station.round(0, until_s)
        return status.serial_open

    wait_for(opened)
    station.close()


def test_a_moved_link_is_followed(
    tmp_path: Path, ptys: Callable[[str], Pty], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station_module, "CHECK_S", 0.02)
    first = ptys("box1")
    with Gateway(tmp_path, box1=str(first.link)) as gateway:
        wait_for(lambda: gateway.statuses["1"].serial_open)
        first.link.unlink()
        time.sleep(0.1)
        assert gateway.statuses["1"].serial_open  # a link that is gone says nothing of the device
        second = ptys("box1")
        gateway.opened(2)
        second.send(hello(1), samples(0))
        wait_for(lambda: gateway.behind.count("1") == 200)


def test_a_mute_port_is_reopened(
    tmp_path: Path, ptys: Callable[[str], Pty], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station_module, "SILENT_S", 0.1)
    monkeypatch.setattr(station_module, "CHECK_S", 0.02)
    with Gateway(tmp_path, box1=str(ptys("box1").link)) as gateway:
        wait_for(lambda: gateway.counters["1"]["serial_opened"] >= 2)


def heard_at_another_baud(sent: bytes, ratio: float) -> bytes:
    """What a UART (8N1) receives of a line whose bits last `ratio` of its own; a framing error is a byte."""
    line = [1, *(bit for byte in sent for bit in (0, *(byte >> k & 1 for k in range(8)), 1)), 1]
    heard, now, end = bytearray(), 0.0, len(line) * ratio
    while now + 10 < end:
        if line[int(now / ratio)]:
            now += 0.0625
            continue
        heard.append(sum(line[int((now + 1.5 + k) / ratio)] << k for k in range(8)))
        now += 9.5  # in the stop bit; a line that is low there begins another byte
    return bytes(heard)


def test_a_wrong_crystals_line_is_reported(
    tmp_path: Path, ptys: Callable[[str], Pty], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(station_module, "UNREADABLE_S", 0.1)
    monkeypatch.setattr(station_module, "CHECK_S", 0.02)
    sent = b"".join(encode(message, k) for k, message in enumerate((hello(1), samples(0), samples(200))))
    assert heard_at_another_baud(sent, 1.0) == sent
    pty = ptys("box1")
    with Gateway(tmp_path, box1=str(pty.link)) as gateway:
        gateway.opened()
        status = gateway.statuses["1"]

        def reported() -> bool:
            os.write(pty.master, heard_at_another_baud(sent, 25 / 8))
            return status.serial_unreadable

        wait_for(reported)
        assert "another crystal" in (status.problem(time.monotonic()) or "")
        pty.send(hello(1), samples(0))
        wait_for(lambda: gateway.behind.count("1") == 200 and not status.serial_unreadable)
        assert gateway.counters["1"]["serial_unreadable"] == 1


def test_a_noise_byte_is_not_a_crystal(tmp_path: Path, ptys: Callable[[str], Pty]) -> None:
    """The Box loses power and its adapter stays; noise that lasts is reported."""
    pty, status, counters = ptys("box1"), BoxStatus("1", 60), BoxCounters()
    station = BoxStation(BoxSection(id="1", port=str(pty.link)), status, counters)
    intake = Intake(status, Ring(tmp_path / "ring", "1", 1.0), counters, station.send, Behind())
    station.attach(intake, select.poll())

    def opened() -> bool:
        station.round(0, 100.0)
        return status.serial_open

    def receive(data: bytes, now_s: float) -> None:
        os.write(pty.master, data)
        wait_for(pty.unread_bytes)
        station.round(select.POLLIN, now_s)

    wait_for(opened)
    receive(encode(hello(1), 0), 101.0)
    assert status.hello is not None
    for now_s in (102.5, 107.0, 113.0):
        station.round(0, now_s)
    for now_s in range(114, 126):
        receive(b"\x55", now_s)
        assert not status.serial_unreadable
    receive(b"\x55", 126.0)
    assert status.serial_unreadable and counters["serial_unreadable"] == 1
    station.close()


def test_a_flooding_box_delays_no_other(tmp_path: Path, ptys: Callable[[str], Pty]) -> None:
    flood, good = ptys("box1"), ptys("box2")
    stop = threading.Event()

    def pour() -> None:
        junk = os.urandom(3000) + bytes(1000)
        while not stop.is_set():
            try:
                os.write(flood.master, junk)
            except BlockingIOError:
                time.sleep(0.0005)

    pouring = threading.Thread(target=pour)
    with Gateway(tmp_path, box1=str(flood.link), box2=str(good.link)) as gateway:
        gateway.opened()
        pouring.start()
        try:
            good.send(hello(2))
            blocks_of(good, 0, 12_000, 0.01)
            wait_for(lambda: gateway.behind.count("2") == 12_000)
            wait_for(lambda: gateway.counters["1"]["frame_crc_errors"] > 100)
        finally:
            stop.set()
            pouring.join()
        assert gateway.counters["2"]["missing_samples"] == 0
        assert gateway.counters["1"]["failures"] == 0


@pytest.mark.parametrize("reads_late", [True, False])
def test_a_full_buffers_losses_are_not_the_lines(
    reads_late: bool, tmp_path: Path, ptys: Callable[[str], Pty]
) -> None:
    """A gateway with a tenth of a core never stops for long, and reads too late all the time."""
    pty, now_s = ptys("box1"), [100.0]
    behind, counters, status = Behind(), BoxCounters(), BoxStatus("1", 60)
    station = BoxStation(BoxSection(id="1", port=str(pty.link)), status, counters)
    ring = Ring(tmp_path / "ring1", "1", 1.0)
    reader = SerialReader(monotonic_s=lambda: now_s[0])
    reader.add(station, Intake(status, ring, counters, station.send, behind))

    def serve() -> None:
        now_s[0] += 0.1
        reader.round(now_s[0])

    def opened() -> bool:
        serve()
        return counters["serial_opened"] == 1

    wait_for(opened)
    pty.send(hello(1), samples(0))
    wait_for(lambda: serve() or behind.count("1") == 200)
    for at in range(200, 2800, 200):
        frame = encode(samples(at), pty.sequence)
        pty.sequence += 1
        os.write(pty.master, frame)  # ten of them are more than a tty holds
        if not reads_late:  # the kernel may hand it on later
            wait_for(lambda frame=frame: pty.unread_bytes() >= len(frame))
            serve()
    if reads_late:
        wait_for(lambda: pty.unread_bytes() >= FULL_TTY_BYTES)
        serve()
    for at in range(3000, 3000 + 400_000, 200):  # beyond all that the Box could send again
        pty.send(samples(at))
        wait_for(pty.unread_bytes)
        serve()
        if behind.gaps:
            break
    reasons = {gap.reason for gap in behind.gaps}
    assert reasons == ({MACHINE_PAUSED} if reads_late else {NOT_RESENT})


class OpenedBefore(EarlyPorts):
    """One port that the start opened, and whose backlog it has read."""

    def __init__(self, path: Path) -> None:
        super().__init__(())
        self._port = EarlyPort(open_port(str(path), 921_600, timeout_s=0, write_timeout_s=1.0), None)

    def take_port(self, path: str) -> EarlyPort:
        return self._port


@pytest.mark.parametrize(
    ("is_early", "reads"),
    [
        pytest.param(False, ((4096, 0), (4096, 0), (400, 0), (4096, 1)), id="opened now"),
        pytest.param(True, ((4096, 0), (4096, 1)), id="opened by the start"),
    ],
)
def test_an_openings_backlog_is_no_late_read(
    tmp_path: Path, ptys: Callable[[str], Pty], is_early: bool, reads: tuple[tuple[int, int], ...]
) -> None:
    """A Box that was replugged has filled its port before the gateway opens it, and goes on to fill it; the
    start of a gateway has read what had filled it."""
    pty, now_s = ptys("box1"), 100.0
    behind, counters, status = Behind(), BoxCounters(), BoxStatus("1", 60)
    early = OpenedBefore(pty.link) if is_early else None
    station = BoxStation(BoxSection(id="1", port=str(pty.link)), status, counters, early)
    intake = Intake(status, Ring(tmp_path / "ring1", "1", 1.0), counters, station.send, behind)
    station.attach(intake, select.poll())
    station.stalled(0.4)
    assert counters["stalls"] == 0, "the line was out"

    def opened() -> bool:
        station.round(0, now_s)
        return counters["serial_opened"] == 1

    wait_for(opened)
    for bytes_read, stalls in reads:
        os.write(pty.master, bytes(bytes_read))
        least = min(bytes_read, FULL_TTY_BYTES)
        wait_for(lambda least=least: pty.unread_bytes() >= least)
        now_s += 0.03
        station.round(select.POLLIN, now_s)
        assert counters["stalls"] == stalls
        if bytes_read > FULL_TTY_BYTES:  # the last byte comes later
            wait_for(pty.unread_bytes)
    station.close()


def test_a_throwing_box_is_reopened_alone(tmp_path: Path, ptys: Callable[[str], Pty]) -> None:
    one, two = ptys("box1"), ptys("box2")
    with Gateway(tmp_path, box1=str(one.link), box2=str(two.link)) as gateway:
        gateway.opened()
        one.send(hello(1), samples(0))
        two.send(hello(2))
        wait_for(lambda: gateway.behind.count("1") == 200)
        gateway.behind.throw = "1"
        one.send(samples(200))
        blocks_of(two, 0, 2000, 0.001)
        wait_for(lambda: gateway.behind.count("2") == 2000)
        gateway.opened(2, "1")
        assert gateway.counters["1"]["failures"] == 1 and gateway.counters["2"]["failures"] == 0
        assert gateway.counters["2"]["serial_opened"] == 1
        one.send(samples(400))
        wait_for(lambda: gateway.behind.count("1") >= 400)


def test_a_tcp_port_is_lost_and_found(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
        with Gateway(tmp_path, box1=url) as gateway:
            for turn in range(2):
                peer, _ = server.accept()
                with peer:
                    gateway.opened(turn + 1)
                    peer.sendall(encode(hello(1), 0) + encode(samples(200 * turn), 1))
                    wait_for(lambda turn=turn: gateway.behind.count("1") == 200 * (turn + 1))
            wait_for(lambda: gateway.counters["1"]["serial_lost"] == 2)
            assert gateway.counters["1"]["serial_opened"] >= 2 and gateway.counters["1"]["failures"] == 0


def test_a_serial_server_is_read_and_written(tmp_path: Path, ptys: Callable[[str], Pty]) -> None:
    box = ptys("box1")
    with served(str(box.link)) as (url, _), Gateway(tmp_path, box1=url) as gateway:
        gateway.opened()
        box.send(hello(1), samples(0))
        wait_for(lambda: gateway.behind.count("1") == 200)
        assert gateway.intakes["1"].commands.send_command(Operation.HELLO, "", 5.0, lambda _: None)
        wait_for(lambda: any(isinstance(said, Command) for said in box.heard()))
        assert gateway.counters["1"]["frame_crc_errors"] == gateway.counters["1"]["failures"] == 0


def test_a_mute_tcp_port_delays_no_other(
    tmp_path: Path, ptys: Callable[[str], Pty], monkeypatch: pytest.MonkeyPatch
) -> None:
    over, opened = threading.Event(), serial.serial_for_url

    def answers_late(url: str, **options: object) -> serial.Serial:
        if url.startswith("socket://"):
            over.wait(600)  # a connection's time-out is 5 s, and a machine may stop for as long
            raise OSError("timed out")
        return opened(url, **options)

    monkeypatch.setattr(serial, "serial_for_url", answers_late)
    good = ptys("box2")
    try:
        with Gateway(tmp_path, box1="socket://127.0.0.1:9", box2=str(good.link)) as gateway:
            gateway.opened(1, "2")
            good.send(hello(2))
            blocks_of(good, 0, 2000, 0.001)
            wait_for(lambda: gateway.behind.count("2") == 2000)
            assert gateway.counters["1"]["serial_opened"] == 0
    finally:
        over.set()


def test_a_full_line_refuses_at_once(ptys: Callable[[str], Pty]) -> None:
    pty = ptys("box1")
    port = SerialPort(serial.serial_for_url(str(pty.link), timeout=0))
    frame = encode(Command(1, Operation.HELLO), 0)
    taken = 0
    while port.send(frame):  # the master is not read: the tty fills up, then OUT_BYTES
        taken += len(frame)
        assert taken < 1_000_000
    assert taken > OUT_BYTES
    got = b""
    while len(got) < taken:
        port.flush()
        got += os.read(pty.master, 65_536)
    assert len(Decoder().feed(got)) == taken // len(frame)
    port.close()


def test_a_port_without_descriptor_uses_a_pump() -> None:
    port = SerialPort(serial.serial_for_url("loop://", timeout=0))
    sent = [encode(samples(at), at // 200) for at in range(0, 4000, 200)]
    got = b""
    for frame in sent:
        assert port.send(frame)
        until = time.monotonic() + 240
        while len(got) < sum(len(each) for each in sent[: sent.index(frame) + 1]):
            with contextlib.suppress(BlockingIOError):
                got += port.read()
            assert time.monotonic() < until
    assert got == b"".join(sent)
    port.close()


def test_the_reader_ends_during_openings(tmp_path: Path) -> None:
    with Gateway(tmp_path, box1=str(tmp_path / "absent"), box2="nonsense://x") as gateway:
        wait_for(lambda: gateway.statuses["2"].serial_problem and gateway.statuses["1"].serial_problem)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 60.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=4000), st.integers(1, 600)), min_size=1, max_size=6),
    st.integers(1, 700),
)
def test_after_garbage_the_second_frame_is_read(garbage: list[bytes | int], piece: int) -> None:
    """Garbage is bytes, or a good frame cut after so many; the frame that touches it may be lost."""
    decoder = Decoder()
    stream = b""
    for number, junk in enumerate(garbage):
        stream += junk if isinstance(junk, bytes) else encode(samples(0), 7)[:junk]
        stream += encode(samples(400 * number), 2 * number) + encode(
            samples(400 * number + 200), 2 * number + 1
        )
    heard = []
    for at in range(0, len(stream), piece):
        heard += [message for _, message in decoder.feed(stream[at : at + piece])]
    seen = {message.first_sample for message in heard if isinstance(message, Samples)}
    assert {400 * number + 200 for number in range(len(garbage))} <= seen
