"""The firmware that one would flash, in an emulator: every scenario of both suites (opq_hil.suites).

By default those of EVERY_RUN; `-m slow` plays the others, `-m soak` those of hours, and
`-k cold_start -m ""` that one alone.

The runs of suite A also say whether the clock on the PC and the clock in the firmware give the same stamps
for the same pulses and texts. What the Box's clock was fed is known from outside (pulses and text from the
world, readings from Health, the second at which it thought from GpsStatus), so the C files on the PC can be
fed the same, and every block's stamp compared. Both are in this file, so that one process plays the suite.
"""

import bisect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from clock_on_pc import ClockOnPc

from opq_hil.backends.backend import FirmwareRun, backend
from opq_hil.backends.firmware import Firmware
from opq_hil.suites import timekeeping
from opq_hil.suites.catalogue import EVERY_RUN, SCENARIOS
from opq_hil.suites.digests import BOARD, WORLDS, firmware_identity, read_digests, scenarios
from opq_hil.suites.scenario import Bench, ScenarioVerdict
from opq_hil.suites.ticks import TICK_HZ, TICKS_PER_SAMPLE, moments, settle, tick_of
from opq_hil.world.world import NS_PER_S, World
from opq_proto.link.messages import (
    Acknowledgement,
    Command,
    GpsStatus,
    Health,
    Operation,
    Samples,
)
from opq_proto.messages import TimeSource

pytestmark = pytest.mark.timeout(3600)


def mark_of(name: str) -> tuple[pytest.MarkDecorator, ...]:
    if name in EVERY_RUN:
        return ()
    return (pytest.mark.soak if SCENARIOS[name].soak else pytest.mark.slow,)


ALL = [pytest.param(name, marks=mark_of(name), id=name) for name in SCENARIOS]


def test_every_run_plays_scenarios_without_soaks() -> None:
    assert not any(SCENARIOS[name].soak for name in EVERY_RUN)


@pytest.mark.parametrize("scenario", ALL)
def test_the_binary_shows(scenario: str, verdicts: Mapping[str, ScenarioVerdict]) -> None:
    verdict = verdicts[scenario]
    if verdict.outcome == "skipped":
        pytest.skip(verdict.reason)
    assert verdict.outcome == "passed", f"{verdict.reason}; worlds, logs and reports in {verdict.folder}"


DIGESTS = Path(__file__).parents[1] / "digests" / "qemu.json"
COMPILER = "12.2.1"
"""Of Debian bookworm, with which the digests' firmware was built; another one gives other bytes."""


def test_the_digests_are_of_this_trees_firmware(hil_firmware: Mapping[str, Firmware]) -> None:
    report = json.loads((hil_firmware[BOARD].image.flash.parent / "report.json").read_text())
    compiler = report["sources"]["compiler"]
    if COMPILER not in compiler:
        pytest.skip(f"built by {compiler}; the digests' firmware by {COMPILER}")
    assert read_digests(DIGESTS)["firmware"] == firmware_identity(hil_firmware[BOARD]), (
        "the firmware has changed since its digests were made: look at what differs "
        "(opq-tools hil digests --against hil/digests/qemu.json), then --keep hil/digests/qemu.json"
    )


@pytest.mark.slow  # that the digests are of this firmware always holds
@pytest.mark.parametrize("world", WORLDS)
def test_a_short_world_comes_to_what_was_kept(world: str, hil_bench: Bench) -> None:
    (scenario,) = scenarios([world], read_digests(DIGESTS)["worlds"], {})
    scenario.play(hil_bench)


def test_bytes_during_an_erase_come_in_time(hil_firmware: Mapping[str, Firmware], tmp_path: Path) -> None:
    """Whatever the phase to the samples: after time skipped in a poll the emulator's next byte was late."""
    put = (3 * NS_PER_S, Command(1, Operation.PUT_SETTING, "gps=ubx"))  # erases a sector
    asked = (
        (3_050_000_000 + number * 10_170_000, Command(2 + number, Operation.GET_SETTINGS, ""))
        for number in range(20)
    )
    world = World(4 * NS_PER_S, gps=None, messages=(put, *asked))
    run = backend("qemu").run(hil_firmware[BOARD].image, world, tmp_path / "run", wall_limit_s=600)
    assert run.report["flash"]["erases"] == 1 and run.report["usart1"]["overruns"] == 0
    assert len(run.capture.of(Acknowledgement)) == 21


BYTE_NS = 10**10 // 9600
POLL_NS = 10_000_000
"""The Box's main thread takes the receiver's bytes from their queue each 10 ms."""
ONE_TICK_NS = 12


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that reaches the clock, or is to be compared, at a virtual time."""

    t_ns: int
    order: int
    what: object


def story(run: FirmwareRun) -> list[Moment]:
    """All of it in the order in which the Box met it."""
    found = list(_heard(run))
    gps = run.world.gps
    assert gps is not None
    found += [
        Moment(edge + POLL_NS, 0, tick_of(edge))
        for edge in gps.pulses(run.world.oscillator, run.world.end_ns)
    ]
    for start, text in gps.text(run.world.oscillator, run.world.end_ns):
        for at in range(0, len(text), 8):
            piece = text[at : at + 8]
            found.append(Moment(start + (at + len(piece)) * BYTE_NS, 1, piece))
    return sorted(found, key=lambda moment: (moment.t_ns, moment.order))


def _heard(run: FirmwareRun) -> Iterator[Moment]:
    healths = run.capture.timed(Health)
    for t_ns, status in run.capture.timed(GpsStatus):
        _, health = min(healths, key=lambda timed: abs(timed[0] - t_ns))  # of the same second
        yield Moment(t_ns - 700_000, 2, (status, health.temperature_c))  # queued, and 49 bytes on the line
    for t_ns, block in run.capture.timed(Samples):
        yield Moment(t_ns, 3, block)


def thought_at(told_ns: int, ticks: Sequence[int], blocks: Sequence[Samples], guess: int) -> int:
    """The tick at which the Box thought: from the time that it reports and its own stamps around it."""
    if told_ns < blocks[0].t_ns:  # counted from its start, at the nominal rate
        return ticks[0] - round((blocks[0].t_ns - told_ns) * 21 / 250)
    near = bisect.bisect(ticks, guess)
    for at in range(max(0, near - 8), min(near + 8, len(blocks) - 1)):
        before_ns, after_ns = blocks[at].t_ns, blocks[at + 1].t_ns
        if before_ns <= told_ns < after_ns < before_ns + 10**9:
            share = Fraction(told_ns - before_ns, after_ns - before_ns)
            return ticks[at] + round(share * (ticks[at + 1] - ticks[at]))
    return guess  # where the time steps


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(
            scenario.name, marks=() if scenario.name in EVERY_RUN else pytest.mark.slow, id=scenario.name
        )
        for scenario in timekeeping.CLOCK
    ],
)
def test_pc_and_box_give_the_same_stamps(scenario: str, verdicts: Mapping[str, ScenarioVerdict]) -> None:
    verdict = verdicts[scenario]
    if verdict.outcome == "skipped":
        pytest.skip(verdict.reason)
    run = verdict.runs[-1]
    pairs = run.capture.timed(Samples)
    blocks = [block for _, block in pairs]
    found = moments(blocks, [t_ns for t_ns, _ in pairs])
    found = settle(found, run.world, [block for block in blocks if block.source is TimeSource.GPS])
    ticks = [found.zero + TICKS_PER_SAMPLE * block.first_sample for block in blocks]
    began = ticks[0] - round(blocks[0].t_ns * 21 / 250)  # the clock counted from its start then
    clock = ClockOnPc(began, tcxo=True)
    compared = 0
    for moment in story(run):
        match moment.what:
            case int(edge):
                clock.pps(edge)
            case bytes(piece):
                clock.receive(piece, tick_of(moment.t_ns))
            case (GpsStatus() as status, celsius):
                now = thought_at(status.t_ns, ticks, blocks, tick_of(moment.t_ns))
                assert abs(now - tick_of(moment.t_ns)) < TICK_HZ // 100
                clock.temperature(now, float("nan") if celsius is None else celsius)
                ours = clock.tick(now), clock.status().pulse_offset_ns
                assert ours[0] == status.state, f"state at {moment.t_ns / 1e9:.1f} s"
                assert abs(ours[1] - status.pps_offset_ns) <= ONE_TICK_NS, f"at {moment.t_ns / 1e9:.1f} s"
            case Samples() as block:
                stamp = clock.stamp(found.zero + TICKS_PER_SAMPLE * block.first_sample)
                where = f"sample {block.first_sample} at {moment.t_ns / 1e9:.3f} s: {stamp} {block.t_ns}"
                assert abs(stamp.t_ns - block.t_ns) <= ONE_TICK_NS, where
                assert stamp.source == block.source, where
                assert abs(stamp.rate_millihz - block.rate_millihz) <= 1, where
                compared += 1
    assert compared == len(blocks) > 3000  # 50 s
