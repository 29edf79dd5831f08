"""The uplink's bounds: a standing or slow uplink costs counted drops, never memory."""

import threading
import time
from typing import Any

from opq_gateway.counters import Counters
from opq_gateway.status import Status
from opq_gateway.uplink.connection import Endpoints
from opq_gateway.uplink.uplink import ANSWER_BYTES, ANSWERS, Uplink
from opq_proto.keys import KeyFolder, read_key_file, read_secret_file


def uplink_of(makai: Any, keys: KeyFolder) -> tuple[Uplink, Counters, Status]:
    names = makai.endpoints
    endpoints = Endpoints(names["trigger_endpoint"], names["command_endpoint"], names["response_endpoint"])
    counters, status = Counters(), Status("1", 60)
    uplink = Uplink(endpoints, read_key_file(keys.server_public).public, 100, lambda box_id, data: None)
    uplink.add("1", read_secret_file(keys.box_secret("1")), counters, status)
    return uplink, counters, status


def test_an_uplink_that_stands_still_drops_the_oldest_measurements_and_counts_them(
    makai: Any, keys: KeyFolder
) -> None:
    uplink, counters, _ = uplink_of(makai, keys)
    for number in range(250):
        uplink.publish("1", [b"0001", b"%d" % number])
    assert counters["measurements_overflow"] == 150
    uplink.close()


def test_answers_are_bounded_in_number_and_bytes(makai: Any, keys: KeyFolder) -> None:
    uplink, counters, _ = uplink_of(makai, keys)
    for _ in range(ANSWERS + 6):
        uplink.respond("1", [b"x"])
    assert counters["responses_dropped"] == 6
    uplink.close()
    uplink, counters, _ = uplink_of(makai, keys)
    uplink.respond("1", [b"x" * (ANSWER_BYTES + 1)])  # one alone may be any size
    uplink.respond("1", [b"x"])
    assert counters["responses_dropped"] == 1
    uplink.close()


def test_a_thousand_measurements_arrive_in_order_and_the_thread_ends_at_once(
    makai: Any, keys: KeyFolder
) -> None:
    uplink, counters, status = uplink_of(makai, keys)
    stop = threading.Event()
    thread = threading.Thread(target=uplink.run, args=(stop,))
    thread.start()
    until = time.monotonic() + 10
    while not status.connected and time.monotonic() < until:
        time.sleep(0.01)
    for number in range(1000):
        uplink.publish("1", [b"0001", b"%d" % number])
        if number % 50 == 49:
            time.sleep(0.01)
    while len(makai.measurements) < 1000 and time.monotonic() < until:
        time.sleep(0.01)
    assert [body for _, body in makai.measurements] == [b"%d" % number for number in range(1000)]
    assert counters["measurements_sent"] == 1000 and counters["measurements_overflow"] == 0
    began = time.monotonic()
    stop.set()
    thread.join(5)
    assert not thread.is_alive() and time.monotonic() - began < 1.5
    uplink.close()
