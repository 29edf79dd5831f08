"""A Box that takes all of the reader's time: it gets a share, others lose nothing, the log stays small."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from structlog.testing import capture_logs

from opq_gateway.blocks import Block
from opq_gateway.config import BoxPort
from opq_gateway.counters import Counters
from opq_gateway.ring.ring import Ring
from opq_gateway.serial_side.intake import Intake
from opq_gateway.serial_side.outputs import Outputs
from opq_gateway.serial_side.reader import LONG_S, REST, Reader
from opq_gateway.serial_side.station import Station
from opq_gateway.status import Status
from opq_proto.link_messages import Hello, Samples
from opq_proto.messages import TimeSource


class Busy:
    """A Station whose rounds take CPU; both clocks are its own."""

    fd = -1

    def __init__(self, box_id: str, clock: list[float], takes_s: float) -> None:
        self.box, self.counters = BoxPort(id=box_id, port="x"), Counters()
        self.takes_s, self.rounds, self._clock = takes_s, 0, clock

    def attach(self, *_: object) -> None: ...

    def round(self, events: int, now_s: float) -> None:
        self.rounds += 1
        self._clock[0] += self.takes_s


def test_a_box_that_takes_the_readers_time_gets_a_fifth_of_it() -> None:
    clock = [0.0]
    reader = Reader(monotonic_s=lambda: clock[0], cpu_s=lambda: clock[0])
    flood, good = Busy("1", clock, 2 * LONG_S), Busy("2", clock, 0.001)
    for station in (flood, good):
        reader.add(cast(Station, station), cast(Intake, None))
    while clock[0] < 100.0:
        reader.round(clock[0])
        clock[0] += 0.019
    assert flood.rounds * flood.takes_s == pytest.approx(100.0 / (REST + 1), rel=0.15)
    assert good.rounds > 4000 * 0.75
    assert flood.counters["serial_rests"] == flood.rounds and good.counters["serial_rests"] == 0
    flood.takes_s = 0.001  # it came to its senses
    rounds = flood.rounds
    clock[0] += 1.0
    for _ in range(10):
        reader.round(clock[0])
        clock[0] += 0.019
    assert flood.rounds == rounds + 10


class Nobody:
    """Behind the intake."""

    def restart(self, *_: object) -> None: ...

    def push(self, box_id: str, block: Block) -> None: ...

    def gap(self, *_: object) -> None: ...

    def figures(self, *_: object) -> None: ...

    def crossing(self, *_: object) -> None: ...


def test_a_box_whose_clock_jumps_with_each_block_is_told_seldom_and_counted_always(
    tmp_path: Path,
) -> None:
    counters = Counters()
    outputs = cast(Outputs, Nobody())
    intake = Intake(Status("1", 60), Ring(tmp_path, "1", 1.0), counters, lambda _: None, outputs)
    hello = Hello(1, 1, 5, 12_000_000, 0.0068, 120.0, 60.0, 15.0, 200, 120_000, "test", "1")
    intake.take(hello)
    block = Samples(0, 10**18, 100, TimeSource.GPS, 12_000_000, 0, np.zeros(200, np.int16))
    with capture_logs() as lines:
        for at in range(300):
            intake.take(replace(block, first_sample=200 * at, t_ns=10**18 + (at % 2) * 10**12 + at))
            if at % 10 == 9:
                intake.take(hello)
    assert counters["time_steps"] >= 298
    assert [line["event"] for line in lines].count("time.stepped") == 1
