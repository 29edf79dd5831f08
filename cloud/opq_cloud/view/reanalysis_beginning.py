"""Begins a re-analysis that REST or a page orders, and writes its two lines in the log of changes."""

import re

from opq_cloud.reanalysis_jobs import ReanalysisJob, ReanalysisJobs
from opq_cloud.reanalysis_order import ReanalysisOrder
from opq_cloud.store.records.accounts import AccountRecords
from opq_cloud.view.accounts.visitors import Visitor
from opq_cloud.view.words import utc

MAX_EVENTS = 10_000
"""Events of one job, the newest of its span; the command line allows ten times as many."""
MS = 1_000_000
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def begin_reanalysis(
    jobs: ReanalysisJobs,
    people: AccountRecords,
    visitor: Visitor,
    order: ReanalysisOrder,
    span: tuple[str, str] | None = None,
    how: str = "",
) -> ReanalysisJob:
    """Starts the job and notes who ordered it. `span`: its beginning and end as they were requested.

    Raises:
        ReanalysisBusyError: another job is running.
    """
    account_id = visitor.account.account_id if visitor.account else ""
    start, end = span or (_utc(order.start_ns), _utc(order.end_ns))
    job = jobs.start(order, account_id, lambda job: note_end(people, job, start, end))
    people.changes.add(account_id, visitor.address, f"ordered a re-analysis{how}", _words(job, start, end))
    return job


def note_end(people: AccountRecords, job: ReanalysisJob, start: str = "", end: str = "") -> None:
    """Writes the end of a job into the log of changes; `start` and `end` as they were requested."""
    if not job.order.dry_run:
        words = _words(job, start or _utc(job.order.start_ns), end or _utc(job.order.end_ns))
        people.changes.add(job.account_id, "", f"re-analysis {job.state}", _result_words(words, job))


def _utc(at_ns: int | None) -> str:
    return "now" if at_ns is None else utc(at_ns, 0)


def _words(job: ReanalysisJob, start: str, end: str) -> str:
    kind = "dry run" if job.order.dry_run else "replacing"
    return f"re-analysis {job.number}, {kind}, from {start} to {end}"


def _result_words(title: str, job: ReanalysisJob) -> str:
    report = job.report
    if report is None:
        return f"{title}: {job.error}, {job.done} events analysed"
    found = report["findings"]
    assert isinstance(found, dict)
    counts = ", ".join(f"{count} {name}" for name, count in found.items() if count)
    return f"{title}: {report['events']} events; findings: {counts or 'none'}"
