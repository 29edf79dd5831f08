"""A Box that takes all of the reader's time: it gets a share, others lose nothing, the log stays small."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from structlog.testing import capture_logs

from opq_gateway.blocks import SampleBlock
from opq_gateway.config import BoxSection
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.inbox import Inbox
from opq_gateway.ring.ring import Ring
from opq_gateway.serial_side.intake import Intake
from opq_gateway.serial_side.outputs import Outputs
from opq_gateway.serial_side.reader import LONG_S, REST_FACTOR, SerialReader
from opq_gateway.serial_side.sample_stream import MAX_RESTARTS, RESTARTS_S
from opq_gateway.serial_side.serial_clock import Clocks
from opq_gateway.serial_side.station import BoxStation
from opq_proto.link.messages import BoxMeasurement, ChannelValue, Hello, Samples
from opq_proto.messages import Gap, TimeSource

HELLO = Hello(1, 1, 5, 12_000_000, 0.0068, 120.0, 60.0, 15.0, 200, 120_000, "test", "1")
BLOCK = Samples(0, 10**18, 100, TimeSource.GPS, 12_000_000, 0, np.zeros(200, np.int16))


class Busy:
    """A Station whose rounds take CPU; both clocks are its own."""

    fd = -1

    def __init__(self, box_id: str, clock: list[float], takes_s: float) -> None:
        self.box, self.counters = BoxSection(id=box_id, port="x"), BoxCounters()
        self.takes_s, self.rounds, self._clock = takes_s, 0, clock

    def attach(self, *_: object) -> None: ...

    def stalled(self, seconds: float) -> None: ...

    def round(self, events: int, now_s: float) -> None:
        self.rounds += 1
        self._clock[0] += self.takes_s


def test_a_slow_box_gets_a_fifth() -> None:
    clock = [0.0]
    reader = SerialReader(monotonic_s=lambda: clock[0], cpu_s=lambda: clock[0])
    flood, good = Busy("1", clock, 2 * LONG_S), Busy("2", clock, 0.001)
    for station in (flood, good):
        reader.add(cast(BoxStation, station), cast(Intake, None))
    while clock[0] < 100.0:
        reader.round(clock[0])
        clock[0] += 0.019
    assert flood.rounds * flood.takes_s == pytest.approx(100.0 / (REST_FACTOR + 1), rel=0.15)
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

    def accept_blocks(self, box_id: str, blocks: Sequence[SampleBlock]) -> None: ...

    def gap(self, *_: object) -> None: ...

    def figures(self, *_: object) -> None: ...

    def crossing(self, *_: object) -> None: ...


def test_a_jumping_clock_is_logged_seldom(
    tmp_path: Path,
) -> None:
    counters = BoxCounters()
    outputs = cast(Outputs, Nobody())
    intake = Intake(BoxStatus("1", 60), Ring(tmp_path, "1", 1.0), counters, lambda _: None, outputs)
    intake.accept_message(HELLO)
    with capture_logs() as lines:
        for at in range(300):
            intake.accept_message(replace(BLOCK, first_sample=200 * at, t_ns=10**18 + (at % 2) * 10**12 + at))
            if at % 10 == 9:
                intake.accept_message(HELLO)
    assert counters["time_steps"] >= 298
    assert [line["event"] for line in lines].count("time.stepped") == 1


def intake_of(folder: Path, counters: BoxCounters, clock: list[float]) -> Intake:
    clocks = Clocks(monotonic_s=lambda: clock[0])
    ring = Ring(folder, "1", 1.0, monotonic_s=clocks.monotonic_s)
    return Intake(BoxStatus("1", 60), ring, counters, lambda _: None, cast(Outputs, Nobody()), clocks)


def test_a_rebooting_box_is_paused(
    tmp_path: Path,
) -> None:
    """It boots with each hello; later it is heard again."""
    counters, clock = BoxCounters(), [0.0]
    intake = intake_of(tmp_path, counters, clock)
    with capture_logs() as lines:
        for boot in range(1000):
            clock[0] += 0.01
            intake.accept_message(replace(HELLO, boot_id=boot))
            intake.accept_message(replace(BLOCK, t_ns=10**18 + boot * 10**9))
    assert counters["restarts"] == MAX_RESTARTS == counters["ring_blocks"] - 1
    assert counters["hello_refused"] == 1000 - 1 - MAX_RESTARTS == counters["samples_before_hello"]
    assert len(lines) < 20 and "box.unsteady" in [line["event"] for line in lines]
    clock[0] += RESTARTS_S
    intake.accept_message(replace(HELLO, boot_id=2000))
    intake.accept_message(BLOCK)
    assert counters["ring_blocks"] == MAX_RESTARTS + 2


def test_a_rate_that_no_crystal_has_is_refused(tmp_path: Path) -> None:
    counters, clock = BoxCounters(), [0.0]
    intake = intake_of(tmp_path, counters, clock)
    intake.accept_message(replace(HELLO, rate_millihz=2**32 - 1))
    assert counters["hello_refused"] == 1
    intake.accept_message(HELLO)
    for rate_millihz in (0, 1_300_000, 11_800_000, 12_200_000, 2**32 - 1):
        intake.accept_message(replace(BLOCK, rate_millihz=rate_millihz))
    assert counters["samples_refused"] == 5 and counters["ring_blocks"] == 0
    intake.accept_message(replace(BLOCK, rate_millihz=12_000_600))
    assert counters["ring_blocks"] == 1


def test_a_floods_unmeasured_samples_are_bounded() -> None:
    counters = BoxCounters()
    inbox = Inbox(counters, most_items=100)
    one = SampleBlock(
        5, 0.0068, 0, 10**18, 100, TimeSource.GPS, 12_000_000, np.zeros(1, np.int16), False, False
    )
    for at in range(500):
        inbox.offer(Gap(2 * at, 1, "lost"))
        inbox.offer(Gap(2 * at, 1, "lost"))
        inbox.offer(replace(one, first_sample=2 * at + 1))
    for at in range(7):
        inbox.offer(BoxMeasurement(at, 1, 120.0, 60.0, None, None))
        inbox.offer(ChannelValue(at, 1.0, "a", "v"))
    assert len(inbox) <= 102 and counters["unmeasured_samples"] == 450
    assert counters["box_figures_dropped"] == counters["own_values_dropped"] == 7
    assert sum(isinstance(item, SampleBlock) for item in inbox.take_items()) == 50
