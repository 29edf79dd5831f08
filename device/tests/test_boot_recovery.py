"""Recovery: the boot loader's C on the PC talks our serial link with opq_proto, byte for byte."""

import ctypes
import math
import subprocess

import pytest
from boot_on_pc import BOOT, BOOT_C, FLASH, HERE, LINK, RECOVERY, UPDATE, BoxOnPc, image
from host_library import program

from opq_proto.firmware.image import Slot, Verdict
from opq_proto.link.frames import Decoder, encode
from opq_proto.link.messages import (
    Acknowledgement,
    Command,
    Hello,
    LinkMessage,
    Operation,
    Status,
    UpdateData,
)

MAX_BYTES = 1 << 16


class Line:
    """The gateway's end."""

    def __init__(self, box: BoxOnPc) -> None:
        self.box, self.decoder, self.sequence = box, Decoder(), 0
        box.c.probe_recovery()
        [self.hello] = self.received()

    def received(self) -> list[LinkMessage]:
        out = ctypes.create_string_buffer(MAX_BYTES)
        length = self.box.c.probe_sent(out)
        return [message for _, message in self.decoder.feed(out.raw[:length])]

    def say(self, message: LinkMessage) -> list[LinkMessage]:
        self.raw(encode(message, self.sequence))
        self.sequence += 1
        return self.received()

    def raw(self, data: bytes) -> None:
        self.box.c.probe_feed(data, ctypes.c_size_t(len(data)))

    def command(self, operation: Operation, argument: str = "") -> Acknowledgement:
        answers = self.say(Command(77, operation, argument))
        assert isinstance(answers[0], Acknowledgement)
        assert answers[0].command_id == 77
        return answers[0]

    def piece(self, offset: int, data: bytes) -> Acknowledgement:
        [answer] = self.say(UpdateData(5, offset, data))
        assert isinstance(answer, Acknowledgement)
        return answer


@pytest.fixture
def line() -> Line:
    box = BoxOnPc()
    assert box.start().action == RECOVERY
    return Line(box)


def test_it_says_hello_with_its_reason(line: Line) -> None:
    hello = line.hello
    assert isinstance(hello, Hello)
    assert (hello.hardware, hello.firmware) == ("opqbox", "boot 1.0.0: no good image")
    assert math.isnan(hello.v_per_lsb)
    answers = line.say(Command(3, Operation.HELLO))
    assert [type(answer) for answer in answers] == [Acknowledgement, Hello]


def test_an_image_over_the_line_needs_a_reset(line: Line) -> None:
    """An image over the line is written and then a reset is wanted."""
    content = image(1, Slot.A, body_bytes=5000)
    begun = line.command(Operation.UPDATE_BEGIN, str(len(content)))
    assert (begun.status, begun.detail) == (Status.DONE, "A")
    offset = 0
    while offset < len(content):
        answer = line.piece(offset, content[offset : offset + 1024])
        assert answer.status is Status.DONE
        offset = int(answer.detail)
    assert line.command(Operation.UPDATE_END).status is Status.DONE
    assert line.box.c.probe_reset_wanted() == 1
    plan = line.box.start()
    assert (plan.slot, plan.trials) == (Slot.A, 1)


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        (image(1, Slot.A, sign=None), Verdict.UNSIGNED),
        (image(1, Slot.B), Verdict.WRONG_ADDRESS),
        (image(1, Slot.A, hardware="another"), Verdict.WRONG_HARDWARE),
    ],
)
def test_a_bad_image_is_refused_with_its_verdict(line: Line, content: bytes, verdict: Verdict) -> None:
    line.command(Operation.UPDATE_BEGIN, str(len(content)))
    answer = line.piece(0, content[:1024])
    assert (answer.status, answer.detail) == (Status.FAILED, f"verdict {int(verdict)}")
    assert line.command(Operation.UPDATE_END).status is Status.FAILED
    assert line.box.c.probe_reset_wanted() == 0


def test_a_downgrade_is_refused_in_recovery_too() -> None:
    box = BoxOnPc()
    box.programmer(Slot.A, image(5))
    box.start()
    box.confirm(Slot.A)
    assert box.start(pin=True).action == RECOVERY
    line = Line(box)
    content = image(4, Slot.B)
    assert line.command(Operation.UPDATE_BEGIN, str(len(content))).detail == "B"
    assert line.piece(0, content[:1024]).detail == f"verdict {int(Verdict.DOWNGRADE)}"
    assert box.start().slot == Slot.A


def on_trial_in_recovery() -> Line:
    """A holds 1.0.5, confirmed; B 1.0.6 on its first trial; then recovery is requested."""
    box = BoxOnPc()
    box.programmer(Slot.A, image(5, Slot.A))
    box.start()
    box.confirm(Slot.A)
    box.programmer(Slot.B, image(6, Slot.B))
    assert (box.start().slot, box.start(request=True).action) == (Slot.B, RECOVERY)
    return Line(box)


def test_recovery_replaces_only_the_trial() -> None:
    line = on_trial_in_recovery()
    content = image(6, Slot.B)
    assert line.command(Operation.UPDATE_BEGIN, str(len(content))).detail == "B"
    line.piece(0, content[:512])
    assert line.piece(512, content[512:1024]).detail == "1024"
    plan = line.box.start()
    assert (plan.slot, plan.trials, plan.floor_version) == (Slot.A, 0, 0x0100_0005)


def test_an_unchecked_body_does_not_start() -> None:
    """A signed header and a foreign body; then the boot loader goes on as it planned before."""
    line = on_trial_in_recovery()
    slot = Slot.A if line.command(Operation.UPDATE_BEGIN, "2512").detail == "A" else Slot.B
    line.piece(0, image(6, slot)[:512])
    assert line.piece(512, b"\x66" * 512).detail == "1024"
    line.box.c.probe_low_power(1)
    line.box.c.probe_begin()
    started = Slot(line.box.c.probe_of_plan(1))
    assert started is not slot


def test_only_who_updates_keeps_recovery_waiting(line: Line) -> None:
    """A gateway that goes on asking who is there is no help."""
    for operation in (Operation.HELLO, Operation.SYNC_TIME, Operation.UPDATE_END):
        line.command(operation)
    line.command(Operation.UPDATE_BEGIN, "no number")
    line.piece(512, b"out of nowhere")
    assert line.box.c.probe_update_steps() == 0
    line.command(Operation.UPDATE_BEGIN, "2512")
    line.piece(0, image(1, Slot.A)[:512])
    assert line.box.c.probe_update_steps() == 2


@pytest.mark.parametrize("argument", ["", "x", "-1", "12 ", "99999999999", "100", "500000"])
def test_a_wrong_length_is_a_bad_argument(line: Line, argument: str) -> None:
    assert line.command(Operation.UPDATE_BEGIN, argument).status is Status.BAD_ARGUMENT


def test_other_commands_are_unknown_and_reset_resets(line: Line) -> None:
    for operation in (Operation.GET_SETTINGS, Operation.PUT_SETTING, Operation.SYNC_TIME, Operation.REPL):
        assert line.command(operation).status is Status.UNKNOWN
    assert line.box.c.probe_reset_wanted() == 0
    assert line.command(Operation.RESET).status is Status.DONE
    assert line.box.c.probe_reset_wanted() == 1


def test_noise_and_half_frames_are_skipped(line: Line) -> None:
    line.raw(bytes(range(256)) * 20)
    frame = encode(Command(1, Operation.HELLO), 0)
    line.raw(frame[:-3])
    line.raw(b"\0")
    assert not line.received()
    assert line.command(Operation.HELLO).status is Status.DONE


def test_pieces_before_begin_are_refused(line: Line) -> None:
    answer = line.piece(0, b"x" * 100)
    assert (answer.status, answer.detail) == (Status.FAILED, "status 5")


def test_low_power_is_busy_and_passes(line: Line) -> None:
    content = image(1, Slot.A)
    line.command(Operation.UPDATE_BEGIN, str(len(content)))
    line.piece(0, content[:512])
    line.box.c.probe_low_power(1)
    assert line.piece(512, content[512:1024]).status is Status.BUSY
    line.box.c.probe_low_power(0)
    assert line.piece(512, content[512:1024]).detail == "1024"


def fuzz(frames: int, seed: int) -> dict[str, int]:
    sources = (*UPDATE, *LINK, *BOOT_C, FLASH, HERE / "recovery_fuzz.c")
    fuzzer = program("recovery_fuzz", sources, f"-I{BOOT}")
    done = subprocess.run(
        [fuzzer, str(frames), str(seed)], capture_output=True, text=True, timeout=300, check=False
    )
    print(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def test_bent_frames_stay_in_their_slot() -> None:
    figures = fuzz(10_000, seed=1)
    assert figures["installed"] > 5
    assert figures["wrong"] == figures["outside"] == 0


@pytest.mark.soak
def test_a_hundred_thousand_bent_frames_do_no_more() -> None:
    figures = fuzz(100_000, seed=2)
    assert figures["installed"] > 50
    assert figures["wrong"] == figures["outside"] == 0
