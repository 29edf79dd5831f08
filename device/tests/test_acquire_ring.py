"""The ring of samples against a model of a few lines, and under a writer that interrupts its reader."""

import ctypes
import subprocess
from typing import Any

import numpy as np
from acquire_on_pc import HERE, SOURCES, TICKS, Block, CBlock, c_library
from host_library import program
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

CAPACITY, BLOCK, WRITE = 800, 200, 40
RUNS_KEPT = 7


def value(index: int) -> int:
    """What the writer puts at an index: neighbours and whole rounds of the ring differ."""
    return (index * 7919 + index // CAPACITY * 101) % 65521 - 32760


class RingModel(RuleBasedStateMachine):
    """All that was ever written is remembered; whatever the ring gives must be in it."""

    @initialize()
    def begin(self) -> None:
        self.c = c_library()
        self.c.host_ring_init(500)
        self.head = 0
        self.runs = [(0, 500)]  # first sample, first tick
        self.written: set[int] = set()
        self.clipped: set[int] = set()
        self.next = 0
        self.delivered: set[int] = set()

    @rule(count=st.integers(0, WRITE), clipped=st.booleans(), times=st.integers(1, 8))
    def put(self, count: int, clipped: bool, times: int) -> None:
        for _ in range(times):
            samples = np.array([value(self.head + k) for k in range(count)], np.int16)
            mask = 1 if clipped and count else 0
            self.c.host_ring_put(samples.ctypes.data, count, mask)
            if mask:
                self.clipped.add(self.head)
            self.written |= set(range(self.head, self.head + count))
            self.head += count

    @rule(
        missing=st.sampled_from((0, 1, 39, 40, 160, 199, 200, 400, 799, 800, 5000)),
        shift=st.integers(-3499, 3499),
    )
    def gap(self, missing: int, shift: int) -> None:
        first, tick = self.runs[-1]
        self.head += missing
        self.runs.append((self.head, tick + (self.head - first) * TICKS + shift))
        self.c.host_ring_gap(missing, self.runs[-1][1])

    def tick(self, index: int) -> int:
        run = max(n for n, (first, _) in enumerate(self.runs) if first <= index)
        return self.runs[run][1] + (index - self.runs[run][0]) * TICKS

    @rule(most=st.integers(1, 6))
    def take(self, most: int) -> None:
        for _ in range(most):
            block = CBlock()
            if not self.c.host_ring_next(ctypes.byref(block)):
                safe = self.head + 2 * BLOCK - (CAPACITY - WRITE)  # what the reader would have time for,
                safe = -(-safe // BLOCK) * BLOCK  # whole blocks of it
                waiting = {index for index in self.written if index >= max(self.next, safe)}
                assert len(waiting) < BLOCK or max(waiting) // BLOCK == min(waiting) // BLOCK
                return
            self.look_at(Block.of(block))

    def look_at(self, block: Block) -> None:
        indices = range(block.first, block.first + len(block.counts))
        assert len(indices) > 0
        assert block.first >= self.next
        assert self.c.host_ring_holds(block.first)
        assert set(indices) <= self.written
        assert block.counts.tolist() == [value(index) for index in indices]
        assert block.tick == self.tick(block.first)
        assert block.tick + (len(indices) - 1) * TICKS == self.tick(indices[-1])
        assert indices[0] // BLOCK == indices[-1] // BLOCK
        if block.first > self.next or (block.first and block.first in [first for first, _ in self.runs[1:]]):
            assert block.overrun_before
        if any(index in self.clipped for index in indices):
            assert block.clipped
        elif not any(index // BLOCK == block.first // BLOCK for index in self.clipped):
            assert not block.clipped
        self.next = block.first + len(indices)

    @rule(back=st.integers(-50, 2 * CAPACITY), count=st.integers(1, 2 * BLOCK))
    def read(self, back: int, count: int) -> None:
        first = max(0, self.head - back)
        out = np.zeros(count, np.int16)
        got = self.c.host_ring_read(first, count, out.ctypes.data)
        assert out[:got].tolist() == [value(index) for index in range(first, first + got)]
        assert set(range(first, first + got)) <= self.written
        known = self.runs[-RUNS_KEPT][0] if len(self.runs) >= RUNS_KEPT else 0
        if first in self.written and first >= max(known, self.head - (CAPACITY - WRITE)):
            run_end = min((run for run, _ in self.runs if run > first), default=self.head)
            there = [index for index in range(first, min(first + count, run_end)) if index in self.written]
            assert got == len(there)

    @invariant()
    def head_and_tail_are_told(self) -> None:
        assert self.c.host_ring_head() == self.head
        assert self.head - CAPACITY <= self.c.host_ring_tail() <= self.head


RingModel.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestTheRingIsItsModel = RingModel.TestCase


def test_an_interrupted_reader_gets_no_overwritten_sample() -> None:
    preempted = program("ring_preempted", [*SOURCES[:-1], HERE / "ring_preempted.c"])
    done = subprocess.run(
        [str(preempted), "400000"], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    facts: dict[str, Any] = {
        name: int(count) for name, count in (line.split() for line in done.stdout.split("\n") if line)
    }
    assert facts["wrong"] == 0
    assert facts["interrupts"] > 100
    assert facts["reads"] > 1000
    assert facts["blocks"] > 100
