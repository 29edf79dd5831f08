"""The port at its prompt on the emulated board: who it is, why it started, what it keeps."""

from pathlib import Path

import pytest
from prompt_on_qemu import REPL_PIN, firmware, played, typed

from opq_hil.world.world import World
from opq_proto.link.messages import Command, Health, Operation

SECOND = 1_000_000_000
MS = 1_000_000
AT_PROMPT = ((REPL_PIN, 0, False),)


def lines_printed(*statements: tuple[str, int], folder: Path) -> list[str]:
    messages, end_ns = typed(list(statements))
    world = World(end_ns=end_ns + 50 * MS, mains=None, gps=None, messages=tuple(messages), pins=AT_PROMPT)
    return played(world, folder)[1]


def test_a_box_reports_its_identity_and_start(tmp_path: Path) -> None:
    lines = lines_printed(
        ("import gc; from opq import board", 10 * MS),
        ("print('#', board.NAME, board.reset_cause(), board.clock_source())", 20 * MS),
        (
            "print('#', len(board.unique_id()), board.boot_id() > 0, board.crash(), gc.mem_free() > 30000)",
            20 * MS,
        ),
        ("t = board.tick(); import time; time.sleep_ms(100); print('#', board.tick() - t)", 200 * MS),
        ("print('#', board.supply_is_low(), 1 / 3)", 20 * MS),
        folder=tmp_path,
    )
    answers = [line[2:] for line in lines if line.startswith("# ")]
    assert answers[0] == "opqbox 1 0"  # power came on; HSE runs
    assert answers[1] == "12 True None True"
    assert (
        84_000 * 100 <= int(answers[2]) < 84_000 * 102
    )  # ticks of 84 MHz; SysTick ends each wait within 1 ms
    assert answers[3] == "False 0.3333333"


def test_a_fault_is_reported_after_the_reset(tmp_path: Path) -> None:
    """Reading where nothing is: a bus fault (PM0214 4.4.10: CFSR bit 9, PRECISERR, and 15, BFARVALID)."""
    first, at_ns = typed([("import machine; machine.mem32[0x0A000000]", 800 * MS)])
    after, end_ns = typed(
        [
            ("from opq import board; c = board.crash(); print('#', *map(hex, c))", 20 * MS),
            ("print('#', board.reset_cause(), board.crash())", 20 * MS),
        ],
        at_ns,
    )
    world = World(end_ns=end_ns + 50 * MS, mains=None, gps=None, messages=(*first, *after), pins=AT_PROMPT)
    run, lines = played(world, tmp_path)
    kind, pc, _, cfsr, _, count = (
        int(word, 16) for word in next(x for x in lines if x.startswith("# 0x"))[2:].split()
    )
    assert (kind, count) == (1, 1)
    assert 0x08020200 <= pc < 0x08080000
    assert cfsr & 1 << 9 and cfsr & 1 << 15
    assert "# 4 None" in lines  # a software reset; a crash is reported once
    assert [cause for _, cause in run.report["resets"]] == ["software"]


def test_ctrl_c_ends_an_endless_loop(tmp_path: Path) -> None:
    """Ctrl c ends an endless loop and the watchdog leaves a person alone."""
    messages, at_ns = typed([("while True: pass", 12 * SECOND)])  # the watchdog's time is 8.2 s
    messages.append((at_ns, b"\x03"))
    more, end_ns = typed([("print('#', 6 * 7)", 20 * MS)], at_ns + 50 * MS)
    world = World(end_ns=end_ns + 50 * MS, mains=None, gps=None, messages=(*messages, *more), pins=AT_PROMPT)
    run, lines = played(world, tmp_path)
    assert any("KeyboardInterrupt" in line for line in lines) and "# 42" in lines
    assert run.report["resets"] == []


def test_saved_settings_survive_a_reset(tmp_path: Path) -> None:
    first, at_ns = typed(
        [
            (
                "import opq; s = opq.settings; s.load(); print('#', s.put('box_id', '7'), s.save())",
                900 * MS,
            ),
            ("from opq import board; board.reset()", 800 * MS),
        ]
    )
    after, end_ns = typed(
        [("import opq.settings; s = opq.settings; s.load(); print('#', s.integer('box_id'))", 50 * MS)],
        at_ns,
    )
    world = World(end_ns=end_ns + 50 * MS, mains=None, gps=None, messages=(*first, *after), pins=AT_PROMPT)
    run, lines = played(world, tmp_path)
    assert "# 0 0" in lines and "# 7" in lines
    assert run.report["flash"]["errors"] == 0 and not run.report["violations"]


def test_a_command_opens_the_prompt(tmp_path: Path) -> None:
    repl_ns = 3 * SECOND
    messages, end_ns = typed([("print('#', 'here')", 20 * MS)], repl_ns + SECOND)
    world = World(
        end_ns=end_ns + 50 * MS, gps=None, messages=((repl_ns, Command(5, Operation.REPL, "")), *messages)
    )
    run, lines = played(world, tmp_path)
    assert "# here" in lines
    last_ns = max(received.t_ns for received in run.capture.received)
    assert repl_ns < last_ns < repl_ns + SECOND // 2  # acknowledged, and no frame after that
    assert run.report["resets"] == []


@pytest.mark.parametrize("board", ["opqbox", pytest.param("pyboard_f405", marks=pytest.mark.slow)])
def test_slow_channels_are_read_beside_mains(board: str, tmp_path: Path) -> None:
    built, backend = firmware(board)
    world = World(end_ns=3 * SECOND, mains=built.image.sine(), gps=None)
    run = backend.run(built.image, world, tmp_path, wall_limit_s=600)
    health = run.capture.of(Health)[-1]
    assert (
        health.temperature_c is not None and 20 < health.temperature_c < 30
    )  # the world's chip has 25 degrees
    adc = run.report["adc1"]
    assert adc["injected"] > 500 and adc["missed"] == adc["preempted"] == 0  # one each 3.3 ms
    assert health.missing_samples == health.overruns == 0


def test_ctrl_d_is_a_soft_reset_while_sampling(tmp_path: Path) -> None:
    """At the wired prompt names and heap are new after it, and the chip is not reset."""
    repl_ns = 2 * SECOND
    head = "from opq import acquire; print('#', acquire.head(), 'kept' in globals())"
    messages, end_ns = typed(
        [
            (
                "kept = [bytearray(1000) for _ in range(20)]; import gc; print('#', gc.mem_free() > 12000)",
                20 * MS,
            ),
            (head, 20 * MS),
            ("", 50 * MS),
            (head, 20 * MS),
            ("import gc; print('#', gc.mem_free() > 30000)", 20 * MS),
            ("", 50 * MS),
            (head, 20 * MS),
        ],
        repl_ns + SECOND,
    )
    command = (repl_ns, Command(5, Operation.REPL, ""))
    run, lines = played(World(end_ns=end_ns + 50 * MS, gps=None, messages=(command, *messages)), tmp_path)
    answers = [line[2:].split() for line in lines if line.startswith("# ")]
    (first, kept), (second, after), (third, last) = (each for each in answers if len(each) == 2)
    assert (kept, after, last) == ("True", "False", "False")
    assert [each for each in answers if len(each) == 1] == [["False"], ["True"]], answers
    assert 500 < int(second) - int(first) < 2500 and 500 < int(third) - int(second) < 2500
    assert lines.count("MPY: soft reboot") == 2 and run.report["resets"] == []
