"""The pure core: what is news to a rule, once over an incident's growth; when it is sent; who is silent."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opq_cloud.core.service import HealthReport
from opq_cloud.notifications.incident_news import ReportedFindings, incident_news, mismatch
from opq_cloud.notifications.outage_news import ComponentOutages, HealthComponent, outage_is_news
from opq_cloud.notifications.rows_endpoint import SentRow
from opq_cloud.notifications.send_time import send_time_ms, wall_time
from opq_cloud.store.incidents.as_json import incident_json
from opq_cloud.store.incidents.severity import severity_of
from opq_cloud.store.records.accounts.notifications import NotificationRule
from opq_cloud.store.records.accounts.seen_incidents import incident_at
from opq_proto.messages import CauseHypothesis, Finding, Incident, StoredFinding

SECOND_NS = 10**9
START_NS = 1_800_000_000 * SECOND_NS
RULE = NotificationRule("r", "a", "all of it", "incident", "mail", START_NS // 1_000_000)
HONOLULU, BERLIN = ZoneInfo("Pacific/Honolulu"), ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")


def finding(number: int, kind: str = "sag", percent: float = 60.0) -> Finding:
    return Finding(kind, str(number), START_NS, START_NS + SECOND_NS, 0, residual_percent=percent)


def incident_of(
    numbers: tuple[int, ...], incident_id: int = 1, severity: float = 2.0, kind: str = "sag"
) -> Incident:
    """Finding k is at Box k."""
    findings = tuple(StoredFinding(n, incident_id, n, finding(n, kind)) for n in numbers)
    boxes = tuple(map(str, numbers))
    end_ns = START_NS + SECOND_NS
    return Incident(
        incident_id, kind, boxes, numbers, START_NS, end_ns, True, 60.0, findings, "feeder", severity
    )


def kinds_said(rule: NotificationRule, incidents: list[Incident]) -> list[str]:
    said = ReportedFindings()
    kinds = []
    for each in incidents:
        news = incident_news(rule, each, said)
        if news is not None:
            said.add(news.finding_ids, news.level)
            kinds.append(news.kind)
    return kinds


def test_half_a_surrogate_pair_is_refused() -> None:
    """Half a surrogate pair of a row reaches no page."""
    row = SentRow(rb'{"text": "THD 9 % \ud800 at Box 3", "id": "\udfff"}')
    assert (row.text, row.row_id) == ("THD 9 % ? at Box 3", "?")


def test_joining_boxes_give_no_second_message() -> None:
    grown = [incident_of(tuple(range(1, n + 1))) for n in (1, 2, 3, 4)]
    assert kinds_said(RULE, grown) == ["incident"]
    assert kinds_said(replace(RULE, updates=True), grown) == ["incident"]


def test_only_a_worse_level_is_reported_again() -> None:
    """If the rule asks for it; a better level is not."""
    course = [incident_of((1,), severity=each) for each in (2.0, 3.9, 4.0, 2.0, 6.9, 8.0, 9.0, 4.0)]
    assert kinds_said(RULE, course) == ["incident"]
    assert kinds_said(replace(RULE, updates=True), course) == ["incident"] + ["incident_changed"] * 2


def test_moved_findings_stay_reported() -> None:
    assert kinds_said(RULE, [incident_of((1, 2), 7), incident_of((3, 1, 2), 9), incident_of((3,), 11)]) == [
        "incident"
    ]
    assert kinds_said(RULE, [incident_of((1,), 7), incident_of((2,), 8)]) == ["incident"] * 2


@given(st.data())
def test_any_order_repetition_and_grouping_is_reported_once(data: st.DataObject) -> None:
    """Snapshots of one disturbance's growth as they come, late ones too, under any number."""
    boxes = data.draw(st.permutations(range(1, 9)))
    sizes = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=8))
    severities = data.draw(st.lists(st.floats(0, 10), min_size=8, max_size=8))
    grown = [
        incident_of(
            tuple(sorted(boxes[:size])),
            data.draw(st.integers(1, 3)),
            max(severities[:size]),  # the worst of what it has: Mauka's rule
        )
        for size in sizes
    ]
    heard = [*grown, *data.draw(st.lists(st.sampled_from(grown), max_size=8))]
    heard = data.draw(st.permutations(heard))
    assert kinds_said(RULE, heard) == ["incident"]
    least = data.draw(st.sampled_from([0.0, 3.0, 6.0, 9.5]))
    wanted = [each for each in heard if (each.severity or 0) >= least]
    assert kinds_said(replace(RULE, least_severity=least), heard) == ["incident"][: len(wanted)]
    worse = kinds_said(replace(RULE, updates=True), heard)
    assert worse[0] == "incident" and worse.count("incident") == 1 and len(worse) <= 3


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"classes": ("swell",)}, "of another class"),
        ({"classes": ("sag", "swell")}, ""),
        ({"scopes": ("local",)}, "its scope is another one, or not known"),
        ({"scopes": ("feeder",)}, ""),
        ({"box_ids": ("3",)}, "at other Boxes"),
        ({"box_ids": ("3", "2")}, ""),
        ({"least_severity": 5.0}, ""),
        ({"least_severity": 5.1}, "less severe"),
        ({"since_ms": START_NS // 1_000_000 + 1}, "it began before the rule was made or changed"),
    ],
)
def test_a_rule_speaks_of_what_it_names(changes: dict[str, object], why: str) -> None:
    assert mismatch(replace(RULE, **changes), incident_of((1, 2), severity=5.0)) == why


def test_a_box_rule_judges_that_box() -> None:
    whole = incident_of((1, 2), severity=9.0)
    deep = replace(whole.findings[0].finding, itic="prohibited", residual_percent=0.0)
    shallow = replace(whole.findings[1].finding, kind="phase_jump", residual_percent=None)
    whole = replace(
        whole,
        findings=(replace(whole.findings[0], finding=deep), replace(whole.findings[1], finding=shallow)),
    )
    assert mismatch(replace(RULE, box_ids=("1",), least_severity=7.0), whole) == ""
    assert mismatch(replace(RULE, box_ids=("2",), least_severity=7.0), whole) == "less severe"
    assert mismatch(replace(RULE, box_ids=("2",), classes=("sag",)), whole) == "of another class"


def test_a_part_hides_facts_of_the_whole() -> None:
    """A part of an incident states nothing that follows from the rest, and the severity of its findings."""
    cause = CauseHypothesis("transmission_fault", 0.9)
    whole = replace(incident_of((1, 2)), centre=(21.3, -157.8), follows=7, hypotheses=(cause,))
    part = incident_at(whole, {"1"}.__contains__)
    assert part is not None and part.box_ids == ("1",)
    assert (part.scope, part.centre, part.follows) == (None, None, None)
    assert part.severity == max(severity_of(each.finding) for each in part.findings)
    assert part.hypotheses == () and incident_json(part)["cause"] is None
    assert incident_at(whole, {"1", "2"}.__contains__) == whole
    assert incident_at(whole, {"3"}.__contains__) is None


def ms(text: str, zone: ZoneInfo) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


QUIET = replace(RULE, quiet_from="22:00", quiet_to="07:00")


@pytest.mark.parametrize(
    ("rule", "zone", "now", "due", "why"),
    [
        (RULE, HONOLULU, "2026-11-22T03:00", "2026-11-22T03:00", ""),
        (QUIET, HONOLULU, "2026-11-22T21:59", "2026-11-22T21:59", ""),
        (QUIET, HONOLULU, "2026-11-22T22:00", "2026-11-23T07:00", "quiet hours"),
        (QUIET, HONOLULU, "2026-11-22T06:59", "2026-11-22T07:00", "quiet hours"),
        (QUIET, HONOLULU, "2026-11-22T07:00", "2026-11-22T07:00", ""),
        (replace(QUIET, digest="hourly"), HONOLULU, "2026-11-22T12:20", "2026-11-22T13:00", "hourly digest"),
        (replace(QUIET, digest="hourly"), HONOLULU, "2026-11-22T21:20", "2026-11-23T07:00", "quiet hours"),
        (replace(RULE, digest="daily"), HONOLULU, "2026-11-22T07:00", "2026-11-23T07:00", "daily digest"),
        # the clock goes from 2:00 to 3:00: 2:30 does not exist, and comes an hour later
        (
            replace(RULE, digest="daily", digest_at="02:30"),
            BERLIN,
            "2026-03-29T00:00",
            "2026-03-29T03:30",
            "daily digest",
        ),
        # and from 3:00 back to 2:00: the first 2:30 counts
        (replace(QUIET, quiet_to="02:30"), BERLIN, "2026-10-25T01:00", "2026-10-25T02:30", "quiet hours"),
    ],
)
def test_when_it_is_sent(rule: NotificationRule, zone: ZoneInfo, now: str, due: str, why: str) -> None:
    assert send_time_ms(rule, zone, ms(now, zone)) == (ms(due, zone), why)


@pytest.mark.parametrize(("zone", "hour"), [(BERLIN, "2026-10-25T01"), (NEW_YORK, "2026-11-01T06")])
def test_quiet_hours_end_in_the_second_pass(zone: ZoneInfo, hour: str) -> None:
    """By UTC: the clock shows the same hour again, and a quarter of it is still quiet."""
    end = datetime.fromtimestamp(ms(f"{hour}:30", ZoneInfo("UTC")) / 1000, zone)
    assert end.fold == 1
    rule = replace(QUIET, quiet_to=f"{end:%H:%M}")
    due_ms = ms(f"{hour}:30", ZoneInfo("UTC"))
    assert send_time_ms(rule, zone, ms(f"{hour}:10", ZoneInfo("UTC"))) == (due_ms, "quiet hours")
    assert send_time_ms(rule, zone, due_ms) == (due_ms, "")


def test_what_is_severe_enough_waits_for_nothing() -> None:
    rule = replace(QUIET, digest="daily", loud_severity=7.0)
    now_ms = ms("2026-11-22T23:00", HONOLULU)
    assert send_time_ms(rule, HONOLULU, now_ms, 7.0) == (now_ms, "")
    assert send_time_ms(rule, HONOLULU, now_ms, 6.9)[1] == "daily digest"
    assert send_time_ms(rule, HONOLULU, now_ms, None)[1] == "daily digest"


@given(st.integers(1_600_000_000_000, 2_000_000_000_000), st.integers(0, 23), st.integers(0, 59))
def test_a_daily_digest_comes_at_its_time(now: int, h: int, m: int) -> None:
    """Within twenty-five hours."""
    rule = replace(RULE, digest="daily", digest_at=f"{h:02}:{m:02}")
    due_ms, _ = send_time_ms(rule, BERLIN, now)
    assert now < due_ms <= now + 25 * 3_600_000
    shown = datetime.fromtimestamp(due_ms / 1000, UTC).astimezone(BERLIN).time()
    # the hour from 2 to 3 is left out once a year: then it comes at 3
    assert (shown.hour, shown.minute) in ((h, m), (3 if h == 2 else h, m))


@pytest.mark.parametrize("text", ["", "7:00", "24:00", "07:60", "0700", "ab:cd", "07:00:00"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time of day|must be in"):
        wall_time(text)


SILENCE = replace(RULE, about="silence", after_s=300, since_ms=0)
BOX = HealthComponent("3", True)
MAKAI = HealthComponent("makai", False)


def report(component: HealthComponent, ok: bool, at_s: int) -> tuple[HealthComponent, HealthReport]:
    return component, HealthReport(component.name, ok, at_s)


def test_each_silence_is_reported_once() -> None:
    """A silent Box is reported after its time and once for each silence."""
    outages, said = ComponentOutages(), dict[str, int]()
    told = []
    for at_s, heard_s in ((1000, 1000), (1100, 1000), (1299, 1000), (1300, 1000), (1400, 1000), (1500, 1200)):
        for each in outages.accept_reports([report(BOX, at_s == heard_s, heard_s)], at_s * 1000):
            if outage_is_news(SILENCE, each, said, at_s * 1000):
                said[each.component.subject] = each.since_ms
                told.append((at_s, each.since_ms // 1000))
    assert told == [(1300, 1000), (1500, 1200)]  # it was heard at 1200 and is silent again


def test_a_late_box_is_silent_since_arrival() -> None:
    """Its clock is three hours behind; the time of arrival moves by a second with the machine's clock."""
    outages = ComponentOutages()
    silent = HealthReport("3", False, 1000, received_s=11_800)
    (outage,) = outages.accept_reports([(BOX, silent)], 11_850_000)
    assert outage.since_ms == 11_800_000
    assert not outage_is_news(SILENCE, outage, {}, 11_850_000)
    assert outage_is_news(SILENCE, outage, {}, 12_100_000)
    (same,) = outages.accept_reports([(BOX, replace(silent, received_s=11_801))], 12_110_000)
    assert not outage_is_news(SILENCE, same, {BOX.subject: 11_800_000}, 12_110_000)
    assert not outage_is_news(SILENCE, outage, {BOX.subject: 11_801_000}, 12_110_000)


def test_an_absent_component_does_not_change() -> None:
    """A component that a report does not contain is neither down nor back."""
    outages = ComponentOutages()
    assert outages.accept_reports([report(BOX, False, 1000)], 1_050_000) != []
    assert [each.since_ms for each in outages.accept_reports([], 2_000_000)] == [1_000_000]
    assert outages.accept_reports([report(BOX, True, 2000)], 2_000_000) == []


def test_an_older_silence_is_not_news() -> None:
    """A silence of before the rule is not reported; a rule for Boxes does not cover services."""
    outages = ComponentOutages()
    (box, service) = outages.accept_reports([report(BOX, False, 1000), report(MAKAI, False, 0)], 5_000_000)
    assert not outage_is_news(replace(SILENCE, since_ms=4_000_000), box, {}, 5_000_000)
    assert not outage_is_news(SILENCE, service, {}, 9_000_000)
    assert not outage_is_news(replace(SILENCE, box_ids=("4",)), box, {}, 5_000_000)
    health = replace(SILENCE, about="health")
    assert not outage_is_news(health, service, {}, 5_299_000)
    assert outage_is_news(health, service, {}, 5_300_000)
    assert not outage_is_news(health, service, {"service makai": 1}, 9_000_000)  # said before a restart
