"""How far a roll-out goes, by the reports of the gateways. Pure.

Gateways that have reported get a version one after the other (`at_once`), in the order of their places; the
roll-out stops at the `stop_at`th that fails.
"""

from collections.abc import Sequence
from dataclasses import replace

from opq_proto.firmware.image import ImageError, version_number
from opq_proto.release.plan import WHOLE_SHARE, Plan, ReleaseError, place, version_key
from opq_proto.release.report import Report

LOST_MS = 1_800_000
"""A gateway that has started an update, and has neither ended it nor reported for this time, counts as
failed."""
GONE_MS = 4 * 3_600_000
"""A roll-out does not wait for a gateway without a report for this time (gateways report each hour), or one
that was admitted for this time and has not started."""
DONE = "done"
"""The gateway has the version, or one that is newer, or takes none."""
FAILED = "failed"
"""The gateway went back to its version, or is lost. A gateway reports this state too."""
TRYING = "trying"
"""The gateway starts the version for the first time. A gateway reports this state too."""
WAITING = "waiting"
"""The gateway has not started the version."""
WELL = "well"
"""State that a gateway reports if it has nothing to update."""


class OpenTimes:
    """Since when each gateway that a plan admits has been at the same stage, by the reports of this process.

    A gateway that goes on reporting the same stage does not begin it again.
    """

    def __init__(self) -> None:
        self._since_ms: dict[tuple[str, str, str, str], int] = {}

    def for_ms(self, plan: Plan, report: Report, stage: str, now_ms: int) -> int:
        """Notes a stage; returns for how long the gateway has been there."""
        return now_ms - self._since_ms.setdefault((plan.kind, plan.version, report.gateway, stage), now_ms)

    def forget_others(self, plan: Plan) -> None:
        """Forgets former plans of this kind."""
        self._since_ms = {
            key: since_ms
            for key, since_ms in self._since_ms.items()
            if key[0] != plan.kind or key[1] == plan.version
        }


def standing(plan: Plan, report: Report, now_ms: int) -> str:
    """The progress of this gateway with the plan's version."""
    if plan.kind == "firmware":
        return _of_firmware(plan.version, report)
    try:
        if version_key(report.version) >= version_key(plan.version):
            return DONE
    except ReleaseError:
        return DONE  # its own build, which takes no release; other gateways do not wait for it
    if report.wanted != plan.version:
        return WAITING
    if report.state == WELL:
        return DONE  # the release is not for its Python or processor
    if report.state == TRYING:
        return FAILED if now_ms - report.at_ms > LOST_MS else TRYING
    return FAILED if report.state == FAILED else WAITING


def _of_firmware(version: str, report: Report) -> str:
    if any(each.startswith(f"{version} failed") for each in report.firmware.values()):
        return FAILED
    return WAITING if any(_older(each, version) for each in report.firmware.values()) else DONE


def _older(firmware: str, version: str) -> bool:
    try:
        return version_number(firmware.partition(" ")[0]) < version_number(version)
    except ImageError:
        return False


def advanced(plan: Plan, reports: Sequence[Report], now_ms: int, times: OpenTimes) -> Plan:
    """The plan after these reports: a larger share, or stopped."""
    if plan.paused or plan.stopped:
        return plan
    times.forget_others(plan)
    concerned = [each for each in reports if not plan.groups or each.group in plan.groups]
    found = {each.gateway: standing(plan, each, now_ms) for each in concerned}
    late = set()
    for each in concerned:
        stage = found[each.gateway]
        if stage == TRYING and times.for_ms(plan, each, TRYING, now_ms) > LOST_MS:
            found[each.gateway] = FAILED
        is_admitted = place(each.gateway, plan.version) < plan.share
        if stage == WAITING and is_admitted and times.for_ms(plan, each, WAITING, now_ms) > GONE_MS:
            late.add(each.gateway)
    failed = [each for each in concerned if found[each.gateway] == FAILED]
    if len(failed) >= plan.stop_at:
        first = max(failed, key=lambda each: each.at_ms)
        why = first.reason or "; ".join(each for each in first.firmware.values() if "failed" in each)
        words = f"{len(failed)} failed; gateway {first.gateway}: {why or 'silent since it began'}"
        return replace(plan, stopped=words[:280])
    limit = plan.percent * WHOLE_SHARE // 100
    open_ones = [
        each
        for each in concerned
        if found[each.gateway] in (WAITING, TRYING)
        and now_ms - each.at_ms <= GONE_MS
        and each.gateway not in late
    ]
    places = sorted(place(each.gateway, plan.version) for each in open_ones)
    begun = [each for each in places if each < plan.share]
    waiting = [each for each in places if each >= plan.share]
    admitted = waiting[: max(0, plan.at_once - len(begun))]
    return replace(plan, share=min(limit, admitted[-1] + 1)) if admitted else plan
