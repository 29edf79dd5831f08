"""The parts of `bench gateway`: cheap Boxes, the metered relay, the ring's figures, a whole house."""

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count, pairwise

import numpy as np
import pytest

from bench.gateway import on_disk, packed, requests_ms
from bench.harness.boxes import SAG_CYCLES, PlainBox, RepeatedSource, noisy
from bench.harness.house import MeteredRelay, house
from opq_proto.link.frames import Decoder, encode
from opq_proto.link.messages import (
    FLAG_RESENT,
    Acknowledgement,
    Command,
    Crossing,
    Hello,
    LinkMessage,
    Operation,
    Resend,
    Samples,
    Status,
)
from opq_sim.box.source import RunClock


def test_a_cheap_box_repeats_and_drops_on_command() -> None:
    source = RepeatedSource(1)
    blocks = [source.counts(first, 200) for first in range(0, 24_000, 200)]
    assert all(np.array_equal(one, two) for one, two in zip(blocks[:60], blocks[60:], strict=True))
    assert np.sqrt(np.mean(np.square(np.concatenate(blocks) * source.v_per_lsb))) == pytest.approx(
        120.0, rel=1e-3
    )
    source.sag()
    end = 24_000 + SAG_CYCLES * 200
    assert [source.enters(first) for first in (24_000, 24_200, end)] == [True, None, False]
    assert source.marks(24_000, 200) == (24_000,) and source.marks(24_200, 200) == (), "as a Box asks it"
    during = source.counts(24_000, 200)
    assert np.abs(during - 0.6 * blocks[0]).max() <= 1
    assert np.array_equal(source.counts(end, 200), blocks[12])


def test_a_plain_box_answers_resends_and_reports_sags() -> None:
    """It sends nothing until it is asked; then it sends again what was lost, and reports a sag."""
    source = RepeatedSource(1)
    box = PlainBox(7, source, RunClock.now())
    decoder, sequence = Decoder(), count()
    gateway = os.open(box.port.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)

    def heard() -> list[LinkMessage]:
        box.receive()
        box.tick(time.monotonic_ns())
        ready, _, _ = select.select([gateway], [], [], 0.02)
        return [message for _, message in decoder.feed(os.read(gateway, 65_536))] if ready else []

    def until(enough: Callable[[list[LinkMessage]], bool]) -> list[LinkMessage]:
        said: list[LinkMessage] = []
        for _ in range(500):
            said += heard()
            if enough(said):
                return said
        raise AssertionError(said)

    try:
        assert heard() == []
        os.write(gateway, encode(Command(1, Operation.HELLO), next(sequence)))
        said = until(lambda said: sum(isinstance(message, Samples) for message in said) > 3)
        assert any(isinstance(message, Hello) and message.box_id == 7 for message in said)
        assert Acknowledgement(1, Status.DONE) in said
        live = [message for message in said if isinstance(message, Samples)]
        assert [b.first_sample - a.first_sample for a, b in pairwise(live)] == [200] * (len(live) - 1)
        os.write(gateway, encode(Resend(live[0].first_sample, 400), next(sequence)))
        said = until(lambda said: sum(is_again(message) for message in said) == 2)
        again = [message for message in said if isinstance(message, Samples) and is_again(message)]
        assert [replace(message, flags=0) for message in again] == live[:2]
        source.sag()
        said = until(lambda said: sum(isinstance(message, Crossing) for message in said) == 2)
        begin, end = (message for message in said if isinstance(message, Crossing))
        assert (begin.entering, end.entering) == (True, False) and begin.rms_v == 0.6 * 120.0
        assert end.sample - begin.sample == SAG_CYCLES * 200
    finally:
        os.close(gateway)
        box.port.close()


def is_again(message: LinkMessage) -> bool:
    return isinstance(message, Samples) and bool(message.flags & FLAG_RESENT)


def test_the_relay_counts_both_ways_and_survives_peers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as cloud, MeteredRelay(cloud.getsockname()[1]) as relay:
        for number in (1, 2):
            with socket.create_connection(("127.0.0.1", relay.port), 5) as box:
                peer, _ = cloud.accept()
                box.sendall(b"x" * 1000)
                received = 0
                while received < 1000:
                    received += len(peer.recv(4096))
                peer.sendall(b"y" * 10)
                assert box.recv(10)
                peer.close()
            assert (relay.up_bytes, relay.down_bytes) == (1000 * number, 10 * number)


def test_the_rings_figures_are_of_what_was_written() -> None:
    found = on_disk(noisy(30, 2.0), 5)
    assert found.ratio > 4.75 and found.write_mb_s > 1 and len(found.access_ms) == 5
    coded = packed(noisy(4, 2.0))
    assert coded.ratio > 4.5 and coded.encode_mb_s > 0.1


@pytest.mark.soak
def test_a_house_of_two_boxes_loses_nothing() -> None:
    with house(2) as up:
        up.rest(3.0)
        cost = up.cost(3.0)
        assert 0 < cost.cpu_ms_per_s < 1000 and cost.memory_bytes > 1e7
        assert up.counted("missing_samples") == 0
    assert len(requests_ms(5)) == 5


def test_a_bare_relay_ends_with_its_block() -> None:
    with socket.create_server(("127.0.0.1", 0)) as cloud, MeteredRelay(cloud.getsockname()[1]):
        assert any(thread.name == "metered" for thread in threading.enumerate())
    assert not any(thread.name == "metered" for thread in threading.enumerate())
