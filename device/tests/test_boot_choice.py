"""Which image starts: the boot loader's decision over a flash, from the first start to a rollback."""

import pytest
from boot_on_pc import NONE, RECOVERY, START, BoxOnPc, image

from opq_proto.firmware.image import Slot, Verdict

NOTHING, NO_IMAGE, REJECTED, WATCHDOG, PIN, REQUEST = range(6)
FOR_EVER = 0xFFFFFFFF
S7, S10 = 0x0806_0000, 0x080C_0000
"""The last sector of slot A and of slot B: the marks are in them."""


@pytest.fixture
def box() -> BoxOnPc:
    return BoxOnPc()


def confirmed(box: BoxOnPc, version: int = 1, slot: Slot = Slot.A) -> None:
    box.programmer(slot, image(version, slot))
    assert box.start().slot == slot
    assert box.confirm(slot) == 0


def test_a_blank_box_waits_for_ever(box: BoxOnPc) -> None:
    plan = box.start()
    assert (plan.action, plan.because, plan.slot, plan.wait_ms) == (RECOVERY, NO_IMAGE, NONE, FOR_EVER)
    assert plan.target == Slot.A


@pytest.mark.parametrize("slot", Slot)
def test_a_programmed_image_starts_on_trial(box: BoxOnPc, slot: Slot) -> None:
    box.programmer(slot, image(1, slot))
    plan = box.start()
    assert (plan.action, plan.slot, plan.trials) == (START, slot, 1)


def test_a_confirmed_image_writes_nothing(box: BoxOnPc) -> None:
    confirmed(box)
    assert box.start().trials == 0
    before = box.c.probe_operations()
    for _ in range(5):
        plan = box.start()
        assert (plan.action, plan.slot, plan.trials, plan.rolled_back) == (START, Slot.A, 0, 0)
    assert box.c.probe_operations() == before


def test_of_two_confirmed_images_the_newer_starts(box: BoxOnPc) -> None:
    confirmed(box, 1, Slot.A)
    confirmed(box, 2, Slot.B)
    plan = box.start()
    assert (plan.slot, plan.floor_version) == (Slot.B, 0x0100_0002)


def test_an_unhealthy_image_is_rolled_back(box: BoxOnPc) -> None:
    """A new image without health has three trials then the old one is back."""
    confirmed(box, 1, Slot.A)
    box.programmer(Slot.B, image(2, Slot.B))
    assert [(box.start().slot, trial) for trial in (1, 2, 3)] == [(Slot.B, 1), (Slot.B, 2), (Slot.B, 3)]
    plan = box.start()
    assert (plan.action, plan.slot, plan.rolled_back, plan.trials) == (START, Slot.A, 1, 0)
    assert box.start().slot == Slot.A


def test_a_trial_that_reports_health_stays(box: BoxOnPc) -> None:
    confirmed(box, 1, Slot.A)
    box.programmer(Slot.B, image(2, Slot.B))
    assert box.start().slot == Slot.B
    box.confirm(Slot.B)
    for _ in range(5):
        assert (box.start().slot, box.start().trials) == (Slot.B, 0)


def test_an_only_unhealthy_image_runs(box: BoxOnPc) -> None:
    """An only image without health gets half a minute of help and then runs anyway."""
    box.programmer(Slot.A, image(1))
    for _ in range(3):
        assert box.start().action == START
    plan = box.start()
    assert (plan.action, plan.because, plan.slot, plan.wait_ms) == (RECOVERY, REJECTED, Slot.A, 30_000)
    assert plan.target == Slot.B


def test_an_older_image_is_not_started(box: BoxOnPc) -> None:
    confirmed(box, 5, Slot.A)
    box.programmer(Slot.B, image(4, Slot.B))
    plan = box.start()
    assert (plan.slot, plan.floor_version) == (Slot.A, 0x0100_0005)


def test_a_rotten_newer_image_yields(box: BoxOnPc) -> None:
    confirmed(box, 1, Slot.A)
    confirmed(box, 2, Slot.B)
    box.flip(Slot.B.address + 600)
    plan = box.start()
    assert (plan.slot, plan.verdict_b) == (Slot.A, Verdict.BAD_HASH)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"sign": None}, Verdict.UNSIGNED),
        ({"sign": lambda message: bytes(63) + b"\1"}, Verdict.BAD_SIGNATURE),
        ({"hardware": "pyboard_f405"}, Verdict.WRONG_HARDWARE),
    ],
)
def test_an_image_that_is_not_ours_never_starts(
    box: BoxOnPc, changes: dict[str, object], verdict: Verdict
) -> None:
    confirmed(box, 1, Slot.A)
    box.programmer(Slot.B, image(9, Slot.B, **changes))
    plan = box.start()
    assert (plan.slot, plan.verdict_b) == (Slot.A, verdict)


def test_an_image_for_the_other_slot_never_starts(box: BoxOnPc) -> None:
    box.programmer(Slot.B, image(9, Slot.A))
    plan = box.start()
    assert (plan.action, plan.verdict_b) == (RECOVERY, Verdict.WRONG_ADDRESS)


@pytest.mark.parametrize(
    ("requested", "because", "wait_ms"),
    [
        ({"pin": True}, PIN, FOR_EVER),
        ({"request": True}, REQUEST, 300_000),
        ({"watchdog_resets": 8}, WATCHDOG, 30_000),
    ],
)
def test_recovery_keeps_the_good_image(
    box: BoxOnPc, requested: dict[str, int], because: int, wait_ms: int
) -> None:
    confirmed(box)
    plan = box.start(**requested)  # type: ignore[arg-type]
    assert (plan.action, plan.because, plan.wait_ms) == (RECOVERY, because, wait_ms)
    assert (plan.slot, plan.target) == (Slot.A, Slot.B)
    assert box.start(watchdog_resets=7).action == START


def test_another_images_marks_do_not_count(box: BoxOnPc) -> None:
    """A programmer may write an image and leave the slot's last sector as it was."""
    confirmed(box, 1, Slot.A)
    box.programmer(Slot.B, image(2, Slot.B))
    for _ in range(4):
        box.start()
    box.programmer(Slot.B, image(3, Slot.B))
    plan = box.start()
    assert (plan.slot, plan.trials) == (Slot.B, 1)
    box.programmer(Slot.A, image(4, Slot.A))
    assert box.start().trials == 1


def test_low_power_counts_no_trial(box: BoxOnPc) -> None:
    confirmed(box, 1, Slot.A)
    box.programmer(Slot.B, image(2, Slot.B))
    box.c.probe_low_power(1)
    assert box.start().slot == Slot.A
    box.c.probe_low_power(0)
    assert box.start().slot == Slot.B


def test_nothing_outside_of_the_slots_is_ever_written(box: BoxOnPc) -> None:
    box.c.probe_writable((7 << 5) | (7 << 8))
    confirmed(box, 1, Slot.A)
    box.programmer(Slot.B, image(2, Slot.B))
    for _ in range(5):
        box.start()
    assert box.c.probe_outside() == 0
