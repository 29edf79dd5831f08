"""Supervision: a Box that hangs starts again by itself and logs the cause; hours of running do not use up
its heap.
"""

from collections.abc import Sequence

from opq_hil.suites.line_faults import logged
from opq_hil.suites.sampling import nothing_missed
from opq_hil.suites.scenario import Bench, Figures, FirmwareScenario, require
from opq_hil.world.capture import Capture, overruns
from opq_hil.world.line import typed
from opq_hil.world.strategy import when
from opq_hil.world.world import NS_PER_S, World
from opq_proto.link.log_codes import RESET_CAUSES
from opq_proto.link.messages import Health, Samples

HANG_S = 4.0
WATCHDOG_S = 8.192
"""IWDG at 32 kHz, divided by 64, 4,096 counts (device/port/watchdog.c)."""
WATCHDOG = next(code for code, words in RESET_CAUSES.items() if words == "watchdog")
SYSTICK_CONTROL = 0xE000E010
SUPERVISED_HOURS = 6
CREEP_BYTES = 64
"""Four blocks of the heap: a conservative collector sometimes takes a number on the stack for a pointer, and
the low-water mark records each such case. One block lost per minute would be 5,760 bytes in 6 h.
"""


def watchdog(bench: Bench) -> Figures:
    """At the prompt, SysTick, which feeds the watchdog there, is switched off and a loop entered."""
    hang = (f"import machine; machine.mem32[{SYSTICK_CONTROL}] = 0", "while True: pass", "")
    messages = typed(round((HANG_S - 0.5) * NS_PER_S), hang)
    run = bench.run(World(round((HANG_S + WATCHDOG_S + 4) * NS_PER_S), messages=messages))
    after_ns = round((HANG_S + 1) * NS_PER_S)
    again_s = when(run.capture.received, "sampling", after_ns=after_ns) / NS_PER_S
    took_s = again_s - HANG_S
    require(
        took_s < WATCHDOG_S + 1.0, f"samples again {took_s:.1f} s after the hang; want {WATCHDOG_S + 1:.1f} s"
    )
    started = logged(run, "box.started")
    require(
        len(started) == 2 and started[-1].b == WATCHDOG,
        f"starts reported: {[(line.a, line.b) for line in started]}; want two, the last by cause {WATCHDOG}",
    )
    causes = {health.reset_cause for health in run.capture.of(Health, after_ns=after_ns)}
    require(causes == {WATCHDOG}, f"reset causes in Health: {causes}")
    return {"samples_again_after_s": took_s}


def hours(bench: Bench) -> Figures:
    """6 h of sampling, locked: nothing missed, and the heap's low-water mark does not creep."""
    return flat(bench.run(World(SUPERVISED_HOURS * 3600 * NS_PER_S), wall_limit_s=4 * 3600).capture)


def flat(capture: Capture) -> Figures:
    """Judges the messages of `hours`."""
    nothing_missed(capture, since_s=5.0, end_s=SUPERVISED_HOURS * 3600)
    heap = heap_marks([health.heap_free_bytes for health in capture.of(Health)])
    return {**heap, "blocks": len(capture.of(Samples)), "overruns": overruns(capture.fresh)}


def heap_marks(marks: Sequence[int]) -> Figures:
    """Checks that the low-water mark, one per second, is flat from the first minute on."""
    first, last = marks[60], marks[-1]
    require(
        last >= first - CREEP_BYTES, f"heap low-water mark: {first} bytes after a minute, {last} at the end"
    )
    return {"heap_after_a_minute_bytes": first, "heap_bytes": last, "lowest_since_s": marks.index(last)}


SCENARIOS = (
    FirmwareScenario("watchdog", "a forced hang ends in a reset by the watchdog, and it says so", watchdog),
    FirmwareScenario(
        "hours", "6 h of sampling, the heap's low-water mark flat", hours, virtual_s=21600, soak=True
    ),
)
