"""An Intake between a Box's messages and rooms that keep what they get, with its own clock."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from opq_gateway.blocks import SampleBlock
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.ring.ring import Ring
from opq_gateway.serial_side.intake import Intake
from opq_gateway.serial_side.serial_clock import Clocks
from opq_proto.kit.clock import ClockState
from opq_proto.link.messages import BoxMeasurement, Crossing, Hello, LinkMessage, Samples
from opq_proto.messages import Gap, TimeSource
from opq_sim.mains.generator import Generator

T0_NS = 1_700_000_000_000_000_000
HELLO = Hello(1, 1, 5, 12_000_000, 0.0068, 120.0, 60.0, 15.0, 200, 120_000, "test", "1")


class Behind:
    """The rooms behind the serial side: they keep what they get."""

    def __init__(self) -> None:
        self.blocks: list[SampleBlock] = []
        self.gaps: list[Gap] = []
        self.figures_: list[BoxMeasurement] = []
        self.crossings: list[Crossing] = []
        self.restarts: list[Hello] = []

    def restart(self, box_id: str, hello: Hello) -> None:
        self.restarts.append(hello)

    def accept_blocks(self, box_id: str, blocks: Sequence[SampleBlock]) -> None:
        self.blocks += blocks

    def gap(self, box_id: str, gap: Gap) -> None:
        self.gaps.append(gap)

    def figures(self, box_id: str, figures: BoxMeasurement) -> None:
        self.figures_.append(figures)

    def crossing(self, box_id: str, crossing: Crossing) -> None:
        self.crossings.append(crossing)


class Bench:
    """An Intake with its own clock."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 100.0
        self.off_ns = 0
        self.counters = BoxCounters()
        self.status = BoxStatus("1", 60)
        self.ring = Ring(folder / "ring", "1", 1.0)
        self.sent: list[LinkMessage] = []
        self.behind = Behind()
        clocks = Clocks(
            monotonic_s=lambda: self.now_s,
            now_ns=lambda: T0_NS + round((self.now_s - 100) * 1e9) + self.off_ns,
            system=lambda: ClockState(TimeSource.NTP, 3_000_000),
        )
        self.intake = Intake(self.status, self.ring, self.counters, self.sent.append, self.behind, clocks)

    def feed(self, first: int, end: int, **changes: object) -> None:
        """Blocks of 200 from the generator, with time passing."""
        for at in range(first, end, 200):
            self.intake.accept_message(replace(samples(at), **changes))  # type: ignore[arg-type]
            self.now_s += 200 / 12_000
            self.intake.tick()


def samples(first: int) -> Samples:
    t_ns = T0_NS + first * 10**12 // 12_000_000
    return Samples(first, t_ns, 1000, TimeSource.GPS, 12_000_000, 0, Generator(seed=1).counts(first, 200))
