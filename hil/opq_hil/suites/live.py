"""Suite B: a Box in real time on a pty, and the real gateway process at its other end.

Real time is not exact: stamps may be wrong by tens of microseconds, and a scheduler may delay anything. Waits
are in the Box's time, because an emulator may be slower than its host.
"""

import itertools
from dataclasses import replace

import numpy as np

from opq_hil.gps.receiver import Gps
from opq_hil.suites.gateway_process import GatewayProcess
from opq_hil.suites.recordings import RATE_HZ, place, played, real_dip
from opq_hil.suites.scenario import Bench, Figures, FirmwareScenario, require
from opq_hil.world.line import BenchLine
from opq_hil.world.strategy import reach
from opq_hil.world.world import NS_PER_S, BitNoise, Sine, World
from opq_proto.link.messages import Operation, Status
from opq_proto.messages import TimeSource

STAMP_NS = 200_000
"""Limit for a stamp against its neighbours: interrupts of an emulator in real time come tens of us late."""
LONG_NS = 3600 * NS_PER_S


def gateway(bench: Bench) -> Figures:
    """A recorded dip arrives in the ring of a real gateway, bit for bit, no sample missing.

    A board plays it with the mains that it has.
    """
    world, counts = World(LONG_NS), None
    if bench.box is None:  # the mains of a board are its own
        counts = real_dip()
        # again and again: a gateway that starts late on a full machine misses the first one
        world = World(LONG_NS, mains=replace(played(counts, 9), loop=True))
    with (
        bench.live(world, settings={"oversampling": "1", "box_id": "1"}) as box,
        GatewayProcess({"1": box.port}, bench.folder / "gateway", box.now_s) as running,
    ):
        running.wait_until(lambda: running.samples() > 24 * RATE_HZ, 240.0, "24 s of samples")
        running.pass_time(5.0)
        blocks = running.blocks()
    row = np.concatenate([block.counts for block in blocks])
    holes = sum(after.first_sample != before.end_sample for before, after in itertools.pairwise(blocks))
    require(holes == 0, f"{holes} holes in the ring")
    if counts is not None:
        require(place(row, counts) >= 0, f"the recording is not among {len(row)} samples of the ring")
    locked = [block for block in blocks if block.source is TimeSource.GPS]
    require(len(locked) > 60, f"{len(locked)} blocks stamped by GPS; want more than 60")
    steps = [
        after.t_ns - before.t_ns - len(before.counts) * 10**12 // before.rate_millihz
        for before, after in itertools.pairwise(locked)
    ]
    worst = max(map(abs, steps), default=0)
    require(worst < STAMP_NS, f"stamps step by {worst} ns off their rate; want < {STAMP_NS}")
    return {"samples": len(row), "worst_step_ns": worst}


def corrupted(bench: Bench) -> Figures:
    """1e-4 of the bytes damaged both ways for 20 s; a real gateway requests them: none is missing."""
    noise = (BitNoise(1e-4, False, 5), BitNoise(1e-4, True, 6))
    with (
        bench.live(World(LONG_NS, mains=Sine(), gps=Gps(), noise=noise), settings={"box_id": "1"}) as box,
        GatewayProcess({"1": box.port}, bench.folder / "gateway", box.now_s) as running,
    ):
        running.wait_until(lambda: running.samples() > 20 * RATE_HZ, 240.0, "20 s of samples")
        blocks = running.blocks()
    missing = sum(after.first_sample - before.end_sample for before, after in itertools.pairwise(blocks))
    samples = sum(len(block.counts) for block in blocks)
    require(missing == 0, f"{missing} of {samples} samples missing")
    return {"samples": samples, "missing": missing}


def killed(bench: Bench, kills: int = 3) -> Figures:
    """A gateway that is killed and started again as systemd does it: no sample is missing in its ring."""
    with (
        bench.live(World(LONG_NS), settings={"box_id": "1"}) as box,
        GatewayProcess({"1": box.port}, bench.folder / "gateway", box.now_s) as running,
    ):
        done = running.survive_kills(kills)
        lost, samples = running.lost("1"), running.samples("1")
    excused = done.excused_samples
    require(lost <= excused, f"{lost} of {samples} samples missing after {kills} kills, {excused} excused")
    figures = {"samples": samples, "lost": lost, "longest_deaf_s": max(done.recovery_s)}
    return {"kills": kills, **figures}


def often_killed(bench: Bench) -> Figures:
    """`killed`, 100 times."""
    return killed(bench, 100)


def commands(bench: Bench) -> Figures:
    """A Box on a line is brought to sampling, accepts a setting, refuses a wrong one, and starts again."""
    with bench.live(World(LONG_NS)) as box, BenchLine(box.port, box.now_s) as line:
        reach(line, "sampling", 30)
        for argument, status in (("nominal_hz=50", Status.DONE), ("nominal_hz=5000", Status.BAD_ARGUMENT)):
            answer = line.send_command(Operation.PUT_SETTING, argument)
            require(answer.status is status, f"{argument} ended as {answer.status.name}: {answer.detail}")
        began_s = box.now_s()
        line.send_command(Operation.RESET)
        reach(line, "sampling", 30)
        return {"reset_to_sampling_s": box.now_s() - began_s}


SCENARIOS = (
    FirmwareScenario("live_commands", "reached, set, reset on a line in real time", commands, suite="B"),
    FirmwareScenario("live_gateway", "a recorded dip into the ring of a real gateway", gateway, suite="B"),
    FirmwareScenario(
        "live_corrupted", "a damaged line and a real gateway that asks again", corrupted, suite="B"
    ),
    FirmwareScenario("live_killed", "a gateway killed 3 times, restarted as by systemd", killed, suite="B"),
    FirmwareScenario("often_killed", "the same 100 times", often_killed, suite="B", soak=True),
)
