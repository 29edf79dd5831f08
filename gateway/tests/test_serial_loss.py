"""What a bad line costs: a Box, 921,600 baud and a gateway's reassembly, simulated to the frame.

The Box keeps what the board keeps, 3.2 s, and sends again in the order asked while fewer than four frames
wait; both directions lose each frame that has a wrong byte.
"""

import random
from collections import deque

import numpy as np
import pytest

from opq_gateway.blocks import SampleBlock
from opq_gateway.serial_side.reader import ROUND_S
from opq_gateway.serial_side.reassembly import Output, Reassembly, ResendRequest
from opq_proto.messages import Gap, TimeSource
from opq_sim.box.box import RING_SAMPLES

FRAME_S = 456 * 10 / 921_600
COUNTS = np.zeros(200, np.int16)


class Line:
    """Time goes in milliseconds; `dead` is a span in which nothing gets through."""

    def __init__(self, per_byte: float, seed: int, dead: tuple[float, float] = (0.0, 0.0)) -> None:
        self.dice = random.Random(seed)
        self.lost_frame, self.lost_ask = (1 - (1 - per_byte) ** n for n in (456, 21))
        self.dead = dead
        self.reassembly = Reassembly(RING_SAMPLES)
        self.asked: deque[int] = deque()
        self.next = self.got = self.gaps = self.furthest = 0
        self.now_s = 0.0

    def run(self, seconds: float) -> None:
        wire: deque[int] = deque()
        arriving: deque[int] = deque()
        free_s = read_s = 0.0
        for ms in range(round(seconds * 1000)):
            self.now_s = ms / 1000
            if self.now_s * 12_000 >= self.next + 200:
                wire.append(self.next)
                self.next += 200
            if self.asked and len(wire) < 4:
                again = self.asked.popleft()
                if again >= self.next - RING_SAMPLES:
                    wire.append(again)
            while wire and free_s <= self.now_s:
                free_s = max(free_s, self.now_s) + FRAME_S
                if self.through(self.lost_frame):
                    arriving.append(wire[0])
                wire.popleft()
            if self.now_s >= read_s:
                read_s += ROUND_S
                while arriving:
                    first = arriving.popleft()
                    block = SampleBlock(7, 0.01, first, first, 0, TimeSource.NTP, 12_000_000, COUNTS)
                    self.take(self.reassembly.accept_block(block))
                self.furthest = max(self.furthest, self.next - (self.reassembly.expected or 0))

    def through(self, loss: float) -> bool:
        dead = self.dead[0] <= self.now_s < self.dead[1]
        return self.dice.random() >= loss and not dead

    def take(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Gap):
                self.gaps += output.samples
            elif isinstance(output, SampleBlock):
                self.got += len(output.counts)
            elif isinstance(output, ResendRequest) and self.through(self.lost_ask):
                end = output.first_sample + output.count
                for first in range(output.first_sample // 200 * 200, end, 200):
                    if first not in self.asked:
                        self.asked.append(first)


@pytest.mark.parametrize(("per_byte", "recovered"), [(1e-4, 12_000), (1e-3, 100_000)])
def test_wrong_bytes_lose_nothing(per_byte: float, recovered: int) -> None:
    line = Line(per_byte, seed=1)
    line.run(30.0)
    assert line.gaps == 0 and line.reassembly.recovered > recovered
    assert line.next - line.got < 12_000  # and no sample comes a second late
    assert line.furthest < 12_000


@pytest.mark.parametrize(("per_byte", "dead_s"), [(0.0, 3.0), (1e-4, 2.5), (1e-3, 2.0)])
def test_a_briefly_dead_line_costs_nothing(per_byte: float, dead_s: float) -> None:
    """The answer of a bad line has to be requested more than once, while the Box still has it."""
    line = Line(per_byte, seed=2, dead=(3.0, 3.0 + dead_s))
    line.run(30.0)
    assert line.gaps == 0 and line.next - line.got < 12_000


def test_a_dead_line_costs_only_expired_samples() -> None:
    line = Line(0.0, seed=3, dead=(3.0, 7.0))
    line.run(30.0)
    assert 9600 <= line.gaps < 9600 + 2000
    assert line.next - line.got - line.gaps < 1000
