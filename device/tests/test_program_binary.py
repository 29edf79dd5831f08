"""A user's box.py in the binary that one would flash, on our QEMU: it runs, is replaced, and is stopped."""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import count

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_hil.backends.backend import FirmwareRun
from opq_hil.backends.firmware import NO_FIRMWARE, Firmware
from opq_hil.suites.scenario import Bench
from opq_hil.suites.updates import confirmed
from opq_hil.world.world import NS_PER_S, World
from opq_proto.errors import OpqError
from opq_proto.link.box_facts import box_facts
from opq_proto.link.log_codes import CODES
from opq_proto.link.messages import (
    Acknowledgement,
    BoxFacts,
    BoxMeasurement,
    ChannelValue,
    Command,
    Crossing,
    CrossingKind,
    Health,
    Log,
    Operation,
    Samples,
    Status,
)
from opq_proto.link.user_program import MAX_BYTES, put_arguments, read_report

pytestmark = pytest.mark.timeout(12_000)
APART_NS = 30_000_000
"""Between two commands of a transfer, so that each is answered before the next."""
GOOD = b"""from opq import program
seen = 0
def window(w):
    global seen
    seen += 1
    program.log(seen, round(w.rms_v))
    if seen == 3:
        program.crossing("swell", True, w.rms_v, 100.0)
"""
LOOPS = b"""from opq import program
program.crossing("dip", True, 1.0, 50.0)
def window(w):
    while True:
        try:
            while True:
                pass
        except:
            pass
"""
FILLS = b"""kept = []
def window(w):
    try:
        while True:
            kept.append(bytearray(2000))
    except MemoryError:
        pass
"""
FILLS_AT_ONCE = b"def window(w):\n    return bytearray(100000)\n"
RAISES = b"def window(w):\n    if w.rms_v > 1:\n        raise ValueError('too high')\n"
SUMS = b"def window(w):\n    sum(range(100000))\n"


@pytest.fixture(scope="session")
def hil_firmware(request: pytest.FixtureRequest) -> Mapping[str, Firmware]:
    """Firmware built from this tree (cached) unless --hil-firmware or OPQ_FIRMWARE_DIR names some."""
    from opq_tools.hil.built_firmware import firmware_for

    try:
        option = request.config.getoption
        return firmware_for(option("--hil-firmware"), board_dir=option("--hil-board-dir"))
    except OpqError as error:
        pytest.skip(f"{NO_FIRMWARE}: {error}")


class Script:
    """Commands at virtual times."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, Command]] = []
        self._ids: Iterator[int] = count(1)

    def program(self, at_ns: int, argument: str) -> int:
        """Returns the number of the command."""
        number = next(self._ids)
        self.messages.append((at_ns, Command(number, Operation.PROGRAM, argument)))
        return number

    def put(self, at_s: float, text: bytes) -> int:
        """Replaces the program; returns the number of the last command."""
        at_ns, number = round(at_s * NS_PER_S), 0
        for argument in put_arguments(text):
            number = self.program(at_ns, argument)
            at_ns += APART_NS
        return number


def answers(run: FirmwareRun) -> dict[int, tuple[Status, str]]:
    return {each.command_id: (each.status, each.detail) for each in run.capture.of(Acknowledgement)}


def logged(run: FirmwareRun, event: str) -> list[tuple[int, int]]:
    return [(each.a, each.b) for each in run.capture.of(Log) if CODES[each.code].event == event]


def counts_of(run: FirmwareRun) -> NDArray[np.int16]:
    """All samples of the first 299 s: the last block depends on where the run ends."""
    counts = np.concatenate([block.counts for block in run.capture.of(Samples)])
    return counts[: 299 * 12_000]


def assert_every_sample_is_there(run: FirmwareRun) -> None:
    samples = run.capture.of(Samples)
    firsts = np.array([block.first_sample for block in samples])
    counts = np.array([len(block.counts) for block in samples])
    assert firsts[0] == 0 and np.array_equal(firsts[1:], (firsts + counts)[:-1])
    health = run.capture.of(Health)[-1]
    assert (health.overruns, health.missing_samples, health.tx_dropped) == (0, 0, 0)


CHANNELS = b"""from opq import program
def window(w):
    said = [program.channel("oil_2", "c", w.rms_v / 2), program.channel("none", "v", None)]
    for name, unit in (("Oil", "c"), ("", "v"), ("a" * 17, "v"), ("oil", "%"), ("_oil", "v"), ("oil", "9v")):
        try:
            program.channel(name, unit, 1)
        except ValueError:
            said.append(name)
    program.log(len(said), said.count(True))
    program.log(program.channel("x", "v", float("inf")), program.channel("more", "v", 1))
"""
BODY_CHANNEL = b"from opq import program\nprogram.channel('body', 'v', 1)\n"


def test_a_programs_channel_is_sent_with_its_window(hil_bench: Bench) -> None:
    script = Script()
    done = script.put(1.0, BODY_CHANNEL + CHANNELS)
    world = World(2_500_000_000, gps=None, messages=tuple(script.messages))
    run = hil_bench.run(world, flash=confirmed(hil_bench))
    assert answers(run)[done] == (Status.DONE, "")
    sent = [each for each in run.capture.of(ChannelValue) if each.name != "more"]
    assert len(sent) >= 5 and {(each.name, each.unit) for each in sent} == {("oil_2", "c")}
    figures = {each.first_sample: each.rms_v for each in run.capture.of(BoxMeasurement)}
    assert all(each.value == (figures[each.first_sample] or 0) / 2 for each in sent)
    firsts = [each.first_sample for each in sent]
    assert firsts == sorted(set(firsts))
    assert set(logged(run, "box.program_line")) == {(8, 1), (0, 1)}  # six refused names, one sent value
    assert_every_sample_is_there(run)


@pytest.mark.slow  # 30 s of emulated time and more; app_cases_program.py is the cheap form
def test_box_py_runs_until_it_is_stopped(hil_bench: Bench) -> None:
    script = Script()
    texts = (GOOD, LOOPS, FILLS, FILLS_AT_ONCE, RAISES, SUMS, GOOD + b"#" * (MAX_BYTES - len(GOOD)))
    put = [script.put(1 + 1.5 * number, text) for number, text in enumerate(texts)]
    state = [script.program(round((2.2 + 1.5 * number) * NS_PER_S), "") for number in range(6)]
    state.append(script.program(11_500_000_000, ""))
    world = World(12_500_000_000, gps=None, messages=tuple(script.messages))
    run = hil_bench.run(world, flash=confirmed(hil_bench))

    found = answers(run)
    assert [found[each] for each in put] == [(Status.DONE, "")] * 7
    reports = [read_report(found[each][1]) for each in state]
    assert [report.reason for report in reports if report] == [
        "",
        "took more than 20 ms, line 9",
        "keeps more than 8192 bytes",
        "MemoryError: memory allocation failed, allocating 100000 bytes, line 2",
        "ValueError: too high, line 3",
        "took more than 20 ms",
        "",
    ]
    assert [reason for reason, _ in logged(run, "box.program_stopped")] == [2, 3, 3, 4, 2]
    crossings = run.capture.of(Crossing)
    assert [each.kind for each in crossings if each.limit_v == 100.0] == [CrossingKind.SWELL] * 2
    assert [each for each in crossings if each.limit_v == 50.0] == []  # in the body there is no window
    seen = [number for number, _ in logged(run, "box.program_line")]
    assert seen[:5] == [1, 2, 3, 4, 5]
    assert box_facts(run.capture.of(BoxFacts)[-1])["program"] == "runs"
    assert_every_sample_is_there(run)


@pytest.mark.slow  # four starts of the Box
def test_three_crashes_end_a_program(hil_bench: Bench) -> None:
    script = Script()
    script.put(1, b"import machine\ndef window(w):\n    machine.mem32[0x60000000]\n")
    state = script.program(7 * NS_PER_S, "")
    world = World(8 * NS_PER_S, gps=None, messages=tuple(script.messages))
    run = hil_bench.run(world, flash=confirmed(hil_bench))
    assert [cause for _, cause in run.report["resets"]] == ["software"] * 3
    report = read_report(answers(run)[state][1])
    assert report and report.reason == "the Box was reset 3 times during its calls"


@pytest.mark.slow  # five minutes of emulated time, twice
def test_twenty_programs_change_no_sample(hil_bench: Bench) -> None:
    script = Script()
    put = [script.put(1 + 14.5 * n, GOOD.replace(b"seen", b"seen%d" % n)) for n in range(20)]
    flash = confirmed(hil_bench)
    runs = [
        hil_bench.run(World(300 * NS_PER_S, gps=None, messages=messages), flash=flash, wall_limit_s=6000)
        for messages in (tuple(script.messages), ())
    ]
    found = answers(runs[0])
    assert [found[each] for each in put] == [(Status.DONE, "")] * 20
    digests = [hashlib.sha256(counts_of(run).tobytes()).hexdigest() for run in runs]
    assert digests[0] == digests[1]
    for run in runs:
        assert_every_sample_is_there(run)
