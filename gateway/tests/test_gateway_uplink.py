"""The uplink on real sockets: new first, what was not heard or acknowledged in between, nothing lost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import zmq
from full_disk import full_disk
from uplink_bench import DIP, NEVER_S, PATIENT, Bench, measurement
from waiting import wait_for

from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.uplink.backlog import CloudAcknowledgement
from opq_gateway.uplink.box_uplink import ANSWERS_WAITING, BoxUplink, UplinkTimeouts
from opq_gateway.uplink.connection import RECONNECT_S, Timing, UplinkConnection
from opq_gateway.uplink.queue import Queue
from opq_gateway.uplink.uplink import ANSWER_BYTES
from opq_proto.keys.key_files import KeyFolder, KeyPair
from opq_proto.measurement.wire import measurement_from_wire
from opq_proto.messages import Metric, TimeSource


@contextmanager
def closed(bench: Bench) -> Iterator[Bench]:
    try:
        yield bench
    finally:
        bench.uplink.close()
        bench.queue.close()


@pytest.fixture
def bench(tmp_path: Path, makai: Any, keys: KeyFolder) -> Iterator[Bench]:
    with closed(Bench(tmp_path, makai, keys)) as made:
        yield made


def test_a_stalled_uplink_drops_and_counts_the_oldest(bench: Bench) -> None:
    bench.publish(*range(250))
    assert bench.counters["measurements_overflow"] == 150


def test_answers_are_bounded_in_number_and_bytes(bench: Bench) -> None:
    for _ in range(ANSWERS_WAITING + 6):
        bench.uplink.respond("1", [b"x"])
    assert bench.counters["responses_dropped"] == 6
    bench.restart()
    bench.uplink.respond("1", [b"x" * (ANSWER_BYTES + 1)])  # one alone may be any size
    bench.uplink.respond("1", [b"x"])
    assert bench.counters["responses_dropped"] == 7


def test_answers_left_at_the_end_are_dropped(bench: Bench, makai: Any) -> None:
    makai.stop()
    with bench.running(connected=False):
        bench.uplink.respond("1", [b"x"])
        bench.uplink.respond("1", [b"y"])
    assert (bench.counters["responses_sent"], bench.counters["responses_dropped"]) == (0, 2)


def test_a_burst_of_answers_arrives_whole(bench: Bench, makai: Any) -> None:
    with bench.running():
        for number in range(ANSWERS_WAITING):
            bench.uplink.respond("1", [b"%d" % number, b"x" * 100_000])
        wait_for(lambda: len(makai.answers) == ANSWERS_WAITING)
    assert [int(frames[0]) for frames in makai.answers] == list(range(ANSWERS_WAITING))
    assert (bench.counters["responses_sent"], bench.counters["responses_dropped"]) == (ANSWERS_WAITING, 0)


def test_a_thousand_measurements_arrive_once(bench: Bench, makai: Any) -> None:
    with bench.running():
        for number in range(1000):
            bench.publish(number)
            if number % 50 == 49:  # the channel holds 100
                wait_for(lambda made=number + 1: bench.first_tries() == made)
        wait_for(lambda: len(makai.measurements) >= 1000)
    assert sorted(bench.numbers()) == list(range(1000))
    assert bench.numbers(backfilled=False) == sorted(bench.numbers(backfilled=False))
    assert {m.sequence for m in makai.decoded()} == set(range(1000, 2000))
    assert {m.oldest_sequence for m in makai.decoded()} == {1000}
    assert bench.counters["measurements_overflow"] == 0


def test_an_original_broker_gets_unheard_ones_once(bench: Bench, makai: Any) -> None:
    makai.stop()
    with bench.running(connected=False):
        bench.publish(*range(60))
        wait_for(lambda: bench.counters["measurements_unheard"] == 60)
        makai.start()
        wait_for(lambda: bench.status.connected)
        bench.publish(60)
        wait_for(lambda: len(makai.measurements) >= 61)
        makai.stop()
        wait_for(lambda: not bench.status.connected)
        makai.start()  # an original broker: what was handed over is not sent again
        wait_for(lambda: bench.status.connected)
        bench.publish(61)
        wait_for(lambda: 61 in bench.numbers())
    assert bench.numbers() == list(range(62))
    assert set(bench.numbers(backfilled=True)) >= set(range(60))
    times = {m.sequence: (m.start_ns, m.end_ns, m.source) for m in makai.decoded()}
    assert times[1000] == (measurement(0).start_ns, measurement(0).end_ns, TimeSource.GPS)


def test_an_acknowledging_cloud_empties_the_queue(bench: Bench, makai: Any) -> None:
    """After a reconnect it gets the rest."""
    with bench.running():
        bench.publish(*range(10))
        wait_for(lambda: len(makai.measurements) == 10)
        bench.uplink.acknowledge("1", CloudAcknowledgement(1003))
        wait_for(lambda: bench.status.acknowledging and bench.queue.held("1") == (1004, 1010))
        makai.stop()
        wait_for(lambda: not bench.status.connected)
        makai.start()
        wait_for(lambda: len(makai.measurements) == 16)
        assert bench.numbers(backfilled=True) == list(range(4, 10))
        assert {m.oldest_sequence for m in makai.decoded()[10:]} == {1004}
        bench.uplink.acknowledge("1", CloudAcknowledgement(1009))
        wait_for(lambda: bench.queue.held("1") is None)
        bench.publish(10)
        wait_for(lambda: len(makai.measurements) == 17)
        assert makai.decoded()[-1].oldest_sequence == 1010


def test_a_second_store_keeps_its_missing_ones(bench: Bench, makai: Any) -> None:
    def acknowledge(store: str, upto: int, following: int) -> None:
        bench.uplink.acknowledge("1", CloudAcknowledgement(upto, store=store))
        wait_for(lambda: bench.uplink._lines["1"].acknowledgement is None)
        bench.publish(following)  # by the thread that looks at what was acknowledged, after it
        wait_for(lambda: following in bench.numbers())

    with bench.running():
        bench.publish(*range(10))
        wait_for(lambda: len(makai.measurements) == 10)
        acknowledge("b", 1003, 10)
        acknowledge("a", 1009, 11)
        assert bench.queue.held("1") == (1004, 1012)
    bench.restart()
    with bench.running():
        acknowledge("a", 1011, 12)
        assert bench.queue.held("1") == (1004, 1013)
        acknowledge("b", 1012, 13)
        assert bench.queue.held("1") == (1012, 1014)


def test_measurements_missed_by_the_cloud_go_again(bench: Bench, makai: Any) -> None:
    with bench.running():
        bench.publish(*range(10))
        wait_for(lambda: len(makai.measurements) == 10)
        time.sleep(PATIENT.in_flight_s)
        bench.uplink.acknowledge("1", CloudAcknowledgement(1001, ((1003, 1004), (1008, 1008))))
        wait_for(lambda: len(makai.measurements) == 13)
    assert bench.numbers(backfilled=True) == [3, 4, 8]


def test_a_mute_broker_counts_as_original(tmp_path: Path, makai: Any, keys: KeyFolder) -> None:
    bench = Bench(tmp_path, makai, keys, timeouts=replace(PATIENT, resend_s=0.5))
    with closed(bench), bench.running():
        bench.publish(0, 1, 2)
        wait_for(lambda: len(makai.measurements) == 3)
        bench.uplink.acknowledge("1", CloudAcknowledgement(1000))
        wait_for(lambda: len(makai.measurements) == 5)
        bench.line.patience = replace(PATIENT, unacknowledged_s=0.5)
        wait_for(lambda: not bench.status.acknowledging)
        makai.stop()
        wait_for(lambda: not bench.status.connected)
        makai.start()
        wait_for(lambda: bench.status.connected)
        bench.publish(3)
        wait_for(lambda: 3 in bench.numbers())
    assert bench.numbers() == [0, 1, 2, 1, 2, 3]


@pytest.mark.parametrize("restarted", ["", "while it counts as ours", "while it counts as original"])
def test_a_silent_boxs_rest_reaches_a_late_cloud(tmp_path: Path, restarted: str) -> None:
    """All that was sent to it was lost, and no new Measurement follows that it would acknowledge.

    Args:
        restarted: when the gateway has started since the cloud acknowledged.
    """
    counters, sent = BoxCounters(), list[int]()

    def publish(frames: list[bytes]) -> str:
        sent.append(measurement_from_wire(frames[1]).sequence or 0)
        return "sent"

    def started() -> tuple[Queue, BoxUplink]:
        queue = Queue(tmp_path / "queue.sqlite", {"1": counters}, now_ms=1000)
        made = BoxUplink("1", KeyPair(b"", b""), counters, BoxStatus("1", 60), queue, 100, UplinkTimeouts())
        made.connection = cast(UplinkConnection, SimpleNamespace(stands=True, publish=publish))
        return queue, made

    def sent_by(now_s: float) -> list[int]:
        sent.clear()
        line.tick(now_s)
        while line.behind:
            line.send_again(100, now_s)
        return [sequence - 1000 for sequence in sent]

    def acknowledge(upto: int, now_s: float) -> None:
        line.acknowledgement = CloudAcknowledgement(upto, store="s")
        line.apply_acknowledgement(now_s)

    queue, line = started()
    for number in range(4):
        line.send(*queue.store([("1", measurement(number))]), now_s=0.0)
    acknowledge(1000, 1.0)
    assert line.acknowledging and sent_by(32.0) == [1, 2, 3]
    if restarted == "while it counts as ours":
        line.remember()
        queue.write()
        queue.close()
        queue, line = started()
        line.connected(33.0)
        assert sent_by(33.0) == [1, 2, 3]
    assert sent_by(94.0) == [] and not line.acknowledging
    if restarted == "while it counts as original":
        line.remember()
        queue.write()
        queue.close()
        queue, line = started()
        assert not line.acknowledging and sent_by(60.0) == []
        line.connected(64.0)
        assert sent_by(93.0) == []
    assert [sent_by(at_s) for at_s in (95.0, 96.0, 154.0, 156.0)] == [[1], [], [], [1]]
    acknowledge(1001, 157.0)
    assert line.acknowledging and [sent_by(at_s) for at_s in (158.0, 188.0)] == [[], [2, 3]]
    acknowledge(1003, 189.0)
    assert queue.held("1") is None
    queue.close()


def test_a_restart_continues_with_either_broker(bench: Bench, makai: Any) -> None:
    with bench.running():
        bench.publish(0, 1, 2)
        wait_for(lambda: len(makai.measurements) == 3)
    bench.restart()
    with bench.running():
        bench.publish(3)
        wait_for(lambda: len(makai.measurements) == 4)
        bench.uplink.acknowledge("1", CloudAcknowledgement(1001))
        wait_for(lambda: bench.status.acknowledging)
    bench.restart()
    with bench.running():
        wait_for(lambda: len(makai.measurements) == 6)
    assert bench.numbers() == [0, 1, 2, 3, 2, 3]
    assert [m.sequence for m in makai.decoded()] == [1000, 1001, 1002, 1003, 1002, 1003]


def test_a_crossing_leaves_at_once(bench: Bench, makai: Any) -> None:
    with bench.running():
        bench.publish(0)
        wait_for(lambda: makai.measurements)
        bench.uplink.acknowledge("1", CloudAcknowledgement(1000))
        wait_for(lambda: bench.status.acknowledging)
    bench.restart()
    makai.stop()
    with bench.running(connected=False):
        bench.publish(*range(1, 90))
        wait_for(lambda: bench.counters["measurements_unheard"] == 89)
        makai.start()
        wait_for(lambda: bench.status.connected)
        bench.uplink.crossing("1", DIP)
        gone = sum(bench.counters[f"measurements_{what}"] for what in ("sent", "backfilled"))
        wait_for(lambda: len(makai.measurements) == 91)
    (crossing,) = [m for m in makai.decoded() if m.crossing]
    assert makai.decoded().index(crossing) <= gone + 20
    assert crossing.metrics == {"rms": Metric(80.0, 80.0, 80.0)} and crossing.sequence == 1090
    assert crossing.start_ns == DIP.t_ns and not crossing.backfilled
    assert bench.queue.last_end_ns("1") == measurement(89).end_ns  # not the crossing's
    assert bench.counters["crossings_sent"] == 1


def test_a_mute_broker_gets_no_crossing(tmp_path: Path, makai: Any, keys: KeyFolder) -> None:
    sent = {}
    for crossings in ("auto", "never", "always"):
        bench = Bench(tmp_path / crossings, makai, keys, crossings=crossings)
        with bench.running():
            bench.uplink.crossing("1", DIP)
            bench.publish(0)
            wait_for(lambda bench=bench: bench.counters["measurements_sent"] == 1 + bench.crossings_sent)
            bench.uplink.acknowledge("1", CloudAcknowledgement(1000))
            wait_for(lambda bench=bench: bench.status.acknowledging and not bench.status.prompt)
            bench.uplink.crossing("1", DIP)
            bench.publish(1)
            wait_for(lambda bench=bench: bench.counters["measurements_sent"] == 2 + bench.crossings_sent)
        sent[crossings] = bench.crossings_sent, bench.counters["crossings_withheld"]
        bench.uplink.close()
        bench.queue.close()
    assert sent == {"auto": (1, 1), "never": (0, 2), "always": (2, 0)}


def test_each_socket_draws_its_own_waits(
    bench: Bench,
) -> None:
    """So that not all Boxes connect to a broker at once."""
    with bench.running():
        connection = bench.line.connection
        assert connection is not None
        waits_ms = [
            (socket.getsockopt(zmq.RECONNECT_IVL), socket.getsockopt(zmq.RECONNECT_IVL_MAX))
            for socket in connection.sockets.values()
        ]
    assert len(set(waits_ms)) == 3
    least_ms, most_ms = (round(1000 * each) for each in RECONNECT_S)
    longest_ms = round(1000 * Timing().reconnect_most_s)
    assert all(least_ms <= first <= most_ms for first, _ in waits_ms)
    assert all(longest_ms // 2 <= longest <= longest_ms for _, longest in waits_ms)


def test_another_gateways_numbers_are_reported(bench: Bench, makai: Any) -> None:
    with bench.running():
        bench.publish(0)
        wait_for(lambda: makai.measurements)
    bench.restart()
    with bench.running():
        bench.uplink.acknowledge("1", CloudAcknowledgement(5000))
        wait_for(lambda: bench.counters["acknowledgements_ahead"] == 1)
        bench.publish(1)
        wait_for(lambda: len(makai.measurements) == 2)
    assert makai.decoded()[-1].sequence == 1001 and bench.queue.held("1") == (1000, 1002)


def test_a_lost_file_continues_at_the_cloud(bench: Bench, makai: Any) -> None:
    """On a machine without a clock."""
    with bench.running():
        bench.publish(0)
        wait_for(lambda: makai.measurements)
        bench.uplink.acknowledge("1", CloudAcknowledgement(5000))
        wait_for(lambda: bench.counters["acknowledgements_ahead"] == 1)
        bench.publish(1)
        wait_for(lambda: len(makai.measurements) == 2)
    assert makai.decoded()[-1].sequence == 5001


def test_a_full_disk_delays_measurements_not_crossings(
    bench: Bench, makai: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = full_disk(monkeypatch)
    bench.restart(crossings="always")
    bench.queue._hold_s = NEVER_S
    with bench.running():
        bench.publish(0)
        wait_for(lambda: len(makai.measurements) == 1)
        full(True)
        bench.publish(*range(1, 90))
        wait_for(lambda: bench.counters["measurements_delayed"] == 89)
        bench.uplink.crossing("1", DIP)
        wait_for(lambda: len(makai.measurements) == 2)
        assert makai.decoded()[1].crossing  # before all that is held back
        bench.queue._hold_s = 0.0
        wait_for(lambda: sorted(bench.numbers()) == [*range(90), 100])
        full(False)
        wait_for(lambda: bench.queue.problem == "")
    assert bench.queue.held("1") == (1000, 1091)


def test_without_a_number_it_waits_in_memory(
    bench: Bench, makai: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a number nor a broker is there."""
    full = full_disk(monkeypatch)
    bench.restart()
    bench.publish(0)
    makai.stop()
    with bench.running(connected=False), monkeypatch.context() as patched:
        wait_for(lambda: bench.queue.next("1") == 1001)
        patched.setattr(Path, "unlink", _read_only)
        full(True)
        bench.publish(*range(1, 61))
        wait_for(lambda: bench.queue.problem)
        bench.publish(*range(61, 90))
        wait_for(lambda: bench.counters["sequences_failed"] == 26)
        full(False)
        wait_for(lambda: bench.queue.problem == "")
        bench.publish(90)
        makai.start()
        wait_for(lambda: len(makai.measurements) == 91)
    assert sorted(bench.numbers()) == list(range(91))
    assert {m.sequence for m in makai.decoded()} == set(range(1000, 1091))


def _read_only(self: Path, missing_ok: bool = False) -> None:
    raise OSError(30, "Read-only file system")
