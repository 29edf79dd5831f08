"""What comes next in an update: every pair of journal and start, and whose turn it is."""

from dataclasses import replace

import pytest

from opq_gateway.update.decide import (
    IDLE,
    LOOK_S,
    MOST_STARTS,
    OPEN_LOOK_S,
    READY,
    TRYING,
    Journal,
    Role,
    at_start,
    failed,
    is_open,
    missing,
    other_tree,
    put_off,
    refusal,
    settled,
)
from opq_proto.release.plan import (
    WHOLE_SHARE,
    Plan,
    ReleaseError,
    is_turn,
    place,
    plan_from,
    target_name,
    version_key,
)

B = Journal(READY, "b", "0.2.0", well=("1", "2"), acknowledged=("1",))
TRIED = replace(B, step=TRYING, starts=1, boot_id="first")
ENDED = "the process ended during its trial"


@pytest.mark.parametrize(
    ("journal", "own", "linked", "boot_id", "role", "after"),
    [
        (Journal(), "a", "a", "first", Role.SERVE, Journal()),
        (B, "a", "a", "first", Role.TRY, TRIED),
        (B, "", "", "first", Role.TRY, TRIED),  # from the first installation
        (B, "", "a", "first", Role.SERVE, B),  # started by hand, past the link
        (TRIED, "b", "a", "first", Role.ON_TRIAL, TRIED),
        (TRIED, "b", "b", "first", Role.SERVE, settled(TRIED)),  # cut between link and journal
        (TRIED, "a", "a", "first", Role.SERVE, failed(TRIED, ENDED)),
        (TRIED, "a", "a", "second", Role.TRY, replace(TRIED, starts=2, boot_id="second")),  # a power failure
        (
            replace(TRIED, starts=MOST_STARTS),
            "a",
            "a",
            "second",
            Role.SERVE,
            failed(TRIED, f"{MOST_STARTS} starts ended without a verdict"),
        ),
        (put_off(TRIED), "a", "a", "first", Role.TRY, replace(TRIED, starts=2)),
        (TRIED, "a", "b", "first", Role.SERVE, TRIED),
    ],
)
def test_the_role_of_a_start(
    journal: Journal, own: str, linked: str, boot_id: str, role: Role, after: Journal
) -> None:
    assert at_start(journal, own, linked, boot_id) == (role, after)


def test_no_start_leads_to_an_unready_tree() -> None:
    for step in (IDLE, READY, TRYING):
        for own in ("", "a", "b"):
            for linked in ("", "a", "b"):
                for starts in range(MOST_STARTS + 1):
                    journal = Journal(step, "b", "0.2.0", starts, "first")
                    role, after = at_start(journal, own, linked, "first")
                    if role is Role.TRY:
                        assert (step, own) == (READY, linked) and after.tree == "b" != linked
                        assert after.starts <= MOST_STARTS


def test_the_serving_tree_is_never_rebuilt() -> None:
    assert [other_tree(each) for each in ("", "a", "b")] == ["a", "b", "a"]


def test_a_trial_needs_earlier_health_only() -> None:
    assert missing(B, ("1", "2"), ("1",)) == ""
    assert missing(B, ("1",), ()) == "Box 2 has a problem, Box 1 is not acknowledged"
    assert missing(Journal(READY, "b", "0.2.0"), (), ()) == ""


@pytest.mark.parametrize(
    ("plan", "journal", "why"),
    [
        (Plan("gateway", "0.2.0"), Journal(), ""),
        (Plan("gateway", "0.1.0"), Journal(), "it runs"),
        (Plan("gateway", "0.0.9"), Journal(), "the running version 0.1.0 is newer"),
        (Plan("gateway", "0.2.0"), failed(B, ENDED), f"its trial failed here: {ENDED}"),
        (Plan("gateway", "0.2.0", paused=True), Journal(), "the roll-out is paused"),
        (Plan("gateway", "0.2.0", stopped="no"), Journal(), "the roll-out is stopped: no"),
        (Plan("gateway", "0.2.0", groups=("pilot",)), Journal(), "this gateway's turn has not come"),
        (Plan("gateway", "0.2.0", percent=0), Journal(), "this gateway's turn has not come"),
    ],
)
def test_why_a_version_is_not_installed(plan: Plan, journal: Journal, why: str) -> None:
    assert refusal(plan, "0.1.0", journal, "7", "homes") == why


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan("gateway", "0.2.0", share=0), True),
        (Plan("gateway", "0.2.0", share=0, groups=("homes",)), True),
        (Plan("gateway", "0.2.0", share=0, groups=("pilot",)), False),
        (Plan("gateway", "0.2.0", share=0, percent=0), False),
        (Plan("gateway", "0.2.0", share=0, paused=True), False),
        (Plan("gateway", "0.2.0", share=0, stopped="one failed"), False),
    ],
)
def test_a_roll_out_is_open_to_reachable_gateways(plan: Plan, expected: bool) -> None:
    assert is_open(plan, "7", "homes") is expected


def test_an_open_roll_out_is_checked_each_minute() -> None:
    assert OPEN_LOOK_S * 1.1 < 60 < LOOK_S


def test_a_percentage_keeps_its_gateways() -> None:
    few, more = (Plan("gateway", "0.2.0", percent=each) for each in (10, 40))
    having = [{str(n) for n in range(2000) if is_turn(each, str(n), "")} for each in (few, more)]
    assert having[0] < having[1]
    assert 150 < len(having[0]) < 250 and 720 < len(having[1]) < 880
    assert {place(str(n), "0.2.0") // (WHOLE_SHARE // 10) for n in range(200)} == set(range(10))


@pytest.mark.parametrize(
    "version", ["", "1", "1.2.3.4.5", "../../x", "1.2\n", "१.२", "1.2-rc1", "1.-2", "1." * 9]
)
def test_a_version_is_numbers_with_dots(version: str) -> None:
    with pytest.raises(ReleaseError, match="is not a version"):
        target_name("gateway", version, "cp311-x86_64")


def test_versions_are_compared_as_numbers() -> None:
    assert version_key("0.10.0") > version_key("0.9.9") and version_key("1.0") == version_key("1.0.0")


@pytest.mark.parametrize(
    "custom",
    [
        {},
        {"kind": "gateway"},
        {"kind": "firmware", "version": "1.0"},
        {"kind": "gateway", "version": "../x"},
        {"kind": "gateway", "version": "1.0", "share": "all"},
        {"kind": "gateway", "version": "1.0", "groups": "pilot"},
        {"kind": "gateway", "version": "1.0", "groups": ["../x"]},
        {"kind": "gateway", "version": "1.0", "paused": 1},
    ],
)
def test_a_plan_that_is_not_one_is_refused(custom: dict[str, object]) -> None:
    with pytest.raises(ReleaseError):
        plan_from("gateway", custom)


def test_a_later_versions_plan_is_read() -> None:
    plan = Plan("gateway", "0.2.0", ("pilot",), 50, 10, True, "why", 3, 2)
    assert plan_from("gateway", {**plan.fields(), "newer": 1}) == plan
