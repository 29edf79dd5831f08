"""A large event's incident begins with what one Box shows; in the end it is what all of them make at once."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opq_cloud.core.service import ServiceCounters
from opq_cloud.mauka.bulk.bulk_run import analyse_waiting
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.running.calls import event_analysis
from opq_cloud.mauka.running.calls.analysis_tasks import AnalysisSetup
from opq_cloud.mauka.running.calls.event_analysis import analyse_stored, analysis_order
from opq_cloud.mauka.running.calls.executor import WorkerProcesses
from opq_cloud.mauka.running.events.event_jobs import AnalysisJob, EventJobs
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.notifications import incident_watch
from opq_cloud.notifications.incident_watch import IncidentWatch
from opq_cloud.notifications.rule_book import RuleBook
from opq_cloud.store import CloudStore, open_store
from opq_cloud.store.records.accounts.notifications import NotificationRecords, NotificationRule
from opq_proto.decision import Nominal
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Finding, Incident, TimeSource, Trigger, Waveform

S = 10**9
START_NS = 1_765_000_000 * S
NOMINAL = Nominal(120.0, 60.0)
BOXES = ("1", "2", "3", "4", "5")
OPENED_BY, DEEPEST = "4", "2"


def waveform(box_id: str, uncertainty_ns: int = 1000) -> Waveform:
    """1.2 s at 60 Hz, at Box 1 0.1 Hz less; a dip in it, at Box 2 the deepest, at Box 5 none."""
    t_s = np.arange(14_400) / 12_000
    volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * (59.9 if box_id == "1" else 60) * t_s)
    depth = {"2": 0.3, "5": 1.0}.get(box_id, 0.7)
    volts[2_400 + 10 * int(box_id) : 3_600] *= depth
    counts = np.round(volts / 0.0068).astype(np.int16)
    return Waveform(box_id, START_NS, uncertainty_ns, TimeSource.GPS, 12_000_000, 0.0068, 0, counts)


def put_event(store: CloudStore, opened_by: str = OPENED_BY, uncertainty_ns: int = 1000) -> int:
    trigger = Trigger("t", START_NS, START_NS + 12 * S // 10, BOXES, opened_by, "test")
    event_id = store.open_event(trigger, "test")
    for box_id in BOXES:
        store.put_waveform(event_id, waveform(box_id, uncertainty_ns))
    store.finish_event(event_id)
    return event_id


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    with closing(open_store(None, tmp_path)) as opened:
        yield opened


class BeginsOnly(AnalysisRunner):
    """It ends where the other Boxes would be looked at."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        begin = self.flow.analysed.findings.begin_incidents

        def begin_only(job: AnalysisJob, findings: Sequence[Finding]) -> None:
            begin(job, findings)
            self.jobs.close()

        self.flow.analysed.findings.begin_incidents = begin_only  # type: ignore[method-assign]


def runner_of(
    store: CloudStore, made: type[AnalysisRunner] = AnalysisRunner, jobs: EventJobs | None = None
) -> AnalysisRunner:
    return made({}, lambda: store, load_analyses([]), NOMINAL, jobs=jobs)


def unnumbered(incidents: Sequence[Incident]) -> list[Incident]:
    """Without the findings' own numbers, which say in which order they came."""
    return [
        replace(
            each, findings=tuple(replace(one, finding_id=0) for one in sorted(each.findings, key=repr_of))
        )
        for each in incidents
    ]


def repr_of(one: Any) -> str:
    return repr(one.finding)


def test_the_opening_box_is_analysed_first(store: CloudStore) -> None:
    """Those with the largest deviation follow."""
    event = store.event(put_event(store))
    assert event is not None
    assert analysis_order(event, OPENED_BY)[:2] == (OPENED_BY, DEEPEST)
    assert analysis_order(event, "")[0] == DEEPEST and analysis_order(event, "")[-1] == "5"
    assert analysis_order(replace(event, waveforms=event.waveforms[:3]), OPENED_BY) == ()


@pytest.mark.parametrize(("opened_by", "first"), [(OPENED_BY, OPENED_BY), ("5", DEEPEST)])
def test_an_early_incident_survives_a_crash(
    store: CloudStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened_by: str, first: str
) -> None:
    """It is stored before the other Boxes are analysed; a crash there does not cost it."""
    event_id = put_event(store, opened_by)
    begun = runner_of(store, BeginsOnly)
    begun.analyse_now(event_id)
    assert [each.box_ids for each in store.incidents()] == [(first,)]
    assert begun.counters.total("incidents_begun") == 1
    assert [each.event_id for each in store.unanalysed_events()] == [event_id]
    number = store.incidents()[0].incident_id
    again = runner_of(store)  # after a kill
    again.analyse_now(event_id)
    assert again.counters.total("incidents_begun") == 0, "it had begun"
    assert store.event_record(event_id).analysed  # type: ignore[union-attr]
    incidents = store.incidents()
    assert [(each.incident_id, each.box_ids) for each in incidents][-1] == (number, ("1", "2", "3", "4"))
    figures = [dict(one.finding.figures) for one in incidents[-1].findings if one.finding.box_id == "1"]
    assert any("hz_apart" in each for each in figures), "what the first look could not compare"
    with closing(open_store(None, tmp_path / "whole")) as whole:
        monkeypatch.setattr(event_analysis, "FEW_BOXES", 99)
        at_once = runner_of(whole)
        at_once.analyse_now(put_event(whole, opened_by))
        assert at_once.counters.total("incidents_begun") == 0
        assert unnumbered(whole.incidents()) == unnumbered(incidents)


def test_processes_and_bulk_give_the_same_numbers(
    store: CloudStore, tmp_path: Path, running: Any, until: Any
) -> None:
    """Processes and the bulk path give the same result, numbers included."""
    runner = runner_of(store)
    runner.analyse_now(put_event(store))
    assert runner.counters.total("incidents_begun") == 1
    for name in ("bulk", "pool"):
        with closing(open_store(None, tmp_path / name)) as other:
            event_id = put_event(other)
            if name == "bulk":
                each = partial(analyse_stored, other, analyses=load_analyses([]), otherwise=NOMINAL)
                done = analyse_waiting(other, partial(each, ordered=True))
                assert done == (1, 0)
            else:
                jobs = EventJobs(WorkerProcesses(1, 1 << 30), AnalysisSetup(), 60.0)
                in_pool = runner_of(other, jobs=jobs)
                in_pool.analyse_now(event_id)
                jobs.close()
                assert in_pool.counters.total("incidents_begun") == 1
            assert other.incidents() == store.incidents(), name


def test_a_box_with_unknown_clock_waits(store: CloudStore) -> None:
    runner = runner_of(store)
    runner.analyse_now(put_event(store, uncertainty_ns=UNKNOWN_UNCERTAINTY_NS))
    assert runner.counters.total("incidents_begun") == 0
    assert store.incidents() and not store.unanalysed_events()


@pytest.mark.parametrize("is_analysed", [True, False])
def test_a_rule_reports_the_incident_once(
    store: CloudStore, monkeypatch: pytest.MonkeyPatch, is_analysed: bool
) -> None:
    """With all Boxes, or with those that were analysed at the end."""
    account = store.people.add_account("o@example.org", "o", "admin", "no-hash")
    assert account is not None
    records = NotificationRecords(store.people.documents)
    rule = NotificationRule("r", account.account_id, "all", "incident", "mail", 0, updates=True)
    records.put_rule(rule)
    counters = ServiceCounters()
    watch = IncidentWatch(store, RuleBook(store.people, counters), counters, lambda: START_NS + S)
    now_s = [100.0]
    monkeypatch.setattr(incident_watch, "monotonic", lambda: now_s[0])
    event_id = put_event(store)
    runner_of(store, BeginsOnly).analyse_now(event_id)
    watch.check_incidents()
    assert not watch.check_held() and not records.entries(limit=9), "it waits"
    if is_analysed:
        runner_of(store).analyse_now(event_id)
    else:
        now_s[0] += incident_watch.HELD_S
    assert watch.check_held() and not watch.check_held()
    watch.check_incidents()
    (entry,) = records.entries(limit=9)
    assert entry.box_ids == (("1", "2", "3", "4") if is_analysed else (OPENED_BY,))
