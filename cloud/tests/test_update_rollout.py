"""How far a roll-out goes: one gateway after the other, stopped at the failures that it may have."""

from dataclasses import replace

import pytest

from opq_cloud.update.rollout import GONE_MS, LOST_MS, OpenTimes, advanced, standing
from opq_proto.release.plan import WHOLE_SHARE, Plan, is_turn, place
from opq_proto.release.report import Report

OLD, NEW = "0.1.0", "0.2.0"


def play(
    plan: Plan, failing: set[str], gateways: int = 20, hours: int = 25
) -> tuple[Plan, dict[str, Report], list[str]]:
    """Gateways that look in a round, each hour; returns plan, reports, and who tried, in their order."""
    reports = {str(number): Report(str(number), OLD, 0) for number in range(1, gateways + 1)}
    tried: list[str] = []
    times = OpenTimes()
    for hour in range(1, hours):
        for gateway, report in reports.items():
            now_ms = hour * 3_600_000 + int(gateway)
            if is_turn(plan, gateway, report.group) and gateway not in tried:
                tried.append(gateway)
                ended = {"state": "failed", "reason": "no uplink"} if gateway in failing else {"version": NEW}
                report = replace(report, wanted=NEW, **ended)
            reports[gateway] = replace(report, at_ms=now_ms)
            plan = advanced(plan, list(reports.values()), now_ms, times)
    return plan, reports, tried


def order(gateways: int = 20) -> list[str]:
    return sorted(map(str, range(1, gateways + 1)), key=lambda each: place(each, NEW))


def test_a_roll_out_stops_at_its_second_failure() -> None:
    """A roll out of twenty stops at the second that fails."""
    failing = {order()[4], order()[9], order()[15]}
    plan, reports, tried = play(Plan("gateway", NEW, share=0, stop_at=2), failing)
    assert tried == order()[:10]
    assert plan.stopped == f"2 failed; gateway {order()[9]}: no uplink"
    assert sum(each.version == NEW for each in reports.values()) == 8


def test_by_default_it_stops_at_the_first() -> None:
    plan, _, tried = play(Plan("gateway", NEW, share=0), {order()[0], order()[1]})
    assert tried == order()[:1] and plan.stopped.startswith("1 failed")


def test_without_failures_all_have_it() -> None:
    plan, reports, tried = play(Plan("gateway", NEW, share=0, at_once=3), set())
    assert len(tried) == 20 and {each.version for each in reports.values()} == {NEW}
    assert plan.share == place(order()[-1], NEW) + 1 and not plan.stopped
    assert advanced(Plan("gateway", NEW, share=0), [], 0, OpenTimes()).share == 0, "no report has come yet"


def test_it_stays_within_its_percentage() -> None:
    plan, reports, tried = play(Plan("gateway", NEW, percent=25, share=0, at_once=9), set(), 100, 6)
    assert plan.share <= WHOLE_SHARE // 4
    assert set(tried) == {each for each in reports if place(each, NEW) < WHOLE_SHARE // 4}


def test_nobody_waits_for_a_gateway_that_is_away() -> None:
    first, second = order(2)
    reports = [Report(first, OLD, 0), Report(second, OLD, GONE_MS + 1)]
    plan = advanced(Plan("gateway", NEW, share=0), reports, GONE_MS + 2, OpenTimes())
    assert is_turn(plan, second, "")


@pytest.mark.parametrize("report", [Report("1", "0.1.0.dev3", 0), Report("1", OLD, 0, "well", NEW)])
def test_a_box_without_a_release_is_skipped(report: Report) -> None:
    """A Box that takes no release, or has none, is not awaited."""
    assert standing(Plan("gateway", NEW), report, 0) == "done"


def test_silence_during_trial_counts_as_failure() -> None:
    """One that falls silent in its trial counts as failed."""
    report = Report("1", OLD, 0, "trying", NEW)
    plan = Plan("gateway", NEW, share=WHOLE_SHARE)
    assert standing(plan, report, LOST_MS) == "trying"
    stopped = advanced(plan, [report], LOST_MS + 1, OpenTimes())
    assert stopped.stopped == "1 failed; gateway 1: silent since it began"
    assert advanced(stopped, [replace(report, version=NEW)], LOST_MS + 2, OpenTimes()) == stopped


def test_other_groups_do_not_count() -> None:
    reports = [Report("1", OLD, 0, "failed", NEW, "homes"), Report("2", OLD, 0, group="pilot")]
    plan = advanced(Plan("gateway", NEW, ("pilot",), share=0), reports, 1, OpenTimes())
    assert not plan.stopped and is_turn(plan, "2", "pilot") and not is_turn(plan, "1", "homes")


@pytest.mark.parametrize(
    ("firmware", "state"),
    [
        ({}, "done"),
        ({"1": "1.3.0"}, "waiting"),
        ({"1": "1.4.0", "2": "1.4.0 confirmed"}, "done"),
        ({"1": "1.4.0", "2": "1.4.0 failed: rolled back"}, "failed"),
        ({"1": "sim"}, "done"),
    ],
)
def test_firmware_counts_by_the_boxes(firmware: dict[str, str], state: str) -> None:
    assert standing(Plan("firmware", "1.4.0"), Report("1", OLD, 0, firmware=firmware), 0) == state


@pytest.mark.parametrize(("stage", "patience_ms"), [("trying", LOST_MS), ("waiting", GONE_MS)])
def test_one_gateway_does_not_hold_a_roll_out(stage: str, patience_ms: int) -> None:
    """It goes on reporting the same stage each minute; the others get the version meanwhile."""
    first, second = order()[:2]
    plan, times = Plan("gateway", NEW, share=place(first, NEW) + 1, stop_at=2), OpenTimes()
    step_ms = 60_000
    for now_ms in range(0, patience_ms + 2 * step_ms, step_ms):
        held = plan
        reports = [
            Report(first, OLD, now_ms, wanted=NEW, state=stage),
            Report(second, OLD, now_ms, wanted=NEW, state="waiting"),
        ]
        plan = advanced(plan, reports, now_ms, times)
        assert held.share <= place(second, NEW) or now_ms > patience_ms
    assert plan.share == place(second, NEW) + 1 and not plan.stopped
    if stage == "trying":
        one_failure = replace(held, stop_at=1)
        assert advanced(one_failure, reports, now_ms, times).stopped.startswith(f"1 failed; gateway {first}")
