"""Malformed turns: from a broker to its subscribers, and from a Box to the broker."""

import random
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq

from opq_cloud.core.service import CloudContext, ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.core.settings.view import ViewSection
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.live.reader import LiveReader
from opq_proto.decision import Nominal
from opq_proto.measurement.wire import measurement_to_wire
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.wire.frames import topic
from opq_proto.wire.measurement_turns import TURN_PREFIX, request_turns, turn_message, waiting_measurements

S = 10**9
MEMORY_BYTES = 250_000_000
STEADY = {"f": 60.0, "rms": 120.0, "thd": 0.02, "trans": 1.0}


def measured(box_id: str, sequence: int) -> list[bytes]:
    end_ns = time.time_ns()
    metrics = {name: Metric(value, value, value) for name, value in STEADY.items()}
    row = Measurement(box_id, end_ns // 10**6, metrics, end_ns - S, end_ns, 1000, TimeSource.GPS, sequence, 1)
    return [topic(box_id), measurement_to_wire(row)]


def damaged_turns(count: int) -> Iterator[bytes]:
    """Turns with bits changed, cut, longer, with other lengths, and well-formed ones of anything."""
    dice = random.Random(20261123)
    whole = turn_message([measured(str(1000 + number), 1) for number in range(3)])
    for _ in range(count):
        data, kind = bytearray(whole), dice.randrange(6)
        if kind == 0:
            for _ in range(dice.randrange(1, 9)):
                data[dice.randrange(len(TURN_PREFIX), len(data))] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del data[dice.randrange(len(TURN_PREFIX), len(data)) :]
        elif kind == 2:
            data += dice.randbytes(dice.randrange(1, 400))
        elif kind == 3:
            word = dice.choice((0, 1, 2, 3, 4, 14, 140, 2**31, 2**32 - 1, dice.getrandbits(32)))
            struct.pack_into("<I", data, len(TURN_PREFIX) + 4 * dice.randrange(5), word)
        elif kind == 4:
            data[len(TURN_PREFIX) :] = dice.randbytes(dice.randrange(600))
        else:
            rows = [
                [dice.randbytes(4), dice.randbytes(dice.randrange(200))] for _ in range(dice.randrange(40))
            ]
            data = bytearray(turn_message(rows))
        yield bytes(data)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [3000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_hostile_turn_does_not_stop_readers(makai: Any, tmp_path: Path, count: int) -> None:
    """Whatever a broker sends as a turn, services that read turns go on."""
    peer = makai.peer()
    broker, commands = peer.context.socket(zmq.XPUB), peer.context.socket(zmq.PULL)
    addresses = makai.free_endpoint(), makai.free_endpoint()
    broker.sndhwm, broker.xpub_verbose = 0, 1
    for socket, address in zip((broker, commands), addresses, strict=True):
        socket.linger = 0
        socket.bind(address)
    config = TriggeringServiceSection(
        measurement_endpoint=addresses[0], request_endpoint=addresses[1], ack_interval_s=0.2, batch_ms=20
    )
    seen = ServiceCounters()
    with closing(CloudContext(lambda: open_store(None, tmp_path / "store"))) as shared:
        service = TriggeringService(config, shared, Nominal(120.0, 60.0))
        view = ViewSection(measurement_endpoint=addresses[0], bus_endpoint=makai.free_endpoint())
        hub = LiveHub(seen, streams=1)
        live = LiveReader(shared.store, hub, seen, view)
        reader = threading.Thread(target=live.run, args=(threading.Event(),))
        reader.start()
        try:
            with makai.running(service):
                for _ in "12":
                    assert broker.poll(240_000) and broker.recv()[:1] == b"\x01"
                before = psutil.Process().memory_info().rss
                for turn in damaged_turns(count):
                    broker.send(turn)
                broker.send(turn_message([measured("77", 1)]))
                makai.wait_for(lambda: service.counters.of("acknowledgements", "77"), 600)
                makai.wait_for(lambda: "77" in hub.box_ids(), 600)
                for counters in (service.counters, seen):
                    assert counters.total("malformed") > count / 4
                assert psutil.Process().memory_info().rss - before < MEMORY_BYTES
        finally:
            live.end()
            reader.join(240)
        assert not reader.is_alive()


def test_a_turn_that_a_box_sends_goes_nowhere(makai: Any) -> None:
    brokers, own = makai.brokers(), makai.peer()
    counters = brokers.triggering.counters
    with makai.running(brokers.triggering), closing(own.context.socket(zmq.SUB)) as reads:
        request_turns(reads)
        reads.subscribe(b"")
        reads.connect(brokers.triggering_config.backend_endpoint)
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        makai.wait_for(lambda: counters.total("subscriptions") >= 2)
        assert makai.arrives(box, client)
        good = box.measurement(timestamp_ms=5)
        turn = turn_message([box.measurement(timestamp_ms=6), [b"0004", b"another's"]])
        wrong = [[turn], [turn, good[1]], [TURN_PREFIX, good[1]], [TURN_PREFIX]]
        for frames in [*wrong, good]:
            box.pub.send_multipart(frames)
        heard: list[list[bytes]] = []
        while good not in heard:
            assert reads.poll(240_000)
            heard += waiting_measurements(reads, 99)
        assert {frames[0] for frames in heard} == {b"0001"} and all(turn not in frames for frames in heard)
        assert counters.of("malformed", "1") == len(wrong)
