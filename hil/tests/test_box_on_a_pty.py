"""A hosted Box seen from the gateway's end of its pty: real ptys, real time, no gateway."""

import os
import select
import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_proto.kit.clock import system_clock
from opq_proto.link import frames as link
from opq_proto.link.log_codes import STARTED
from opq_proto.link.messages import (
    FLAG_RESENT,
    Acknowledgement,
    BoxMeasurement,
    Command,
    Crossing,
    CrossingKind,
    Health,
    Hello,
    LinkMessage,
    Log,
    Operation,
    Resend,
    Samples,
    Settings,
    Status,
)
from opq_proto.messages import TimeSource
from opq_sim.box.box import RING_SAMPLES, Box
from opq_sim.box.box_host import BoxHost
from opq_sim.box.port import PortLink, PtyPort
from opq_sim.box.ring import BoxRing
from opq_sim.box.source import RunClock
from opq_sim.box.wire_faults import HARDWARE, LineFaults
from opq_sim.mains.generator import Generator, Harmonic, MainsSignal
from opq_sim.mains.grid import Grid
from opq_sim.mains.grid_events import disturbance


class Reader:
    """The far end: reads frames, writes commands."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        self.decoder = link.Decoder()
        self.messages: list[LinkMessage] = []
        self.reads: list[int] = []

    def read(self, seconds: float, until: Callable[[], bool] = lambda: False, at_once: int = 4096) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            if select.select([self.fd], [], [], 0.05)[0]:
                data = os.read(self.fd, at_once)
                self.reads.append(len(data))
                self.messages += [message for _, message in self.decoder.feed(data)]

    def ask(self, message: LinkMessage) -> None:
        os.write(self.fd, b"\0" + link.encode(message, 0))

    def of(self, kind: type) -> list:
        return [message for message in self.messages if isinstance(message, kind)]


def test_blocks_come_at_the_true_rate():
    late_s: list[float] = []

    def drift_s() -> float:
        """Over three seconds; the quickest arrival of a second is the one that no scheduler delayed."""
        return min(late_s[-60:]) - min(late_s[-240:-180])

    with BoxHost([Box("1")]) as host:
        reader = Reader(host.ports["1"])
        until = time.monotonic() + 240
        # where the machine stopped for seconds, the next ones are requested
        while len(late_s) < 240 or abs(drift_s()) >= 0.01:
            assert time.monotonic() < until, f"drift of {drift_s()} s in 3 s"
            seen = len(reader.of(Samples))
            reader.read(60.0, lambda seen=seen: len(reader.of(Samples)) > seen)
            assert len(reader.of(Samples)) > seen
            late_s.append(time.monotonic() - reader.of(Samples)[-1].first_sample / 12_000)
        lost = host.lost_bytes("1")
        os.close(reader.fd)
    if not lost:  # as long as this machine has time to read the line
        blocks = reader.of(Samples)
        assert [block.first_sample for block in blocks] == list(range(0, 200 * len(blocks), 200))
        assert set(np.diff([block.t_ns for block in blocks])) <= {16_666_666, 16_666_667}


def test_hello_comes_first_and_commands_are_answered():
    """A command is acknowledged and then answered."""
    with BoxHost([Box("7")]) as host:
        reader = Reader(host.ports["7"])
        reader.read(60.0, lambda: bool(reader.of(Samples)))
        started, hello = reader.messages[:2]
        assert isinstance(started, Log)
        assert started.code == STARTED
        assert isinstance(hello, Hello)
        assert (hello.box_id, hello.rate_millihz) == (7, 12_000_000)
        reader.ask(Command(11, Operation.PUT_SETTING, "site=roof"))
        reader.ask(Command(12, Operation.GET_SETTINGS))
        reader.ask(Command(13, Operation.PUT_SETTING, "no assignment"))
        reader.ask(Command(14, Operation.HELLO))
        reader.read(60.0, lambda: len(reader.of(Acknowledgement)) == 4 and len(reader.of(Hello)) > 1)
        os.close(reader.fd)
    answers = {answer.command_id: answer.status for answer in reader.of(Acknowledgement)}
    assert answers == {11: Status.DONE, 12: Status.DONE, 13: Status.BAD_ARGUMENT, 14: Status.DONE}
    assert ("site", "roof") in reader.of(Settings)[0].values
    assert len(reader.of(Hello)) >= 2


def test_a_reset_changes_boot_id_and_numbers():
    with BoxHost([Box("1")]) as host:
        reader = Reader(host.ports["1"])
        reader.read(60.0, lambda: bool(reader.of(Samples)))

        def after_the_reset() -> list[Samples]:
            blocks = reader.of(Samples)
            return [b for a, b in pairwise(blocks) if b.first_sample <= a.first_sample]

        reader.ask(Command(1, Operation.RESET))
        first = reader.of(Hello)[0].boot_id
        reader.read(60.0, lambda: reader.of(Hello)[-1].boot_id > first and bool(after_the_reset()))
        lost = host.lost_bytes("1")
        os.close(reader.fd)
    hellos = reader.of(Hello)
    assert hellos[-1].boot_id == hellos[0].boot_id + 1
    if not lost:  # as long as this machine has time to read the line
        assert [block.first_sample for block in reader.of(Samples)].count(0) == 2
        assert set(np.diff([block.t_ns for block in reader.of(Samples)])) <= {16_666_666, 16_666_667}


def test_unread_samples_are_counted_and_resent():
    box = Box("1")
    with BoxHost([box]) as host:
        deadline = time.monotonic() + 240
        while host.lost_bytes("1") == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert host.lost_bytes("1") > 0
        reader = Reader(host.ports["1"])

        def holes() -> list[tuple[int, int]]:
            firsts = [block.first_sample for block in reader.of(Samples)]
            return [(a, b) for a, b in pairwise(firsts) if b - a > 200]

        reader.read(60.0, lambda: bool(holes()))
        hole = holes()[0]
        for _ in range(60):  # a busy machine may lose of the answer, too
            reader.ask(Resend(hole[0] + 200, hole[1] - hole[0] - 200))
            reader.read(1.0, lambda: any(b.first_sample == hole[1] - 200 for b in reader.of(Samples)))
            if any(b.first_sample == hole[1] - 200 for b in reader.of(Samples)):
                break
        reader.read(60.0, lambda: any(health.tx_dropped > 0 for health in reader.of(Health)))
        assert any(health.tx_dropped > 0 for health in reader.of(Health))
        os.close(reader.fd)
    blocks = {block.first_sample: block for block in reader.of(Samples)}
    resent = [block for block in blocks.values() if block.flags & FLAG_RESENT]
    if (
        hole[1] - hole[0] < RING_SAMPLES // 2 and len(holes()) == 1
    ):  # else the Box no longer holds it, or more is lost
        assert {block.first_sample for block in resent} == set(range(hole[0] + 200, hole[1], 200))
    assert {block.first_sample for block in resent} <= set(range(hole[0] + 200, hole[1], 200))
    fresh = Generator(seed=1)
    assert np.array_equal(resent[0].counts, fresh.counts(resent[0].first_sample, 200))


def test_resending_heals_a_bad_wire():
    """The wire is slow, cuts and corrupts, as hardware does."""
    faults = LineFaults(HARDWARE.baud, HARDWARE.chunk_bytes, corruption=3e-4, seed=5)
    with BoxHost([Box("1")], faults=faults) as host:
        reader = Reader(host.ports["1"])

        def lacking() -> list[int]:
            have = {block.first_sample for block in reader.of(Samples)}
            return sorted(set(range(0, max(have, default=0), 200)) - have)

        reader.read(60.0, lambda: reader.decoder.crc_errors > 0 and len(lacking()) >= 5)
        missing = lacking()
        assert reader.decoder.crc_errors > 0
        assert missing
        holes = len(missing)
        for _ in range(120):
            for first in missing:
                reader.ask(Resend(first, 200))
            reader.read(0.5)
            have = {block.first_sample for block in reader.of(Samples)}
            healed = sum(first in have for first in missing)
            missing = [first for first in missing if first not in have]
            if not missing or (healed == 0 and max(have) - missing[-1] > 2 * RING_SAMPLES):
                break  # what is left is older than what a Box holds: this machine stopped
        os.close(reader.fd)
    assert len(missing) < holes
    assert not missing or max(have) > 2 * RING_SAMPLES
    assert min(reader.reads) <= 64  # a slow reader finds several pieces at once


def test_garbage_is_counted_and_the_box_continues():
    box = Box("1")
    with BoxHost([box]) as host:
        reader = Reader(host.ports["1"])
        os.write(reader.fd, b"\x05garbage\0" * 50)
        reader.ask(Command(3, Operation.HELLO))
        reader.read(60.0, lambda: bool(reader.of(Acknowledgement)))
        os.close(reader.fd)
    assert reader.of(Acknowledgement)[0].command_id == 3
    assert box.decoder.crc_errors >= 40


def test_an_event_arrives_within_a_tenth_second():
    box = Box("1")
    with BoxHost([box]) as host:
        reader = Reader(host.ports["1"])
        reader.read(60.0, lambda: bool(reader.of(Samples)))
        late_ns: list[int] = []
        until = time.monotonic() + 240
        # where the machine stopped just then, the next one is requested
        while not late_ns or (late_ns[-1] >= 150_000_000 and time.monotonic() < until):
            sent, first = len(box.events_sent), reader.of(Samples)[-1].first_sample
            host.add_event("1", disturbance("sag", depth=0.4, cycles=3))
            requested_ns = time.monotonic_ns()
            reader.read(60.0, lambda sent=sent: len(box.events_sent) > sent)
            late_ns.append(box.events_sent[-1] - requested_ns)
            end = reader.of(Samples)[-1].first_sample + 12_000
            reader.read(60.0, lambda end=end: reader.of(Samples)[-1].first_sample > end)
        os.close(reader.fd)
    assert 0 < late_ns[-1] < 150_000_000
    volts = np.concatenate([b.counts for b in reader.of(Samples) if b.first_sample > first]) * 0.0068
    cycle_rms = np.sqrt(np.mean(volts.reshape(-1, 200) ** 2, axis=1))
    assert cycle_rms.min() == pytest.approx(0.6 * 120, rel=0.01)
    assert np.count_nonzero(cycle_rms < 100) in (3, 4)


def test_an_event_is_sent_before_its_samples():
    """Otherwise a machine that runs the gateway first shows a Measurement before its sample."""

    class WatchedPort(PtyPort):
        def flush(self, now_ns: int) -> None:
            super().flush(now_ns)
            self.readable_ns = time.monotonic_ns()

    box, port, clock = Box("1"), WatchedPort(), RunClock.now()
    try:
        box.start(port, clock)
        box.add_event(disturbance("sag", depth=0.4, cycles=3))
        for tick in range(100):
            box.tick(clock.monotonic_ns + tick * 10**7)
        (sent_ns,) = box.events_sent
        assert sent_ns < port.readable_ns
    finally:
        port.close()


def test_crossings_are_reported_once_limits_are_set():
    with BoxHost([Box("1")]) as host:
        reader = Reader(host.ports["1"])
        reader.ask(Command(1, Operation.CROSSING_LIMITS, "dip=0.9,interruption=0.1"))
        reader.ask(Command(2, Operation.CROSSING_LIMITS, "dip=deep"))
        reader.read(60.0, lambda: len(reader.of(Acknowledgement)) == 2)
        host.add_event("1", disturbance("sag", depth=0.5, cycles=6))
        reader.read(60.0, lambda: len(reader.of(Crossing)) == 2)
        os.close(reader.fd)
    assert [answer.status for answer in reader.of(Acknowledgement)] == [Status.DONE, Status.BAD_ARGUMENT]
    enter, leave = reader.of(Crossing)
    assert (enter.kind, enter.entering, leave.entering) == (CrossingKind.DIP, True, False)
    assert enter.limit_v == pytest.approx(108.0)
    assert 5 * 200 <= leave.sample - enter.sample <= 8 * 200
    block = next(b for b in reader.of(Samples) if b.first_sample == enter.sample)
    assert abs(block.t_ns - enter.t_ns) <= 1


def test_the_box_measures_what_it_sends():
    with BoxHost([Box("1", Generator(MainsSignal(118.0, (Harmonic(5, 4.0),)), Grid(60.05)))]) as host:
        reader = Reader(host.ports["1"])
        reader.read(60.0, lambda: bool(reader.of(BoxMeasurement)))
        os.close(reader.fd)
    figures = reader.of(BoxMeasurement)[0]
    assert figures.rms_v == pytest.approx(118.0 * (1 + 0.04**2) ** 0.5, rel=2e-3)
    assert figures.f_hz == pytest.approx(60.05, abs=0.002)
    assert figures.thd == pytest.approx(0.04, abs=5e-4)


def test_the_clock_never_jumps():
    before = time.time_ns()
    with BoxHost([Box("1")]) as host:
        after = time.time_ns()
        reader = Reader(host.ports["1"])
        reader.read(60.0, lambda: len(reader.of(Samples)) > 12)
        os.close(reader.fd)
    first = reader.of(Samples)[0]
    start_ns = first.t_ns - first.first_sample * 10**12 // 12_000_000
    assert before <= start_ns <= after
    state = system_clock()
    assert first.source == state.source
    for block in reader.of(Samples):
        assert block.t_ns == start_ns + block.first_sample * 10**12 // 12_000_000


COMMANDS = st.builds(Command, st.integers(0, 65_535), st.sampled_from(Operation), st.text(max_size=60))
RESENDS = st.builds(Resend, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))


@given(st.lists(st.binary(max_size=80) | COMMANDS | RESENDS, max_size=30))
@settings(max_examples=60, deadline=None)
def test_every_command_is_answered_once(things: list):
    box, port = Box("1"), PtyPort()
    try:
        box.start(port, RunClock(0, 10**18, 0, TimeSource.FREE))
        box.tick(10**9)
        sent: list[LinkMessage] = []
        port.send = lambda frame: sent.extend(message for _, message in link.Decoder().feed(frame))
        for thing in things:
            box.receive(b"\0" + thing + b"\0" if isinstance(thing, bytes) else link.encode(thing, 0))
        box.tick(11 * 10**8)
    finally:
        port.close()
    answered = [message.command_id for message in sent if isinstance(message, Acknowledgement)]
    assert answered == [thing.command_id for thing in things if isinstance(thing, Command)]
    assert any(isinstance(message, Samples) for message in sent)


def test_a_link_leads_only_to_its_terminal(tmp_path: Path) -> None:
    path = tmp_path / "ports" / "box1"
    master, slave = os.openpty()
    with closing(PortLink(path, os.ttyname(slave))):
        number = os.ttyname(slave)
        assert os.path.realpath(path) == number
        os.close(master)  # as when an emulator ends alone
        os.close(slave)
        new = os.openpty()
        try:
            assert os.ttyname(new[1]) == number
            with pytest.raises(OSError, match="Input/output"):
                os.open(path, os.O_RDWR | os.O_NOCTTY)
            with closing(PortLink(path, os.ttyname(new[1]))):  # made again at the same place
                again = os.open(path, os.O_RDWR | os.O_NOCTTY)
                assert os.ttyname(again) == number
                os.close(again)
        finally:
            os.close(new[0])
            os.close(new[1])
        assert not path.is_symlink()
    assert list(path.parent.iterdir()) == []


def test_two_boxes_with_one_id_are_refused():
    with pytest.raises(ValueError, match="same id"):
        BoxHost([Box("1"), Box("1")])


def test_a_boxs_figures_restart_after_a_hole() -> None:
    """As the firmware's do; joined over a hole, the samples have another frequency."""
    ring, rate_hz = BoxRing(192, 200), 12_000.0
    at = np.arange(0, 40_000)
    counts = np.round(18_000 * np.sin(2 * np.pi * 60.0 * at / rate_hz)).astype(np.int16)

    def append(first: int) -> None:
        ring.append(Samples(first, 0, 0, TimeSource.GPS, 12_000_000, 0, counts[first : first + 200]))

    for first in range(0, 12_000, 200):
        append(first)
    whole = ring.figures(rate_hz, 0.01, 60.0)
    assert whole is not None and whole.f_hz == pytest.approx(60.0, abs=0.01)
    found = []
    for first in range(20_050, 32_050, 200):  # a hole of 8,050 samples, no whole number of cycles
        append(first)
        found.append(ring.figures(rate_hz, 0.01, 60.0))
    assert found[:29] == [None] * 29, "until half a second after the hole"
    assert all(each is not None and each.f_hz == pytest.approx(60.0, abs=0.01) for each in found[29:])
