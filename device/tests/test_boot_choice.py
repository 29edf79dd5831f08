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


def test_a_blank_box_waits_for_an_image_for_ever(box: BoxOnPc) -> None:
    plan = box.start()
    assert (plan.action, plan.because, plan.slot, plan.wait_ms) == (RECOVERY, NO_IMAGE, NONE, FOR_EVER)
    assert plan.target == Slot.A


@pytest.mark.parametrize("slot", Slot)
def test_an_image_written_by_a_programmer_starts_on_trial(box: BoxOnPc, slot: Slot) -> None:
    box.programmer(slot, image(1, slot))
    plan = box.start()
    assert (plan.action, plan.slot, plan.trials) == (START, slot, 1)


def test_a_confirmed_image_starts_again_and_again_and_writes_nothing(box: BoxOnPc) -> None:
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


def test_a_new_image_without_health_has_three_trials_then_the_old_one_is_back(box: BoxOnPc) -> None:
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


def test_an_only_image_without_health_gets_half_a_minute_of_help_and_then_runs_anyway(box: BoxOnPc) -> None:
    box.programmer(Slot.A, image(1))
    for _ in range(3):
        assert box.start().action == START
    plan = box.start()
    assert (plan.action, plan.because, plan.slot, plan.wait_ms) == (RECOVERY, REJECTED, Slot.A, 30_000)
    assert plan.target == Slot.B


def test_an_image_below_the_highest_confirmed_version_is_not_started(box: BoxOnPc) -> None:
    confirmed(box, 5, Slot.A)
    box.programmer(Slot.B, image(4, Slot.B))
    plan = box.start()
    assert (plan.slot, plan.floor_version) == (Slot.A, 0x0100_0005)


def test_when_the_newer_image_rots_the_older_one_starts(box: BoxOnPc) -> None:
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
def test_recovery_is_entered_when_asked_for_and_keeps_the_good_image(
    box: BoxOnPc, requested: dict[str, int], because: int, wait_ms: int
) -> None:
    confirmed(box)
    plan = box.start(**requested)  # type: ignore[arg-type]
    assert (plan.action, plan.because, plan.wait_ms) == (RECOVERY, because, wait_ms)
    assert (plan.slot, plan.target) == (Slot.A, Slot.B)
    assert box.start(watchdog_resets=7).action == START


def test_marks_that_another_image_left_behind_do_not_count_for_the_new_one(box: BoxOnPc) -> None:
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


def test_low_power_counts_no_trial_so_the_confirmed_image_runs(box: BoxOnPc) -> None:
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
