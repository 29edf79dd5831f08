"""What the uplink costs on the line: payload of TCP both ways, CURVE and ZMTP's heartbeats included."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from uplink_bench import Bench, measurement
from waiting import wait_for

from bench.harness.house import MeteredRelay
from opq_gateway.config import IdleSection
from opq_gateway.uplink.connection import IDLE_HEARTBEAT_S, Timing
from opq_proto.keys.key_files import KeyFolder
from opq_proto.wire.frames import plugin_command

MAX_B_PER_S = 16.0
IDENTITY = "ack_0123456789abcdef_store"


def test_an_idle_box_takes_16_bytes_a_second(tmp_path: Path, makai: Any, keys: KeyFolder) -> None:
    """A Box at rest in idle mode takes less than sixteen bytes a second."""
    with ExitStack() as opened:
        relays = {
            name: opened.enter_context(MeteredRelay(int(endpoint.rsplit(":", 1)[1])))
            for name, endpoint in makai.endpoints.items()
        }
        endpoints = {name: f"tcp://127.0.0.1:{relay.port}" for name, relay in relays.items()}

        def count() -> int:
            return sum(relay.up_bytes + relay.down_bytes for relay in relays.values())

        def count_when_connected(bench: Bench) -> int:
            answers = len(makai.answers)
            bench.uplink.respond("1", [b"x"])
            makai.command(b"1", plugin_command("1", "opq-ack", "1795197440021", IDENTITY))
            wait_for(lambda: len(makai.answers) > answers and bench.counters["commands"] == 1)
            return count()

        quiet = Bench(tmp_path, makai, keys, endpoints, IdleSection(), Timing(3600.0, 7200.0))
        with quiet.running():
            before = count_when_connected(quiet)
            quiet.publish(*range(61))  # the first, and one over the minute behind it
            wait_for(lambda: len(makai.measurements) == 2)
            quiet_bytes = count() - before
            makai.command(b"1", plugin_command("1", "opq-ack", "1795197440021", IDENTITY))
            wait_for(lambda: quiet.counters["commands"] == 2)
            acknowledged_bytes = count() - before - quiet_bytes
        quiet.uplink.close()
        quiet.queue.close()
        every_s = 0.1
        beating = Bench(tmp_path, makai, keys, endpoints, None, Timing(every_s, 10.0))
        with beating.running():
            before, began = count_when_connected(beating), time.monotonic()
            # a machine that stops has fewer bytes a second, never more
            wait_for(lambda: count() - before > 2000 and time.monotonic() - began > 1.0)
            beat_bytes = (count() - before) / ((time.monotonic() - began) / every_s)
        beating.uplink.close()
        beating.queue.close()
    per_minute = quiet_bytes / 2 + acknowledged_bytes
    assert quiet_bytes > 400 and acknowledged_bytes > 100  # it does count
    assert per_minute / 60 + beat_bytes / IDLE_HEARTBEAT_S < MAX_B_PER_S * 0.8
    span = makai.decoded()[1]
    assert (span.start_ns, span.end_ns) == (measurement(1).start_ns, measurement(60).end_ns)
