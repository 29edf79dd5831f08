"""A prompt over the link on the emulated board: the binary goes on while Python runs what is typed."""

import base64
import os
import pty
import shutil
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from prompt_on_qemu import RAW, RUN, firmware, played

from opq_hil.backends.backend import FirmwareRun
from opq_hil.world.line import BenchLine
from opq_hil.world.world import World
from opq_proto.link.log_codes import CODES
from opq_proto.link.messages import Acknowledgement, Command, Health, Hello, Log, Operation, Samples, Status
from opq_proto.link.prompt import CLOSE, open_argument
from opq_proto.wire.frames import PROMPT_PLUGIN
from opq_proto.wire.prompt_session import OPEN
from opq_tools.boxes.box.prompt import LEAVE, BoxPrompt, relay

MS = 1_000_000
SECOND = 1_000 * MS


def commands(*arguments: tuple[int, str]) -> tuple[tuple[int, Command], ...]:
    return tuple(
        (at_ms * MS, Command(number, Operation.PROMPT, argument))
        for number, (at_ms, argument) in enumerate(arguments, 1)
    )


def typed(place: int, data: bytes) -> str:
    """What is printed is left unread: an answer has its first 168 bytes."""
    return f"{place} 0 {base64.b64encode(data).decode()}"


def answers(run: FirmwareRun) -> dict[int, tuple[Status, str]]:
    return {each.command_id: (each.status, each.detail) for each in run.capture.of(Acknowledgement)}


def assert_every_sample_is_there(samples: list[Samples]) -> None:
    firsts = np.array([block.first_sample for block in samples])
    counts = np.array([len(block.counts) for block in samples])
    assert np.array_equal(firsts[1:], (firsts + counts)[:-1])


def test_a_prompt_runs_while_the_box_samples(tmp_path: Path) -> None:
    """A loop of 2 s at the prompt: no sample and no second's health is missing."""
    start = RAW + b"print('x')" + RUN
    loop = b"import time; end = time.ticks_ms() + 2000\nwhile time.ticks_ms() < end: pass" + RUN
    world = World(
        4500 * MS,
        gps=None,
        messages=commands(
            (500, open_argument(3)),
            (600, typed(0, start)),
            (900, typed(len(start), loop)),
            (2000, typed(len(start) + len(loop), b"")),
            (4000, CLOSE),
            (4200, typed(0, b"")),
        ),
    )
    run, _ = played(world, tmp_path)
    found = answers(run)
    assert [found[number][0] for number in range(1, 7)] == [Status.DONE] * 5 + [Status.FAILED]
    text = base64.b64decode(found[4][1].split(" ")[2])
    assert b"MicroPython 1.25.0 of OPQ Box" in text
    samples = run.capture.of(Samples)
    assert samples[0].first_sample == 0 and len(samples) > 4 * 60
    assert_every_sample_is_there(samples)
    health = run.capture.of(Health)
    assert len(health) >= 4 and health[-1].missing_samples == health[-1].overruns == 0
    said = [CODES[each.code].event for each in run.capture.of(Log)]
    assert said[-2:] == ["box.prompt_opened", "box.prompt_closed"] and run.report["resets"] == []


FILLS = b"""
kept = []
try:
    while True:
        kept.append(bytearray(40))
except MemoryError:
    pass
while True:
    pass
"""
BREAKS_A_STEP = b"""
import commands, time
pipeline = commands.pipeline
end = time.ticks_ms() + 2500
class Broken:
    def __getattr__(self, name):
        if name == "poll" and time.ticks_ms() < end:
            raise ValueError
        return getattr(pipeline, name)
commands.pipeline = Broken()
while True:
    pass
"""
"""The first step of the app, which runs in each round, fails again and again: the app is made again."""


@pytest.mark.parametrize(
    ("text", "reason", "by_ms"), [(FILLS, 3, 2000), (BREAKS_A_STEP, 3, 2000)], ids=["heap", "step"]
)
def test_a_broken_app_wedges_no_session(text: bytes, reason: int, by_ms: int, tmp_path: Path) -> None:
    """What fills the heap, or breaks a step of the app: no reset, no missing sample, and the session ends."""
    start = RAW + text + RUN
    parts = [start[at : at + 168] for at in range(0, len(start), 168)]
    types = [(600 + 100 * n, typed(168 * n, part)) for n, part in enumerate(parts)]
    asks = [(at_ms, typed(len(start), b"")) for at_ms in range(1500, 3500, 200)]
    again = [(5500, open_argument(4)), (5700, typed(0, b""))]
    world = World(
        6500 * MS, gps=None, messages=commands((500, open_argument(3)), *types, *asks, (5000, CLOSE), *again)
    )
    run, _ = played(world, tmp_path)
    found = answers(run)
    assert run.report["resets"] == []
    assert_every_sample_is_there(run.capture.of(Samples))
    closed = [each for each in run.capture.of(Log) if CODES[each.code].event == "box.prompt_closed"]
    assert closed[0].a == reason and closed[0].uptime_ms < by_ms
    status, detail = found[len(found)]
    assert status is Status.DONE and b"OPQ Box" in base64.b64decode(detail.split(" ")[2])
    assert run.capture.of(Health)[-1].uptime_ms > 5000


@contextmanager
def prompt_on_a_pty(line: BenchLine) -> Iterator[str]:
    """The path of a pty with the prompt of the Box on `line`, whose orders a gateway would carry out."""

    def order(plugin: str, message: str, _read: object) -> str:
        assert plugin == PROMPT_PLUGIN
        argument = open_argument(7) if message.startswith(OPEN) else message.split(" ", 2)[2]
        found = line.send_command(Operation.PROMPT, argument, 30)
        assert found.status is Status.DONE, (argument, found)
        return found.detail

    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    with BoxPrompt(order, "1") as prompt:
        thread = threading.Thread(target=relay, args=(prompt, ours, ours, LEAVE))
        thread.start()
        try:
            yield os.ttyname(theirs)
        finally:
            os.write(theirs, LEAVE)
            thread.join(60)
            os.close(theirs)
            os.close(ours)


@pytest.mark.slow  # 40 s of real time and more
def test_mpremote_works_over_the_link(tmp_path: Path) -> None:
    mpremote = shutil.which("mpremote", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath]))
    if mpremote is None:
        pytest.skip("no mpremote here: pip install mpremote")
    there = tmp_path / "mine"
    there.mkdir()
    (there / "mine.py").write_text("def answer():\n    return 6 * 7\n")
    program = tmp_path / "box.py"
    program.write_text("from opq import program\n\ndef window(w):\n    program.log(7, round(w.rms_v))\n")
    script = tmp_path / "script.py"
    script.write_text("for n in range(3):\n    print('line', n)\n")
    built, backend = firmware()
    box_folder = tmp_path / "box"
    box_folder.mkdir()
    world = World(3600 * SECOND, mains=built.image.sine(), gps=None)
    with backend.live(built.image, world, box_folder) as box, BenchLine(box.port, box.now_s) as line:
        line.wait_for(Hello, 60)
        with prompt_on_a_pty(line) as path:

            def play(*words: str) -> str:
                command = [mpremote, "connect", path, *words]
                done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
                return f"{done.stdout}{done.stderr}".strip()

            assert play("exec", "print(6 * 7)") == "42"
            assert play("exec", "print('kept' in globals()); kept = 1") == "False"
            assert play("exec", "print('kept' in globals())") == "False"  # Ctrl-D ended the session before
            assert play("run", str(script)).split() == ["line", "0", "line", "1", "line", "2"]
            assert play("mount", str(there), "exec", "import mine; print(mine.answer())").endswith("42")
            while "try again" in play("fs", "cp", str(program), ":box.py"):
                pass  # a new firmware is on trial for some seconds
            assert play("fs", "ls").split()[-2:] == [str(program.stat().st_size), "box.py"]
            assert play("fs", "cat", ":box.py") == program.read_text().strip()
            assert "ZeroDivisionError" in play("exec", "1 / 0")
            assert "MemoryError" in play("exec", "kept = [bytearray(1000) for _ in range(100)]")
            pin = "from machine import Pin; p = Pin('PB8', Pin.OUT, value=1); print(p, p.value())"
            assert play("exec", pin) == "Pin('PB8') 1"
            assert "the board uses this pin" in play("exec", "from machine import Pin; Pin('PA9')")
            timer = (
                "import time; from machine import Timer; n = []\n"
                "t = Timer(period=100, callback=n.append); time.sleep(1); print(8 <= len(n) <= 10)"
            )
            assert play("exec", timer) == "True"
            play("fs", "rm", ":box.py")
    capture = line.capture()
    assert_every_sample_is_there(capture.of(Samples))
    said = [CODES[each.code].event for each in capture.of(Log)]
    assert "box.program_line" in said and "box.program_removed" in said and "box.program_stopped" not in said
    assert capture.of(Health)[-1].missing_samples == 0
