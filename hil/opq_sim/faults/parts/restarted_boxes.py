"""Boxes on cables that end and start again, with the same samples in each start; the truth about their dips.

A Box that starts again is a new one: its numbers begin at 0, its samples are those of the start before. Its
stamps are those of the world's time, which pauses make longer (`WorldProcesses.skip`).
"""

import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from opq_gateway.blocks import boot_id_of
from opq_gateway.ring.segment import Segment
from opq_proto.messages import TimeSource
from opq_sim.box.box import RESET_POWER
from opq_sim.box.source import RunClock, SampleSource
from opq_sim.faults.parts.cabled_boxes import IN_1970_NS, RATE_HZ, UNCERTAINTY_NS, CabledBoxes, WatchedBox
from opq_sim.faults.schedule import RestartedBox
from opq_sim.mains.generator import Generator, MainsSignal
from opq_sim.mains.grid_events import GridEvent, disturbance, not_before
from opq_sim.mains.replay import replays
from opq_sim.mains.replayed_recording import ReplayedRecording

ONE_BOOT_ID: Final = 1_528_768_294
"""What the firmware in an emulator reported in each of seven starts."""
SOURCES: Final = {"gps": TimeSource.GPS, "ntp": TimeSource.NTP, "replayed": TimeSource.NTP}
NTP_WRONG_NS: Final = 2_000_000
"""A clock with NTP is wrong by at most this, within its bound."""
RECORDED_S: Final = 3.0
RECORDED_DIP_S: Final = 1.0
NEVER_AGAIN_S: Final = 300.0
ON_DISK_SAMPLES: Final = 12_000
"""The last second before an end need not be on the gateway's disk."""
SAMPLED_AFTER_S: Final = 2.0
"""A dip is sampled when the Box has sent so much after its end."""


@dataclass(frozen=True, slots=True)
class TrueDip:
    """A dip that a Box saw, with its true time."""

    box_id: str
    kind: str
    start: int
    """Number of the Box's start, from 0; what goes on without one has the number before."""
    at_ns: int
    residual_percent: float
    ahead_ns: int = 0
    """How far the clock of its gateway was ahead."""
    within_ns: int = 0
    """How well the true time is known."""


@dataclass(frozen=True, slots=True)
class TrueDark:
    """A loss of supply of a Box, in true time."""

    box_id: str
    from_ns: int
    to_ns: int
    ahead_ns: int = 0
    """How far the clock of its gateway was ahead."""


class RestartedBoxes(CabledBoxes):
    """The Boxes for the `with` block.

    Attributes:
        dips, dark: the truth.
        spans_ns: by Box, [begin, end] of the times in which it sampled; the last one is open.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        drawn: Sequence[RestartedBox],
        seed: int,
        now_ns: Callable[[], int] = time.time_ns,
        ahead_ns: Callable[[int], int] = lambda _: 0,
    ) -> None:
        """`now_ns`: the true time; `ahead_ns`: by gateway, how far its clock is ahead."""
        super().__init__(paths)
        self.drawn = {each.box_id: each for each in drawn if each.box_id in paths}
        self.dips: list[TrueDip] = []
        self.dark: list[TrueDark] = []
        self.spans_ns: dict[str, list[list[int]]] = {box_id: [] for box_id in self.drawn}
        self.now_ns, self._ahead_ns = now_ns, ahead_ns
        self._chance = random.Random(seed)
        self._true_ns: dict[str, int] = {}
        self._goals: dict[str, int] = {}
        self._taken: list[tuple[WatchedBox, float, int]] = []  # (Box, dip in seconds of its run, its place)

    def start(self) -> None:
        self.start_again(self.drawn)
        self._begin_thread()

    def start_again(self, box_ids: Collection[str], lost_supply: bool = False) -> None:
        """Starts new Boxes; `lost_supply`: what they report as the cause."""
        for box_id in box_ids:
            drawn = self.drawn[box_id]
            number = len(self.spans_ns[box_id])
            source, dips_s = self._source(drawn, number)
            boot_id = ONE_BOOT_ID if drawn.kind == "quiet" else self._chance.randrange(1, 1 << 32)
            box = WatchedBox(box_id, source, boot_id)
            if lost_supply:
                box._reset_cause = RESET_POWER
            monotonic_ns, true_ns = time.monotonic_ns(), self.now_ns()
            known = SOURCES.get(drawn.kind, TimeSource.FREE)
            shown_ns = true_ns + self._wrong_ns(drawn.kind)
            with self._lock:
                self.cables[box_id].plug()
                box.start(self.cables[box_id], RunClock(monotonic_ns, shown_ns, UNCERTAINTY_NS[known], known))
                self.boxes[box_id] = box
                self._still.discard(box_id)
            self._true_ns[box_id] = true_ns
            self.spans_ns[box_id].append([true_ns])
            self._note_dips(drawn, number, dips_s)

    def end_program(self, killed: bool) -> None:
        """Ends all Boxes, as the end of their process does; `killed`: the paths of their ports stay."""
        with self._lock:
            for box_id in self.drawn:
                self._still.add(box_id)
                self.cables[box_id].unplug(killed)
                self.spans_ns[box_id][-1].append(self.now_ns())

    def dip_again(self) -> None:
        """Has Boxes that go on see their dips again; a recording is played once in a start."""
        for box_id, drawn in self.drawn.items():
            box, number = self.boxes[box_id], len(self.spans_ns[box_id]) - 1
            if not isinstance(box.source, Generator):
                continue
            now_s = (time.monotonic_ns() - box.clock.monotonic_ns) / 1e9
            with self._lock:
                dips_s = [self._place(box.source, now_s + dip_s, drawn) for dip_s in drawn.dips_s]
            self._note_dips(drawn, number, dips_s)

    def reset(self) -> None:
        """Resets all Boxes; their samples go on."""
        with self._lock:
            for box_id, box in self.boxes.items():
                box.reset()
                self.spans_ns[box_id].append([self.now_ns()])
                self.spans_ns[box_id][-2].append(self.spans_ns[box_id][-1][0])

    def lose_all_supply(self, for_s: float) -> None:
        """Takes the supply from all Boxes for so long."""
        with self._lock:
            for box_id, box in self.boxes.items():
                at_s, _ = box.lose_supply(for_s, {})
                from_ns = self._true_ns[box_id] + round(at_s * 1e9)
                to_ns = from_ns + round(for_s * 1e9)
                self.dark.append(TrueDark(box_id, from_ns, to_ns, self._ahead_of(box_id)))
                self.spans_ns[box_id][-1].append(from_ns)
                self.spans_ns[box_id].append([to_ns])

    def go_dark_with_machine(self, for_s: float) -> None:
        """Notes the loss of supply of a whole site, from the end of the Boxes on."""
        for box_id in self.drawn:
            from_ns = self.spans_ns[box_id][-1][-1]
            to_ns = from_ns + round(for_s * 1e9)
            self.dark.append(TrueDark(box_id, from_ns, to_ns, self._ahead_of(box_id)))

    @property
    def skipped(self) -> frozenset[int]:
        """Places in `dips` of those that their Box did not sample, because this machine was too busy."""
        beside_s = SAMPLED_AFTER_S
        return frozenset(
            place
            for box, dip_s, place in self._taken
            for first, end in box.skips
            if first / RATE_HZ < dip_s + beside_s and dip_s - beside_s < end / RATE_HZ
        )

    def unsampled(self, newest: Callable[[str], Segment | None]) -> str | None:
        """Names the Boxes that have not sampled their dips yet, or whose gateway does not have them on disk.

        `newest`: gives the end of a Box's ring.
        """
        late = []
        for box_id, goal in self._goals.items():
            box, hello = self.boxes[box_id], self.boxes[box_id].hello()
            if box.samples < goal:
                late.append(box_id)
            elif hello.boot_id != ONE_BOOT_ID and (ring := newest(box_id)) is not None:
                on_disk = ring.end_sample >= box.own_number(goal) - ON_DISK_SAMPLES
                late += [] if boot_id_of(ring.start_id) == hello.boot_id and on_disk else [box_id]
        return f"the dips of Boxes {', '.join(late)} are not sampled" if late else None

    def _note_dips(self, drawn: RestartedBox, number: int, dips_s: Sequence[float]) -> None:
        self._taken += [
            (self.boxes[drawn.box_id], dip_s, len(self.dips) + n) for n, dip_s in enumerate(dips_s)
        ]
        for dip_s in dips_s:
            at_ns = self._true_ns[drawn.box_id] + round(dip_s * 1e9)
            self.dips.append(
                TrueDip(
                    drawn.box_id,
                    drawn.kind,
                    number,
                    at_ns,
                    drawn.residual_percent,
                    self._ahead_of(drawn.box_id),
                )
            )
        if dips_s:
            last_s = max(dips_s) + drawn.cycles / 50 + SAMPLED_AFTER_S
            self._goals[drawn.box_id] = round(last_s * RATE_HZ)

    def _ahead_of(self, box_id: str) -> int:
        return self._ahead_ns(self.drawn[box_id].gateway or 0)

    def _wrong_ns(self, kind: str) -> int:
        """How far the Box's own clock is ahead of the true time."""
        if kind == "free":
            return IN_1970_NS - self.now_ns()
        return self._chance.randint(-NTP_WRONG_NS, NTP_WRONG_NS) if SOURCES.get(kind) is TimeSource.NTP else 0

    def _source(self, drawn: RestartedBox, number: int) -> tuple[SampleSource, list[float]]:
        """The samples of a start, and the seconds from sample 0 to each dip."""
        if drawn.kind == "replayed":
            (dip_s,) = drawn.dips_s
            (replay,) = replays([_recording(drawn)], NEVER_AGAIN_S, dip_s - RECORDED_DIP_S)
            return replay, [replay.play_start(0) / RATE_HZ + RECORDED_DIP_S]
        source = Generator(_signal(drawn, number), seed=int(drawn.box_id))
        return source, [self._place(source, dip_s, drawn) for dip_s in drawn.dips_s]

    @staticmethod
    def _place(source: Generator, dip_s: float, drawn: RestartedBox) -> float:
        """Puts a dip into the signal; returns the seconds from sample 0 to it."""
        placed = source.add(not_before(_dip(drawn), source.grid.cycles_at(dip_s)))
        assert isinstance(placed, GridEvent)
        return placed.start_cycles / source.nominal_hz


def _dip(drawn: RestartedBox) -> GridEvent:
    return disturbance("sag", 1.0 - drawn.residual_percent / 100.0, drawn.cycles)


def _signal(drawn: RestartedBox, number: int) -> MainsSignal:
    if drawn.kind == "voltage" and number % 2:
        return MainsSignal(fundamental_v=230.0, v_per_lsb=0.013, nominal_v=230.0, nominal_hz=50.0)
    return MainsSignal(noise_v=0.0) if drawn.kind == "quiet" else MainsSignal()


def _recording(drawn: RestartedBox) -> ReplayedRecording:
    made = Generator(MainsSignal(), seed=int(drawn.box_id))
    made.add(not_before(_dip(drawn), made.grid.cycles_at(RECORDED_DIP_S)))
    counts = np.asarray(made.counts(0, round(RECORDED_S * RATE_HZ)), dtype=np.int16)
    return ReplayedRecording(
        "made.i16",
        counts,
        made.rate_millihz,
        made.v_per_lsb,
        made.nominal_v,
        made.nominal_hz,
        15.0,
        None,
        None,
    )
