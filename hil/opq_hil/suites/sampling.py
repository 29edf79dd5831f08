"""Sampling: the Box starts, misses nothing, and its samples are the input."""

from itertools import pairwise

from opq_hil.gps.receiver import Gps
from opq_hil.suites.scenario import (
    Bench,
    Figures,
    FirmwareScenario,
    ScenarioFailedError,
    SkippedError,
    require,
)
from opq_hil.world.capture import Capture, holes, overruns, waveform
from opq_hil.world.strategy import NotReachedError, when
from opq_hil.world.world import NS_PER_S, World
from opq_proto.link.messages import Health, Hello, Samples

BOOT_S = 5.0
"""Limit from power-on to the first block, including the check of the image's signature."""
RATE_HZ = 12_000
TICKS_PER_SAMPLE = 7000  # of TIM5, 84 MHz / 12 kS/s
BOARDS_SKIPPED = "boards_skipped"
"""Figure of a scenario of several boards: those that it did not play."""


def boots(bench: Bench) -> Figures:
    """Power on: hello and samples come within BOOT_S, the same bytes each time; a verdict per board."""
    figures: dict[str, float | int | str] = {}
    verdicts: dict[str, str] = {}
    for board in bench.backend.boards:
        try:
            figures |= _board_boots(bench, board)
            verdicts[board] = "passed"
        except SkippedError as error:
            verdicts[board] = f"skipped: {error}"
        except (ScenarioFailedError, NotReachedError) as error:
            verdicts[board] = f"failed: {error}"
    results = "; ".join(f"{board} {verdict}" for board, verdict in verdicts.items())
    require(not any(verdict.startswith("failed") for verdict in verdicts.values()), results)
    if "passed" not in verdicts.values():
        raise SkippedError(results)
    skipped = sum(verdict.startswith("skipped") for verdict in verdicts.values())
    return {**verdicts, **figures, BOARDS_SKIPPED: skipped}


def _board_boots(bench: Bench, board: str) -> Figures:
    facts = bench.firmware(board).image.board
    run = bench.run(World(8 * NS_PER_S), board, name=board)
    sampling_s = when(run.capture.received, "running, sampling") / NS_PER_S
    require(sampling_s < BOOT_S, f"sampled after {sampling_s:.2f} s; want {BOOT_S} s")
    hello = run.capture.of(Hello)[-1]
    require(hello.rate_millihz == RATE_HZ * 1000, f"says {hello.rate_millihz} mHz")
    volts = facts.front_end.v_per_lsb
    require(abs(hello.v_per_lsb / volts - 1) < 1e-6, f"says {hello.v_per_lsb} V per LSB, not {volts}")
    unmodelled = [entry["address"] for entry in run.report.get("unmodelled", ())]
    require(not unmodelled, f"touched registers that no model has: {', '.join(unmodelled)}")
    violations = [entry["what"] for entry in run.report.get("violations", ())]
    require(not violations, f"did what silicon does not like: {'; '.join(violations)}")
    nothing_missed(run.capture, since_s=BOOT_S, end_s=8.0)
    if bench.backend.deterministic and board == bench.board:
        again = bench.run(World(8 * NS_PER_S), board, name="again")
        require(again.capture.data == run.capture.data, "the same world gave other bytes")
    return {f"{board}_sampling_s": sampling_s, f"{board}_effective_bits": hello.effective_bits}


def half_minute(bench: Bench) -> Figures:
    """As `five_minutes`, for 30 s."""
    return _long(bench, 30)


def five_minutes(bench: Bench) -> Figures:
    """300 s of sampling: none missed by index, none by the ticks of TIM5 from which the stamps are made."""
    return _long(bench, 300)


def one_hour(bench: Bench) -> Figures:
    """As `five_minutes`, for 3600 s."""
    return _long(bench, 3600)


def _long(bench: Bench, seconds: int) -> Figures:
    run = bench.run(World((seconds + 5) * NS_PER_S))
    blocks = nothing_missed(run.capture, since_s=BOOT_S, end_s=seconds + 5)
    steps = stamp_steps(run.capture, run.world.gps)
    figures: dict[str, float | int | str] = {
        "blocks": blocks,
        "largest_stamp_step_error_ns": steps,
        "speed": seconds / run.wall_s,
    }
    if "spi2" in run.report:
        figures["conversions"] = int(run.report["spi2"]["conversions"])
    return figures


def nothing_missed(capture: Capture, since_s: float, end_s: float) -> int:
    """Checks that no index is missing, the Box reports no loss, and there are as many samples as fit into the
    time.

    Returns the number of blocks; raises ScenarioFailedError.
    """
    blocks = capture.fresh
    gaps = holes(blocks)
    require(not gaps, f"{len(gaps)} holes, the first at sample {gaps[0][0] if gaps else 0}")
    whole = waveform(blocks)
    require(whole.missing == 0 and whole.conflicts == 0, f"{whole.missing} missing, {whole.conflicts} differ")
    require(overruns(blocks) == 0, f"{overruns(blocks)} blocks after an overrun")
    health = capture.of(Health)[-1]
    lost = (health.overruns, health.missing_samples, health.tx_dropped)
    require(lost == (0, 0, 0), f"overruns, missing samples, bytes dropped: {lost}")
    expected = (end_s - since_s) * RATE_HZ
    have = len(whole.counts)
    require(
        have >= expected - RATE_HZ // 10, f"{have} samples from {since_s} s to {end_s} s; want {expected:.0f}"
    )
    for name in ("crc_errors", "malformed", "oversize", "sequence_gaps"):
        require(capture.counters[name] == 0, f"{name} on a clean line: {capture.counters[name]}")
    return len(blocks)


def stamp_steps(capture: Capture, gps: Gps | None) -> int:
    """Largest difference, in ns, between a step of the stamps and its samples at the stated rate, while
    locked.

    The stamps are made from the ticks at which samples were taken: a sample that the timer misses or doubles
    is a step of 83,333 ns.
    """
    worst = 0
    blocks = [block for block in capture.of(Samples) if block.source.name == "GPS"]
    for before, after in pairwise(blocks):
        samples = after.first_sample - before.first_sample
        step = samples * 10**12 // before.rate_millihz
        worst = max(worst, abs(after.t_ns - before.t_ns - step))
    require(gps is None or worst < 20_000, f"stamps step by {worst} ns off their rate")
    return worst


SCENARIOS = (
    FirmwareScenario("boots", "every board comes up sampling, with the same bytes each time", boots),
    FirmwareScenario(
        "half_minute",
        "30 s of sampling by index and by TIM5, none missed",
        half_minute,
        virtual_s=35,
    ),
    FirmwareScenario(
        "five_minutes",
        "5 min of sampling by index and by TIM5, none missed",
        five_minutes,
        virtual_s=305,
    ),
    FirmwareScenario(
        "one_hour", "1 h of sampling, none missed", one_hour, virtual_s=3605, soak=True, wall_limit_s=3600
    ),
)
