"""Faults of line and power that a Box must survive and report."""

from itertools import pairwise

from opq_hil.backends.backend import FirmwareRun
from opq_hil.suites.sampling import nothing_missed, stamp_steps
from opq_hil.suites.scenario import Bench, Figures, FirmwareScenario, require
from opq_hil.world.capture import waveform
from opq_hil.world.world import (
    BATTERY_CHANNEL,
    NS_PER_S,
    SUPPLY_CHANNEL,
    BitNoise,
    PowerScript,
    World,
    voltage_readings,
)
from opq_proto.link import log_codes
from opq_proto.link.messages import (
    Acknowledgement,
    Command,
    Health,
    LinkMessage,
    Log,
    Operation,
    Resend,
    Samples,
    Status,
)

RATE_HZ = 12_000
EVENT_OF = {code.event: number for number, code in log_codes.CODES.items()}


def logged(run: FirmwareRun, event: str) -> list[Log]:
    """Log lines of one event (`box.on_battery`, ...), in order."""
    return [line for line in run.capture.of(Log) if line.code == EVENT_OF[event]]


def corrupted_line(bench: Bench) -> Figures:
    """One byte in 10,000 has a flipped bit, both ways: every sample arrives or is counted, none is wrong.

    The gateway is a script: each second it requests samples that are 0.5 s and 1.5 s old, whether it misses
    them or not. So the Box resends at twice the real rate while it sends the fresh samples.
    """
    seconds = 28
    messages: list[tuple[int, LinkMessage | bytes]] = []
    for second in range(6, seconds - 2):
        messages += [  # long ones, so that the line towards the Box is hit too; none changes a setting
            (
                second * NS_PER_S + part * NS_PER_S // 10,
                Command(second * 10 + part, Operation.PUT_SETTING, "x" * 200),
            )
            for part in range(10)
        ]
        newest = second * RATE_HZ - RATE_HZ // 2  # sampling begins 0.14 s after power-on
        messages += [(second * NS_PER_S, Resend(newest - age * RATE_HZ, RATE_HZ)) for age in (2, 1)]
    noise = (BitNoise(1e-4, False, 5), BitNoise(1e-4, True, 6))
    run = bench.run(World(seconds * NS_PER_S, messages=tuple(messages), noise=noise))
    requested = range(4 * RATE_HZ, (seconds - 5) * RATE_HZ)
    blocks = [block for block in run.capture.of(Samples) if block.first_sample in requested]
    whole = waveform(blocks)
    require(whole.conflicts == 0, f"{whole.conflicts} samples came with two values: a bad frame passed")
    lost_frames = frames_lost(run)
    unseen = -(-whole.missing // 200)
    damaged = sum(run.capture.counters[name] for name in ("crc_errors", "malformed", "oversize"))
    require(
        unseen <= lost_frames and damaged > 0, f"{unseen} blocks missing, {lost_frames} frames known as lost"
    )
    require(
        whole.missing * 1000 <= len(whole.counts), f"{whole.missing} of {len(whole.counts)} samples missing"
    )
    health = run.capture.of(Health)[-1]
    acknowledged = {answer.command_id for answer in run.capture.of(Acknowledgement)}
    sent = {message.command_id for _, message in messages if isinstance(message, Command)}
    silent = len(sent - acknowledged)
    require(health.crc_errors > 0, "no bad frame counted by the Box")
    require(silent < len(sent) // 5, f"{silent} of {len(sent)} commands without an answer")
    require(health.overruns == 0 and health.missing_samples == 0, "samples were lost before the line")
    return {
        "samples": len(whole.counts),
        "missing": whole.missing,
        "frames_lost": lost_frames,
        "box_crc_errors": health.crc_errors,
        "commands_unanswered": silent,
    }


def frames_lost(run: FirmwareRun) -> int:
    """Frames that are missing by their sequence numbers."""
    numbers = [received.sequence for received in run.capture.received]
    return sum((after - before - 1) & 0xFFFF for before, after in pairwise(numbers))


def silent_minute(bench: Bench) -> Figures:
    """The gateway sends nothing for a minute, then requests the last 2 s: they come, nothing was lost."""
    return _silent(bench, 60)[1]


def silent_spell(bench: Bench) -> Figures:
    """The same with 20 s, and the check of `half_minute`: no sample is missed by the ticks of TIM5 either."""
    run, figures = _silent(bench, 20)
    return {**figures, "largest_stamp_step_error_ns": stamp_steps(run.capture, run.world.gps)}


def _silent(bench: Bench, silent_s: int) -> tuple[FirmwareRun, Figures]:
    request_s = 7 + silent_s
    requested = (request_s - 3) * RATE_HZ + RATE_HZ // 2  # of the ring's 3.2 s
    messages: tuple[tuple[int, LinkMessage | bytes], ...] = (
        (6 * NS_PER_S, Command(1, Operation.HELLO)),
        (request_s * NS_PER_S, Command(2, Operation.HELLO)),
        (request_s * NS_PER_S, Resend(requested, 2 * RATE_HZ)),
    )
    run = bench.run(World((request_s + 5) * NS_PER_S, messages=messages))
    nothing_missed(run.capture, since_s=5.0, end_s=request_s + 5)
    answers = [answer.status for answer in run.capture.of(Acknowledgement)]
    require(answers == [Status.DONE, Status.DONE], f"commands ended as {answers}")
    again = [block for block in run.capture.of(Samples) if block.flags & 4]
    have = waveform(again) if again else None
    require(
        have is not None
        and have.first_sample == requested
        and len(have.counts) == 2 * RATE_HZ
        and not have.missing,
        f"of 24000 requested samples, {0 if have is None else len(have.counts) - have.missing} came again",
    )
    require(waveform(run.capture.of(Samples)).conflicts == 0, "what came again differs from what came first")
    return run, {"resent_blocks": len(again)}


def battery(bench: Bench) -> Figures:
    """Supply lost at 8 s, back at 16 s, lost again at 22 s, and the battery empty at 28 s."""
    supply = voltage_readings(SUPPLY_CHANNEL, ((0, 5.0), (8, 0.0), (16, 5.0), (22, 0.0)))
    cell = voltage_readings(BATTERY_CHANNEL, ((0, 4.0), (28, 3.2)))
    run = bench.run(World(36 * NS_PER_S, power=PowerScript(adc=supply + cell)))
    for event, count in (("box.on_battery", 2), ("box.supply_back", 1), ("box.battery_low", 1)):
        lines = logged(run, event)
        require(len(lines) == count, f"{event}: {len(lines)} times; want {count}")
    switched_ms = logged(run, "box.on_battery")[0].uptime_ms
    require(
        7000 <= switched_ms <= 10_500, f"on battery: reported at {switched_ms} ms; the supply fell at 8 s"
    )
    require(bool(logged(run, "box.stopped")), "an empty battery did not end in an orderly stop")
    return {"told_after_ms": switched_ms - 8000}


def brown_out(bench: Bench) -> Figures:
    """The supply sinks below the detector's threshold for 100 ms: the Box reports it and still samples."""
    run = bench.run(
        World(
            16 * NS_PER_S,
            power=PowerScript(pvd=((8 * NS_PER_S, True), (8 * NS_PER_S + NS_PER_S // 10, False))),
        )
    )
    last = run.capture.timed(Samples)[-1][0] / NS_PER_S
    require(last > 15.0, f"the last samples came at {last:.1f} s; want sampling again after the sag")
    return {"log_lines": len(run.capture.of(Log))}


SCENARIOS = (
    FirmwareScenario(
        "corrupted_line", "1e-4 of the bytes damaged, both ways: delivered or counted", corrupted_line
    ),
    FirmwareScenario("silent_spell", "the gateway is silent for 20 s of half a minute", silent_spell),
    FirmwareScenario("silent_minute", "the gateway is silent for a minute", silent_minute, virtual_s=72),
    FirmwareScenario("battery", "on battery, back, and empty: an orderly stop", battery),
    FirmwareScenario("brown_out", "the supply sinks below the detector's threshold", brown_out),
)
