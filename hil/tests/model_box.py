"""A backend for tests of the suites themselves: a Box by formula, with faults on request; no emulator.

It samples the world's waveform each 7000 ticks, stamps by the truth, and reports it in frames. On request
these go wrong: samples lost with or without a word, stamps off, bounds too small, bytes that differ.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from opq_hil.backends.backend import BackendError, FirmwareRun, Image, LiveBox
from opq_hil.backends.boards import EMULATED
from opq_hil.suites.ticks import TICKS_PER_SAMPLE, ns_of, tick_of
from opq_hil.world.capture import Capture
from opq_hil.world.world import NS_PER_S, Played, World
from opq_proto.link import frames as link
from opq_proto.link.messages import (
    FLAG_OVERRUN_BEFORE,
    Acknowledgement,
    Command,
    GpsState,
    GpsStatus,
    Health,
    Hello,
    LinkMessage,
    Samples,
    Status,
)
from opq_proto.messages import TimeSource

BLOCK = 200
START_NS = 300_000_123
LOCK_S = 20.0
UNKNOWN = 0xFFFF_FFFF


@dataclass
class ModelBox:
    """Attributes are what is wrong with it."""

    lost: tuple[int, int] | None = None
    """(block, blocks) that never come."""
    reports_losses: bool = True
    """Whether it admits them."""
    stamp_error_ns: int = 0
    bound_ns: int = 500
    tick_slip: int = 0
    """Ticks by which sampling slips after 30 s."""
    unsteady: bool = False
    """Other bytes in each run."""
    refuses: bool = False
    name: str = "model"
    deterministic: bool = True
    wall_factor: float = 1.0
    start_s: float = 0.0
    version: str = "model"
    boards: tuple[str, ...] = EMULATED
    runs: int = field(default=0)

    def why_not(self, world: World | None) -> str | None:
        return None

    def run(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None, wall_limit_s: float
    ) -> FirmwareRun:
        self.runs += 1
        log = []
        for sequence, (t_ns, message) in enumerate(
            sorted(self._says(world, image), key=lambda entry: entry[0])
        ):
            log.append((t_ns, link.encode(message, sequence)))
        flash = folder / "flash.bin"
        flash.write_bytes(b"")
        return FirmwareRun(world, folder, Capture(log), {"end": "end"}, flash, 0.1)

    @contextmanager
    def live(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None
    ) -> Iterator[LiveBox]:
        raise BackendError("a model has no port")
        yield LiveBox(str(folder))

    def _says(self, world: World, image: Image) -> Iterator[tuple[int, LinkMessage]]:
        first_tick = tick_of(START_NS)
        boot_id = self.runs if self.unsteady else 1
        hello = Hello(
            1,
            0,
            boot_id,
            12_000_000,
            image.board.front_end.v_per_lsb,
            120.0,
            60.0,
            15.0,
            BLOCK,
            36_000,
            "opqbox",
            "model",
        )
        yield START_NS, hello
        for at_ns, message in world.messages:
            if isinstance(message, Command):
                yield (
                    at_ns + 1000,
                    Acknowledgement(message.command_id, Status.BAD_ARGUMENT if self.refuses else Status.DONE),
                )
        missing = 0
        for number in range(10**9):
            first = number * BLOCK
            tick = first_tick + TICKS_PER_SAMPLE * first
            end_ns = int(ns_of(tick + TICKS_PER_SAMPLE * BLOCK)) + 6_000_000
            if end_ns >= world.end_ns:
                break
            if self.lost and self.lost[0] <= number < sum(self.lost):
                missing += BLOCK
                continue
            flags = (
                FLAG_OVERRUN_BEFORE if self.reports_losses and self.lost and number == sum(self.lost) else 0
            )
            yield end_ns, self._block(world, first, tick, flags)
        for second in range(1, world.end_ns // NS_PER_S):
            state = self._state(world, second * 1.0)
            yield second * NS_PER_S, GpsStatus(state, 9, 0, 0, 0, 0, 0, 0, 18)
            yield (
                second * NS_PER_S,
                Health(
                    second * 1000,
                    None,
                    None,
                    None,
                    100,
                    0,
                    0,
                    missing if self.reports_losses else 0,
                    0,
                    0,
                    40_000,
                    1,
                ),
            )

    def _state(self, world: World, at_s: float) -> GpsState:
        if world.gps is None or at_s < world.gps.fix_s:
            return GpsState.FREE
        if at_s < world.gps.fix_s + LOCK_S:
            return GpsState.ACQUIRING
        gone = any(start <= at_s < end for start, end in world.gps.outages)
        return GpsState.HOLDOVER if gone else GpsState.LOCKED

    def _block(self, world: World, first: int, tick: int, flags: int) -> Samples:
        ticks = tick + TICKS_PER_SAMPLE * np.arange(BLOCK)
        if ns_of(tick) > 30 * NS_PER_S:
            ticks = ticks + self.tick_slip
        counts = np.zeros(BLOCK, np.int16)
        if isinstance(world.mains, Played):
            at = (ticks * 250 // 21 - world.mains.start_ns) * world.mains.rate_millihz // 10**12
            if world.mains.rate_millihz == 84_000_000_000:
                at = ticks
            size = len(world.mains.counts)
            counts = world.mains.counts[at % size if world.mains.loop else np.clip(at, 0, size - 1)]
        virtual_ns = int(ns_of(tick))
        state = self._state(world, virtual_ns / NS_PER_S)
        source = {
            GpsState.LOCKED: TimeSource.GPS,
            GpsState.HOLDOVER: TimeSource.HOLDOVER,
        }.get(state, TimeSource.FREE)
        if source is TimeSource.FREE or world.gps is None:
            return Samples(first, virtual_ns, UNKNOWN, TimeSource.FREE, 12_000_000, flags, counts)
        t_ns = world.gps.utc_ns(world.oscillator.true_ns(virtual_ns)) + self.stamp_error_ns
        bound = self.bound_ns
        if source is TimeSource.HOLDOVER:
            lost_s = next(start for start, end in world.gps.outages if start <= virtual_ns / NS_PER_S < end)
            bound += round((virtual_ns / NS_PER_S - lost_s) * 100)
        return Samples(first, t_ns, bound, source, 12_000_000, flags, counts)


def broken(**what: object) -> ModelBox:
    """A model with something wrong."""
    return replace(ModelBox(), **what)  # type: ignore[arg-type]
