"""The firmware on QEMU as distributions have it: what is left where ours cannot be built (hil/README.md).

There are no clocks, no DMA, no pins and no flash interface: the Box has to say so, and to go on talking.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from golden_script import PRELUDE, cases, collect, python_bytes
from stock_box import StockBox, stock_box, stock_qemu
from stock_golden import PRELUDE as FLASH_PRELUDE
from stock_golden import laid_out

from opq_proto import link
from opq_proto.link_messages import (
    Acknowledgement,
    Command,
    GpsState,
    GpsStatus,
    Health,
    Hello,
    Log,
    Operation,
    Samples,
    Settings,
    Status,
)
from opq_proto.log_codes import CODES

pytestmark = pytest.mark.timeout(600)  # the first time firmware is built
SLOW = 2
"""port/power.h: no crystal, no PLL; the line talks, nothing is sampled."""
NO_CLOCK = 3
"""acquire.h"""
NEW_FLASH = 1
FAULT = 1
"""port/crash.h"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StockBox]:
    """At work: the app runs, the line carries the link."""
    with stock_box(tmp_path_factory.mktemp("stock"), jumper=False) as box:
        box.wait_for(lambda message: isinstance(message, Health), 20)  # before, its receiver is off
        yield box


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StockBox]:
    """At MicroPython's prompt, by the jumper; the golden signals wait in flash."""
    blobs, _ = laid_out(cases())
    with stock_box(tmp_path_factory.mktemp("stock"), jumper=True, more=blobs) as box:
        box.raw_mode()
        yield box


def test_without_a_clock_the_box_says_so_and_samples_nothing(box: StockBox) -> None:
    def healths() -> list[Health]:
        return [received.message for received in box.received if isinstance(received.message, Health)]

    box.read(lambda: len(healths()) >= 3, 20)
    messages = [received.message for received in box.received]
    logs = [(CODES[message.code].name, message) for message in messages if isinstance(message, Log)]
    first = dict(reversed(logs))  # the first of each
    assert [name for name, _ in logs[:4]] == ["STARTED", "NO_HSE", "SETTINGS_DEFAULT", "CONVERTER_FAILED"]
    assert first["NO_HSE"].a == SLOW
    assert first["SETTINGS_DEFAULT"].a == NEW_FLASH
    assert first["CONVERTER_FAILED"].b == NO_CLOCK
    assert not {"CRASHED", "EXCEPTION", "CONVERTER_STARTED"} & set(first)
    assert not [
        message for message in messages if isinstance(message, Samples | Hello)
    ]  # it has nothing to offer
    times = [message for message in messages if isinstance(message, GpsStatus)]
    assert {(time.state, time.uncertainty_ns) for time in times} == {(GpsState.FREE, 2**32 - 1)}
    assert [health.temperature_c for health in healths()] == [None] * len(healths())  # not measured: absent
    assert [received.sequence for received in box.received] == list(range(len(box.received)))


def test_commands_are_answered_and_settings_are_the_standard_ones(box: StockBox) -> None:
    box.tell(Command(41, Operation.GET_SETTINGS))
    done = box.wait_for(lambda message: isinstance(message, Acknowledgement) and message.command_id == 41)
    settings = box.wait_for(lambda message: isinstance(message, Settings))
    assert isinstance(done, Acknowledgement) and done.status == Status.DONE
    assert isinstance(settings, Settings)
    values = dict(settings.values)
    assert (values["box_id"], values["nominal_v"], values["nominal_hz"]) == ("0", "120", "60")


def test_a_setting_that_flash_does_not_take_is_not_called_saved(box: StockBox) -> None:
    box.tell(Command(42, Operation.PUT_SETTING, "box_id=7"))
    answer = box.wait_for(lambda message: isinstance(message, Acknowledgement) and message.command_id == 42)
    assert isinstance(answer, Acknowledgement)
    assert answer.status == Status.FAILED and answer.detail.startswith("not saved")
    box.wait_for(lambda message: isinstance(message, Log) and CODES[message.code].name == "SETTINGS_FAILED")


def test_a_damaged_frame_is_counted_and_the_next_one_answered(box: StockBox) -> None:
    good = link.encode(Command(43, Operation.GET_SETTINGS), 0)
    bad = good[:4] + bytes([good[4] ^ 0x55]) + good[5:]
    box.write(b"\0" + bad + link.encode(Command(44, Operation(Operation.HELLO)), 1))
    answer = box.wait_for(lambda message: isinstance(message, Acknowledgement) and message.command_id == 44)
    assert isinstance(answer, Acknowledgement) and answer.status == Status.DONE
    box.wait_for(
        lambda message: isinstance(message, Health) and message.crc_errors == 1, since=len(box.received)
    )
    acknowledgements = [
        received.message for received in box.received if isinstance(received.message, Acknowledgement)
    ]
    assert 43 not in [acknowledgement.command_id for acknowledgement in acknowledgements]


def test_the_prompt_can_be_asked_for_over_the_link_and_left_by_a_reset(tmp_path: Path) -> None:
    with stock_box(tmp_path, jumper=False) as box:
        box.wait_for(lambda message: isinstance(message, Health), 20)
        box.tell(Command(45, Operation.REPL))
        box.raw_mode()
        assert box.run("print(6 * 7)") == "42\r\n"
        seen = len(box.received)
        box.write(b"import board; board.reset()\x04")
        again = box.wait_for(lambda message: isinstance(message, Log), 20, since=seen)
        assert isinstance(again, Log) and CODES[again.code].name == "STARTED"
        box.wait_for(lambda message: isinstance(message, Health), 20, since=len(box.received))
    names = [
        CODES[received.message.code].name for received in box.received if isinstance(received.message, Log)
    ]
    assert "CRASHED" not in names


def test_every_golden_vector_holds_at_the_prompt(prompt: StockBox) -> None:
    all_cases = cases()
    _, scripts = laid_out(all_cases)
    for statement in (PRELUDE, *FLASH_PRELUDE):
        assert prompt.run(statement) == ""
    wrong = []
    for case, statements in scripts:
        output = "".join(prompt.run(statement, 60) for statement in statements)
        collect([case], output)
        try:
            assert "Traceback" not in output, output[-300:]
            case.judge(case.printed)
        except (AssertionError, ValueError) as problem:
            wrong.append(f"{case.name}: {problem}")
    assert len(scripts) == len(all_cases)
    assert not wrong, "\n".join(wrong)


def test_a_hello_framed_on_the_box_is_read_here(prompt: StockBox) -> None:
    hello = Hello(1, 1003, 77, 12_000_000, 0.0158, 120.0, 60.0, 15.5, 200, 36_000, "opqbox external", "0.1.0")
    payload = link.encode(hello, 0)
    prompt.run(PRELUDE)
    prompt.run(f"p = link.decode({python_bytes(payload)})[0][0][2]")
    frame = bytes.fromhex(
        prompt.run("from binascii import hexlify; print(hexlify(link.frame(1, 9, p)).decode())")
    )
    [(sequence, message)] = link.Decoder().feed(frame)
    assert (sequence, type(message)) == (9, Hello)
    assert isinstance(message, Hello) and (message.box_id, message.hardware) == (1003, "opqbox external")


def test_a_fault_is_written_down_and_reported_after_the_reset(prompt: StockBox) -> None:
    """Reading where nothing is: PM0214 4.4.10: CFSR bit 9, PRECISERR, and 15, BFARVALID."""
    assert prompt.run("import board; print(board.crash(), board.clock_source())") == f"None {SLOW}\r\n"
    prompt.type(b"import machine; machine.mem32[0x0A000000]\x04", b">>> ", 20)
    prompt.type(b"\x01", b"raw REPL; CTRL-B to exit\r\n>")
    output = prompt.run("import board; print(*board.crash()); print(board.crash())").split()
    kind, pc, _, cfsr, _, count, again = output
    assert (int(kind), int(count), again) == (FAULT, 1, "None")
    assert 0x08020200 <= int(pc) < 0x08080000
    assert int(cfsr) & 1 << 9 and int(cfsr) & 1 << 15


def test_where_only_stock_qemu_is_this_suite_runs_and_the_rest_is_named() -> None:
    tests = Path(__file__).parent
    words = [
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "boots or hello_framed",
        str(tests / "test_hil_binary.py"), str(Path(__file__)),
    ]  # fmt: skip
    done = subprocess.run(
        words, env={**os.environ, "OPQ_QEMU": str(stock_qemu())}, capture_output=True, text=True, timeout=200,
        check=False, cwd=tests.parents[1],
    )  # fmt: skip
    assert "1 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert "THE FIRMWARE DID NOT RUN ON OUR QEMU" in done.stdout
    assert "smoke suite on stock QEMU: 1 passed" in done.stdout
    assert "not run: hil/tests/test_hil_binary.py::test_the_binary_shows[boots]" in done.stdout
