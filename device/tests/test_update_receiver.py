"""Receiving an image: what is refused before anything is erased, what is sent again, what never happens."""

import pytest
from boot_on_pc import (
    BAD_IMAGE,
    BAD_LENGTH,
    BUSY,
    FLASH_FAILED,
    NONE,
    NOT_BEGUN,
    OK,
    ON_TRIAL,
    WRONG_OFFSET,
    BoxOnPc,
    image,
)

from opq_proto.firmware.image import MAX_BODY_BYTES, Slot, Verdict

A_SECTORS, B_SECTORS = 7 << 5, 7 << 8


@pytest.fixture
def box() -> BoxOnPc:
    """Slot A runs version 1, confirmed; slot B may be written and nothing else."""
    box = BoxOnPc()
    box.programmer(Slot.A, image(1))
    box.start()
    box.confirm(Slot.A)
    box.init(Slot.A, Slot.B, floor=0x0100_0001)
    box.c.probe_writable(B_SECTORS)
    return box


def slot_b(box: BoxOnPc, length: int) -> bytes:
    at = Slot.B.address - 0x0800_0000
    return bytes(box.c.probe_bytes()[at : at + length])


@pytest.mark.parametrize("piece_bytes", [1, 3, 511, 512, 513, 1024])
def test_an_image_arrives_in_any_pieces(box: BoxOnPc, piece_bytes: int) -> None:
    """An image arrives whole in pieces of any size and starts on trial."""
    content = image(2, Slot.B)
    assert box.send(content, piece_bytes) == OK
    assert box.end() == OK
    assert slot_b(box, len(content)) == content
    assert box.c.probe_outside() == 0
    plan = box.start()
    assert (plan.slot, plan.trials) == (Slot.B, 1)


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        (image(2, Slot.B, sign=None), Verdict.UNSIGNED),
        (image(0, Slot.B), Verdict.DOWNGRADE),
        (image(2, Slot.A), Verdict.WRONG_ADDRESS),
        (image(2, Slot.B, hardware="another"), Verdict.WRONG_HARDWARE),
        (bytes(2000), Verdict.NO_MAGIC),
    ],
)
def test_a_bad_header_erases_nothing(box: BoxOnPc, content: bytes, verdict: Verdict) -> None:
    before = box.c.probe_operations()
    assert box.send(content) == BAD_IMAGE
    assert box.verdict is verdict
    assert box.c.probe_operations() == before
    assert box.data(box.next, b"more") == BAD_IMAGE
    assert box.end() == BAD_IMAGE
    assert box.start().slot == Slot.A


def test_a_changed_body_is_refused(box: BoxOnPc) -> None:
    content = bytearray(image(2, Slot.B))
    content[1000] ^= 1
    assert box.send(bytes(content)) == OK
    assert box.end() == BAD_IMAGE
    assert box.verdict is Verdict.BAD_HASH
    assert box.start().slot == Slot.A
    assert box.send(image(2, Slot.B)) == OK
    assert box.end() == OK


def test_a_short_image_may_continue(box: BoxOnPc) -> None:
    content = image(2, Slot.B)
    box.send(content[:1500])
    assert box.verdict is Verdict.TRUNCATED  # its header says more than begin() announced
    box.begin(len(content))
    while box.next < 1500:
        status = box.data(box.next, content[box.next : 1500])
        if status == BUSY:
            box.step()
    assert box.end() == BAD_IMAGE
    assert box.verdict is Verdict.TRUNCATED
    assert box.data(box.next, content[box.next :]) == OK
    assert box.end() == OK


def test_a_lost_answer_costs_nothing(box: BoxOnPc) -> None:
    content = image(2, Slot.B)
    assert box.begin(len(content)) == OK
    assert box.data(0, content[:1024]) == OK
    assert box.next == 512
    assert box.data(0, content[:1024]) == BUSY
    while box.step() == BUSY:
        pass
    assert box.data(0, content[:1024]) == OK
    assert box.next == 1024
    assert box.data(1536, content[1536:]) == WRONG_OFFSET
    assert box.data(0, content[:512]) == OK
    assert box.next == 1024
    assert box.data(1000, content[1000:]) == OK
    assert box.end() == OK


def test_more_than_the_header_says_is_refused(box: BoxOnPc) -> None:
    content = image(2, Slot.B)
    assert box.send(content + b"tail") == BAD_IMAGE
    assert box.verdict is Verdict.BAD_LENGTH


@pytest.mark.parametrize("length", [0, 512, MAX_BODY_BYTES + 513, 2**32 - 1])
def test_a_length_that_no_slot_has_is_refused(box: BoxOnPc, length: int) -> None:
    assert box.begin(length) == BAD_LENGTH
    assert box.data(0, b"x") == NOT_BEGUN


def test_the_running_slot_is_never_written(box: BoxOnPc) -> None:
    box.init(Slot.A, Slot.A)
    assert box.begin(3000) == NOT_BEGUN
    box.init(NONE, NONE)
    assert box.begin(3000) == NOT_BEGUN


def test_a_trial_refuses_another_update(box: BoxOnPc) -> None:
    box.send(image(2, Slot.B))
    box.end()
    assert box.start().slot == Slot.B
    box.init(Slot.B, Slot.A, floor=0x0100_0002)
    assert box.begin(3000) == ON_TRIAL
    box.c.probe_writable(A_SECTORS | B_SECTORS)
    box.confirm(Slot.B)
    assert box.send(image(3, Slot.A)) == OK
    assert box.end() == OK
    assert box.start().slot == Slot.A


def test_the_same_version_again_is_tried_and_kept(box: BoxOnPc) -> None:
    assert box.send(image(1, Slot.B)) == OK
    assert box.end() == OK
    assert box.start().slot == Slot.B
    box.c.probe_writable(A_SECTORS | B_SECTORS)
    box.confirm(Slot.B)
    assert box.start().slot == Slot.B


def test_low_power_delays_an_update(box: BoxOnPc) -> None:
    content = image(2, Slot.B)
    box.begin(len(content))
    box.data(0, content[:512])
    box.c.probe_low_power(1)
    assert box.step() == FLASH_FAILED
    box.c.probe_low_power(0)
    while box.step() == BUSY:
        pass
    box.c.probe_low_power(1)
    assert box.data(512, content[512:]) == FLASH_FAILED
    assert box.next == 515  # three bytes of the first word are held
    box.c.probe_low_power(0)
    assert box.data(512, content[512:]) == OK
    box.c.probe_low_power(1)
    assert box.end() == FLASH_FAILED
    assert box.start().slot == Slot.A
    box.c.probe_low_power(0)
    assert box.end() == OK
    assert box.start().slot == Slot.B


def test_out_of_turn_calls_change_nothing(box: BoxOnPc) -> None:
    before = box.c.probe_operations()
    assert box.data(0, b"x") == NOT_BEGUN
    assert box.end() == NOT_BEGUN
    assert box.step() == OK
    assert box.c.probe_operations() == before


def test_the_longest_image_leaves_the_marks_alone(box: BoxOnPc) -> None:
    content = image(2, Slot.B, body_bytes=MAX_BODY_BYTES)
    assert box.send(content) == OK
    assert box.end() == OK
    assert box.start().slot == Slot.B
    assert slot_b(box, len(content)) == content
