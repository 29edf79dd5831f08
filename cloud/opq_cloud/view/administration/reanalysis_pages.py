"""`/admin/reanalyses`: orders stored events to be analysed again; shows who ordered, progress and changes.

The jobs are the same as those of `/api/v1/reanalyses` and `opq-tools reanalyse --jobs`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.reanalysis_jobs import ReanalysisBusyError, ReanalysisJob, ReanalysisJobs
from opq_cloud.reanalysis_order import ReanalysisOrder
from opq_cloud.view.accounts.forms import SentForm, form_route, see_other
from opq_cloud.view.accounts.visitors import Visitor
from opq_cloud.view.administration.admin_context import AdminContext
from opq_cloud.view.context import LARGEST_ID
from opq_cloud.view.reanalysis_beginning import MAX_EVENTS, MS, NAME, begin_reanalysis
from opq_cloud.view.time_span import read_span

PATH = "/admin/reanalyses"
COUNTED = {
    "added": "added", "gone": "gone", "class": "of another class",
    "figures": "with other figures",
    "origin": "as before, by another version or settings", "unchanged": "unchanged",
}  # fmt: skip
STATE_WORDS = {
    "running": "running", "done": "done", "failed": "failed", "ended": "ended",
    "interrupted": "interrupted",
}  # fmt: skip
MAX_INCIDENTS = 20
"""Changed incidents that the page of a job shows."""
TYPED = {"from": "now-7d", "to": "now", "analyses": ""}


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as the page shows it."""

    job: ReanalysisJob
    who: str

    @property
    def kind(self) -> str:
        return "Dry run" if self.job.order.dry_run else "Replaces"

    @property
    def state(self) -> str:
        return STATE_WORDS[self.job.state]

    @property
    def counts(self) -> list[tuple[int, str]]:
        """(how many findings, what becomes of them), changes first."""
        found = self._report.get("findings", {})
        return [(found[name], words) for name, words in COUNTED.items() if found.get(name)]

    @property
    def incidents(self) -> list[dict[str, Any]]:
        """The incidents that appear, disappear or change their class."""
        return [each for each in self._report.get("incident_changes", []) if each["change"] != "findings"]

    @property
    def troubles(self) -> list[str]:
        """The events and analyses that failed or were skipped, and why."""
        events = {**self._report.get("failed", {}), **self._report.get("skipped", {})}
        not_run = self._report.get("not_run", {})
        found = [f"Event {number}: {why}" for number, why in events.items()]
        return [
            *found,
            *(f"{name} did not run: {why}" for name, why in not_run.items()),
        ]

    @property
    def may_be_carried_out(self) -> bool:
        return self.job.state == "done" and self.job.order.dry_run

    @property
    def _report(self) -> dict[str, Any]:
        return self.job.report or {}


class ReanalysisPages:
    """The pages of re-analyses, for administrators."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        router.add_api_route(PATH, self.page, response_class=HTMLResponse)
        router.add_api_route(PATH, form_route(self.order), methods=["POST"])
        for name, form in (("end", self.end), ("run", self.carry_out)):
            router.add_api_route(f"{PATH}/{{number}}/{name}", form_route(form), methods=["POST"])
        return router

    def page(self) -> Response:
        self._context.require_reader()
        return self._page()

    def _page(self, problem: str = "", typed: Mapping[str, str] = TYPED, code: int = 200) -> Response:
        jobs = self._context.view.reanalyses
        names = {each.account_id: each.name for each in self._context.accounts.people.accounts()}
        kept = [] if jobs is None else jobs.jobs()
        return self._context.page(
            "reanalyses.html",
            "reanalyses",
            code=code,
            rows=[JobRow(each, names.get(each.account_id, "an account that is gone")) for each in kept],
            runs_here=jobs is not None,
            running=any(each.state == "running" for each in kept),
            most_incidents=MAX_INCIDENTS,
            problem=problem,
            typed=typed,
        )

    def order(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        visitor, jobs = self._context.require_administrator(), self._jobs()
        typed = {name: form.text(name, 400 if name == "analyses" else 40) for name in TYPED}
        names = tuple(typed["analyses"].replace(",", " ").split())
        try:
            if wrong := [name for name in names if not NAME.fullmatch(name)]:
                raise ValueError(f"{wrong[0][:40]} is no name of an analysis, such as rms_voltage")
            span = read_span(typed["from"], typed["to"], self._context.view.now_ns() // MS)
        except ValueError as error:
            text = str(error)
            return self._page(f"{text[:1].upper()}{text[1:]}.", typed, 400)
        order = ReanalysisOrder(
            span.start_ms * MS, span.end_ms * MS, form.checked("dry_run"), names, most_events=MAX_EVENTS
        )
        return self._begin(jobs, visitor, order, typed)

    def carry_out(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Carries out what a dry run has shown: the same order, with the same span."""
        visitor, jobs = self._context.require_administrator(), self._jobs()
        job = self._known(jobs, request)
        if not JobRow(job, "").may_be_carried_out:
            return self._page(f"Re-analysis {job.number} is no dry run that is done.", code=409)
        return self._begin(jobs, visitor, replace(job.order, dry_run=False), TYPED)

    def _begin(
        self, jobs: ReanalysisJobs, visitor: Visitor, order: ReanalysisOrder, typed: Mapping[str, str]
    ) -> Response:
        try:
            begin_reanalysis(jobs, self._context.accounts.people, visitor, order)
        except ReanalysisBusyError as error:
            text = str(error)
            return self._page(f"{text[:1].upper()}{text[1:]}.", typed, 409)
        return see_other(PATH)

    def end(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Ends a job; findings that it has replaced stay replaced."""
        visitor, jobs = self._context.require_administrator(), self._jobs()
        job = self._known(jobs, request)
        if not jobs.end(job.number):
            return self._page(
                f"Re-analysis {job.number} does not run any more; it is {STATE_WORDS[job.state]}.",
                code=409,
            )
        self._context.accounts.note(visitor, "ended a re-analysis", f"{job.number}")
        return see_other(PATH)

    def _jobs(self) -> ReanalysisJobs:
        jobs = self._context.view.reanalyses
        if jobs is None:
            raise HTTPException(409, "This View carries no re-analysis out.")
        return jobs

    def _known(self, jobs: ReanalysisJobs, request: Request) -> ReanalysisJob:
        text = request.path_params["number"]
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_ID)) else 0
        job = jobs.job(number) if 0 < number <= LARGEST_ID else None
        if job is None:
            raise HTTPException(404, f"There is no re-analysis {text[:20]}; the last 20 are kept.")
        return job
