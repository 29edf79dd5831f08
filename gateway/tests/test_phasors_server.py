"""The stream over TCP: two Boxes' waveforms, measured and streamed, read by the independent client."""

import cmath
import math
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest
from in_thread import in_thread
from pmu_client import Client, command, data_of
from structlog.testing import capture_logs
from waiting import wait_for

from opq_gateway.config import BoxSection, Config, GroupSection
from opq_gateway.config import PhasorsSection as Section
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import DisturbanceNotice, MeasuredFeed, PhasorReport
from opq_gateway.phasors.phasor_server import FIRST_ORDER_S, KEEPALIVE, PhasorServer
from opq_gateway.phasors.stream import stream_of
from opq_measure.synchrophasor.pmu import Pmu
from opq_proto.errors import PortBusyError
from opq_proto.messages import TimeSource
from opq_sim.box.box import Box
from opq_sim.mains.generator import Generator, MainsSignal
from opq_sim.mains.grid import Grid
from opq_sim.mains.sampling import SampleClock
from opq_sim.mains.voltage import Mains, pieces
from opq_sim.mains.wave import Wave

START_NS = 1_800_000_000 * 10**9
RATE = 10


class Served:
    """A stream of Boxes 1 and 4 and what belongs to it."""

    def __init__(self, wait_s: float = 10.0, most_clients: int = 16) -> None:
        self.config = Config(
            box=(BoxSection(id="1", port="a"), BoxSection(id="4", port="b")),
            group=(GroupSection(name="home", boxes=("1", "7", "4")),),
            phasors=Section(reports_per_s=RATE, wait_s=wait_s),
        )
        self.feed = MeasuredFeed()
        self.counters = {"1": BoxCounters(), "4": BoxCounters()}
        self.statuses = {box_id: BoxStatus(box_id, 60) for box_id in self.counters}
        stream = stream_of(self.config, self.statuses, self.counters)
        self.server = PhasorServer("127.0.0.1:0", stream, self.feed, self.counters["1"], most_clients)
        self.port = self.server.port

    def offer(self, box_id: str, number: int, value: complex = 120 + 0j, **more: object) -> None:
        facts: dict[str, object] = {"source": TimeSource.GPS, "uncertainty_ns": 100, "known": True, **more}
        t_ns = START_NS + number * 10**9 // RATE
        self.feed.offer(PhasorReport(box_id, t_ns, value, 60.0, 0.0, **facts))  # type: ignore[arg-type]


@contextmanager
def serving(**more: float) -> Iterator[Served]:
    served = Served(**more)  # type: ignore[arg-type]
    with closing(served.server), in_thread(served.server.run):
        yield served


LAG_CYCLES, SHARE = 31 / 360, 0.93
"""By how much Box 4 lags Box 1, and its share of Box 1's voltage."""
SAMPLED_NS = START_NS + 123_456_789
"""UTC of sample 0 of both; on no report instant."""


def mains_of(box_id: str) -> Mains:
    """One grid with a slow swing of its frequency; every Box has its own converter clock and noise."""
    swing = Grid(60.0, wander_hz=0.05, wander_s=7.0, phase_cycles=0.123)
    if box_id == "1":
        return Mains(grid=swing, noise_v=0.05, seed=1, clock=SampleClock(offset_ppm=-3.0))
    grid = replace(swing, phase_cycles=swing.phase_cycles - LAG_CYCLES)
    return Mains(
        grid=grid, wave=Wave(120.0 * SHARE), noise_v=0.05, seed=4, clock=SampleClock(offset_ppm=20.0)
    )


def truth(box_id: str, time_s: float) -> complex:
    """Rms volts, angle against a cosine of 60 Hz with its crest on the second: the grid's closed form."""
    mains = mains_of(box_id)
    since_s = time_s - SAMPLED_NS / 1e9
    turns = mains.grid.cycles_at(since_s) - 0.25 - 60.0 * (time_s % 1.0)  # sin lags cos by a quarter
    return cmath.rect(mains.wave.fundamental_v, 2 * math.pi * turns)


def test_two_boxes_on_an_axis_round_trip() -> None:
    """From waveforms to the client: TVE below 1 % against the closed form, and so the angle between them."""
    reports = {}
    for box_id in ("1", "4"):
        pmu = Pmu(60.0, RATE)
        reports[box_id] = [
            report
            for piece in pieces(mains_of(box_id), 3 * 12_000, SAMPLED_NS, (1200,))
            for report in pmu.push_samples(piece)
        ]
    read = {}
    with serving() as served, Client(served.port, 7734) as client:
        config = client.config()
        client.ask(2)
        client.ask(3)
        client.await_kind("header")
        for one, four in zip(reports["1"], reports["4"], strict=True):
            for box_id, report in (("4", four), ("1", one)):
                facts = (report.frequency_hz, report.rocof_hz_s, 100, TimeSource.GPS, True)
                served.feed.offer(PhasorReport(box_id, report.time_ns, report.value, *facts))
        while len(read) < 28:
            message = client.next()
            read[message.time_s(config)] = data_of(message, config)
    whole = {at: readings for at, readings in read.items() if not any(each.error for each in readings)}
    assert len(whole) >= 27 and all(abs(at * RATE - round(at * RATE)) < 1e-6 for at in whole)
    worst_tve = 0.0
    for at, readings in whole.items():
        for pmu, reading in zip(config.pmus, readings, strict=True):
            true = truth(str(pmu.id_code), at)
            worst_tve = max(worst_tve, abs(reading.phasors[0] - true) / abs(true))
            true_hz = mains_of(str(pmu.id_code)).grid.hz(np.array([at - SAMPLED_NS / 1e9]))[0]
            assert reading.frequency_hz == pytest.approx(true_hz, abs=0.005)
            assert (reading.unsynchronised, reading.quality, reading.unlocked) == (False, 2, 0)
        one, four = (reading.phasors[0] for reading in readings)
        assert cmath.phase(four / one) == pytest.approx(-2 * math.pi * LAG_CYCLES, abs=0.01)
        assert abs(four / one) == pytest.approx(SHARE, rel=0.01)
    assert worst_tve < 0.01
    print(f"worst TVE {100 * worst_tve:.4f} %")


def test_a_client_gets_data_only_on_order() -> None:
    with serving() as served, Client(served.port, 7734) as client:
        config = client.config()
        served.offer("1", 1)
        served.offer("4", 1)
        wait_for(lambda: served.counters["1"]["phasor_frames"] == 1)
        client.ask(2)
        client.ask(3)
        assert client.next().kind == "header"
        served.offer("1", 2)
        served.offer("4", 2)
        message = client.next()
        assert message.kind == "data" and message.time_s(config) == START_NS / 1e9 + 0.2
        client.ask(1)
        client.ask(3)
        assert client.next().kind == "header"
        served.offer("1", 3)
        served.offer("4", 3)
        wait_for(lambda: served.counters["1"]["phasor_frames"] == 3)
        client.ask(3)
        assert client.next().kind == "header"


def test_a_late_box_is_filled_and_marked() -> None:
    with serving(wait_s=0.3) as served, Client(served.port, 7734) as client:
        config = client.config()
        client.ask(2)
        client.ask(3)
        client.await_kind("header")
        for number in (1, 2):  # both are known from the second on
            served.offer("1", number)
            served.offer("4", number)
        wait_for(lambda: served.counters["1"]["phasor_frames"] >= 2)
        began_s = time.monotonic()
        served.offer("1", 3)
        while (message := client.next()).time_s(config) < START_NS / 1e9 + 0.3:
            assert message.kind == "data"
        assert 0.29 < time.monotonic() - began_s < 60
        one, four = data_of(message, config)
        assert one.error == 0 and abs(one.phasors[0]) == pytest.approx(120) and message.quality == 0
        assert four.error == 2 and math.isnan(abs(four.phasors[0])) and four.unsynchronised
        assert served.counters["4"]["phasors_absent"] >= 1


def test_bad_time_and_disturbances_set_the_status() -> None:
    with serving() as served, Client(served.port, 7734) as client:
        config = client.config()
        client.ask(2)
        client.ask(3)
        client.await_kind("header")
        served.feed.offer(DisturbanceNotice("4", "dip", START_NS, 100, TimeSource.GPS, True, 80.0))
        served.offer("1", 1, known=False)
        served.offer("4", 1, cmath.rect(80, 1.0), source=TimeSource.NTP, uncertainty_ns=3_000_000)
        served.offer("1", 2)
        served.offer("4", 2, cmath.rect(80, 1.0), source=TimeSource.NTP, uncertainty_ns=3_000_000)
        served.feed.offer(DisturbanceNotice("4", "dip", START_NS, 100, TimeSource.GPS, False, 118.0))
        frames = [client.next(), client.next()]
        while frames[-1].time_s(config) < START_NS / 1e9 + 0.2:
            frames.append(client.next())
        unknown = next(data_of(frame, config)[0] for frame in frames)
        assert unknown.error == 2 and math.isnan(unknown.frequency_hz)
        dip = data_of(frames[-1], config)[1]
        assert dip.error == 0 and dip.unsynchronised and dip.quality == 6 and dip.unlocked == 3
        assert dip.phasors[0] == pytest.approx(cmath.rect(80, 1.0), rel=1e-6)
        assert frames[-1].quality == 8  # of the worst: within 10 ms


def test_orders_for_others_are_counted() -> None:
    with serving() as served, Client(served.port, 7734) as client:
        client.socket.sendall(command(7735, 2))
        client.ask(9)
        client.ask(8)
        client.ask(3)
        assert client.next().kind == "header"
        assert served.counters["1"]["phasor_orders_ignored"] == 3


FORM = b"POST / HTTP/1.1\r\nHost: 127.0.0.1:4712\r\nContent-Type: text/plain\r\nOrigin: http://page.example\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        FORM + command(7734, 2) + command(7734, 3),
        FORM,
        b"\r\n",
        command(7734, 3)[:-1] + b"\x00",
        command(7734, 3) + FORM + command(7734, 3),
        b"\xaa\x41\xff\xff",
    ],
    ids=["posted orders", "a form", "a line", "a wrong check", "a form between orders", "too long"],
)
def test_what_is_not_a_frame_ends_the_connection(sent: bytes) -> None:
    """Also an order in the body of a page's request is not carried out."""
    with serving() as served, Client(served.port, 7734) as honest, Client(served.port, 7734) as stranger:
        stranger.socket.sendall(sent)
        received = b""
        with suppress(ConnectionError):
            while data := stranger.socket.recv(4096):
                received += data
        assert (received, served.counters["1"]["phasor_orders_malformed"]) == (b"", 1)
        honest.config()


def test_a_client_that_never_reads_is_cut_off() -> None:
    with serving() as served, Client(served.port, 7734) as slow, Client(served.port, 7734) as good:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        config = good.config()
        for client in (slow, good):
            client.ask(2)
            client.ask(3)
        good.await_kind("header")
        read = 0

        def reading() -> None:
            nonlocal read
            while good.next().kind == "data":
                read += 1

        thread = threading.Thread(target=reading)
        thread.start()
        number = 0
        until = time.monotonic() + 240
        while not served.counters["1"]["phasor_clients_too_slow"]:
            assert time.monotonic() < until
            for _ in range(500):
                number += 1
                served.offer("1", number)
            wait_for(lambda: len(served.server._channel) == 0)
        made = served.counters["1"]["phasor_frames"]
        wait_for(lambda: read >= made - 1)
        good.ask(3)
        thread.join(240)
        assert not thread.is_alive() and config.rate == RATE


def test_more_clients_than_allowed_are_turned_away() -> None:
    with serving(most_clients=1) as served, Client(served.port, 7734) as first:
        first.config()
        with Client(served.port, 7734) as second, pytest.raises((ConnectionError, BrokenPipeError)):
            second.config()
        assert served.counters["1"]["phasor_clients_refused"] == 1
        first.config()


def test_silent_clients_give_their_places_back() -> None:
    """One address has half of them; who orders nothing of this stream in time is ended."""
    served = Served(most_clients=6)
    counted = served.counters["1"]

    def rounds(now_s: float, counter: str, count: int) -> None:
        wait_for(lambda: served.server.run_once([], now_s) or counted[counter] == count)

    with closing(served.server), ExitStack() as ending:
        honest, silent, other, fourth = (
            ending.enter_context(Client(served.port, id_code)) for id_code in (7734, 7734, 9, 7734)
        )
        rounds(0.0, "phasor_clients_refused", 1)
        assert fourth.socket.recv(1) == b"" and counted["phasor_clients"] == 3
        other.ask(5)
        rounds(FIRST_ORDER_S, "phasor_orders_ignored", 1)
        honest.ask(5)
        wait_for(
            lambda: served.server.run_once([], FIRST_ORDER_S) or select.select([honest.socket], [], [], 0)[0]
        )
        assert counted["phasor_clients_silent"] == 0
        served.server.run_once([], FIRST_ORDER_S + 1)
        assert counted["phasor_clients_silent"] == 2
        assert silent.socket.recv(1) == other.socket.recv(1) == b""
        served.server.run_once([], 10 * FIRST_ORDER_S)
        assert counted["phasor_clients_silent"] == 2


def test_a_flood_is_answered_in_one_round() -> None:
    """Connections that wait for the next round would keep others from the backlog."""
    served = Served()
    flood = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(60)]
    served.server.run_once([], time.monotonic())
    assert sum(served.counters["1"][name] for name in COUNTED) == 60
    for each in flood:
        each.close()
    served.server.close()


COUNTED = ("phasor_clients", "phasor_clients_refused")


def test_clients_that_come_and_go_are_few_lines() -> None:
    """A stranger's connections must not fill the log."""
    with capture_logs() as lines, serving() as served:
        for _ in range(100):
            socket.create_connection(("127.0.0.1", served.port)).close()
        wait_for(lambda: sum(served.counters["1"][name] for name in COUNTED) == 100)
    assert len([line for line in lines if line["event"].startswith("phasor_client.")]) < 20


def test_a_gone_client_frees_its_place() -> None:
    with serving() as served, Client(served.port, 7734) as client:
        client.config()
        [peer] = served.server._clients
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert all(peer.getsockopt(socket.IPPROTO_TCP, option) == value for option, value in KEEPALIVE)


def test_a_50_hz_box_changes_the_configuration() -> None:
    with serving() as served, Client(served.port, 7734) as client:
        before = client.config()
        hello = Box("4", Generator(MainsSignal(nominal_hz=50.0))).hello()
        served.statuses["4"].hello = hello
        wait_for(lambda: client.config().pmus[1].nominal_hz == 50)
        after = client.config()
        assert [pmu.nominal_hz for pmu in before.pmus] == [60, 60]
        assert [pmu.changes for pmu in after.pmus] == [1, 1]
        client.ask(2)
        client.ask(3)
        client.await_kind("header")
        served.offer("4", 1)
        assert data_of(client.next(), after)[1].stat & 0x400


def test_a_taken_address_is_reported_before_anything_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        served = Served()
        with pytest.raises(PortBusyError, match=r"phasors\.endpoint"):
            stream = stream_of(served.config, served.statuses, served.counters)
            endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
            PhasorServer(endpoint, stream, served.feed, served.counters["1"])
        served.server.close()
