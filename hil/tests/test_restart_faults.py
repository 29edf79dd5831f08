"""Systems that end and start again with the same samples: each dip is reported once, and no false outage."""

from dataclasses import replace
from pathlib import Path

import pytest
from played_seeds import played_schedule

from opq_sim.faults.draws import draw_restarts
from opq_sim.faults.evidence import Evidence, StoredEvent, StoredFinding
from opq_sim.faults.parts.restarted_boxes import TrueDark, TrueDip
from opq_sim.faults.rules.restarts import RestartAccount, RestartTruth, restarts

S = 10**9
AT = 1_000 * S
"""The dip of the first start; that of the second comes 100 s later, and looks the same."""
DIPS = (TrueDip("1", "gps", 0, AT, 60.0), TrueDip("1", "gps", 1, AT + 100 * S, 60.0))
FREE = tuple(replace(each, kind="free", ahead_ns=-40 * S) for each in DIPS)
FOUND = (
    StoredFinding("1", 1, "sag", 60.02, (1,), "a dip", AT + 4_000_000, AT + S, 100),
    StoredFinding("1", 2, "sag", 59.98, (2,), "a dip", AT + 100 * S, AT + 101 * S, 100),
)
DARK = TrueDark("1", AT + 20 * S, AT + 50 * S)
OUTAGE = StoredFinding("1", 3, "outage", None, (), "no supply", DARK.from_ns, DARK.to_ns, 100)


def account_of(
    findings: tuple[StoredFinding, ...] = FOUND,
    dips: tuple[TrueDip, ...] = DIPS,
    dark: tuple[TrueDark, ...] = (),
    incident_events: dict[int, tuple[int, ...]] | None = None,
    clock_was_set: tuple[str, ...] = (),
    share: float | None = None,
    withdrawn: tuple[str, ...] = (),
) -> RestartAccount:
    evidence = Evidence(
        findings=list(findings),
        events=[StoredEvent(n + 1, dip.at_ns - S, dip.at_ns + S, ("1",), {}) for n, dip in enumerate(dips)],
        incident_events={1: (1,), 2: (2,)} if incident_events is None else incident_events,
        measured={"1": [(AT, AT + 50 * S), (AT + 75 * S, AT + 100 * S)]},
        shares={} if share is None else {"1": (share, AT + 100 * S)},
        withdrawn=list(withdrawn),
    )
    return restarts(RestartTruth(dips, dark, {"1": [[AT, AT + 50 * S]]}, frozenset(clock_was_set)), evidence)


def test_two_alike_dips_are_two() -> None:
    account = account_of()
    assert (account.problems, account.told, account.dips, account.incidents) == ([], 2, 2, 2)


@pytest.mark.parametrize(
    ("account", "problem", "figure"),
    [
        (
            account_of(FOUND[:1], incident_events={1: (1, 2)}),
            "start 2, dip to 60 %: reported as sag",
            "merged",
        ),
        (account_of(FOUND[:1], incident_events={1: (1,)}), "missed, event 2 without an incident", "missed"),
        (account_of((FOUND[0], replace(FOUND[1], incident=1))), "one incident with 1 others", "merged"),
        (account_of((*FOUND, replace(FOUND[0], incident=3))), "reported once more", "doubled"),
        (
            account_of((*FOUND, replace(FOUND[0], incident=3, residual_percent=52.7))),
            "false: incident 3",
            "false",
        ),
        (
            account_of((FOUND[0], replace(FOUND[1], start_ns=AT + 101 * S))),
            "+1.000 s beside its time",
            "merged",
        ),
        (account_of((*FOUND, OUTAGE)), "false: incident 3, outage at 1: no supply", "outages_false"),
        (account_of(withdrawn=("1",)), "an outage was reported and withdrawn", "outages_false"),
        (account_of(dark=(DARK,)), "its outage of 30.0 s is missing", "outages"),
        (
            account_of((*FOUND, replace(OUTAGE, end_ns=DARK.to_ns - S)), dark=(DARK,)),
            "its outage of 30.0 s is reported as 29.0 s",
            "outages_told",
        ),
        (account_of(share=0.42), "measured share 42.0%, it is 75.0%", "share_error"),
    ],
)
def test_the_account_names_each_error(account: RestartAccount, problem: str, figure: str) -> None:
    assert any(problem in each for each in account.problems), account.problems
    assert getattr(account, figure) > 0


def test_a_true_outage_and_share_are_right() -> None:
    account = account_of((*FOUND, OUTAGE), dark=(DARK,), share=0.751)
    assert (account.problems, account.outages, account.outages_told) == ([], 1, 1)
    assert account.shares == 1 and account.share_error == pytest.approx(0.001)


def test_a_skipped_dip_is_counted_apart() -> None:
    evidence = Evidence(findings=list(FOUND[:1]), incident_events={1: (1,)})
    account = restarts(RestartTruth(DIPS, (), {}, not_sampled=frozenset({1})), evidence)
    assert (account.problems, account.told, account.not_sampled) == ([], 1, 1)


def test_a_short_supply_loss_is_optional() -> None:
    short = replace(DARK, to_ns=DARK.from_ns + 5 * S)
    assert account_of(dark=(short,)).problems == []
    assert account_of((*FOUND, replace(OUTAGE, end_ns=short.to_ns)), dark=(short,)).problems == []


def test_an_unknown_uncertainty_is_the_clocks() -> None:
    def told(later_ns: int, uncertainty_ns: int | None) -> RestartAccount:
        moved = [
            replace(each, start_ns=each.start_ns + later_ns, uncertainty_ns=uncertainty_ns) for each in FOUND
        ]
        return account_of(tuple(moved), FREE)

    assert told(-40 * S, None).problems == [] and told(0, None).problems == []
    assert told(-20 * S, None).told == 0
    assert told(-40 * S, 100).told == 0, "who states an uncertainty is within it"


@pytest.mark.timeout(3600)
def test_a_ctrl_c_restart_keeps_each_dip(tmp_path: Path) -> None:
    schedule = draw_restarts(54, restarts=1, kinds=("gps", "quiet", "voltage", "cur"))
    (restart,) = schedule.restarts
    assert (restart.kind, schedule.store, restart.ahead_s is not None) == ("ctrl_c", "sqlite", True)
    verdict = played_schedule("restart-faults", schedule, tmp_path)
    assert verdict.ok, "\n".join(verdict.problems)
    figures = verdict.figures
    assert (figures["trials"], figures["disturbances"]) == (4, 10)
    told, not_sampled = int(figures["told"]), int(figures["not_sampled"])
    assert told + not_sampled == 10 and told >= 6, "a starved machine may keep a Box from sampling"
    assert (figures["outages_false"], figures["merged"], figures["shares"]) == (0, 0, 1)
