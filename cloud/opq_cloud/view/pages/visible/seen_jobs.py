"""Dear work as one visitor sees it: what a job's process needs to know, and the jobs of one View."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import MailSection, ViewSection
from opq_cloud.store.store import CloudStore
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.dear_work import (
    DearPlaces,
    MadeTogether,
    NoPlaceError,
    WorkKind,
    job_server,
    only_part,
    parts_of,
    until_gone,
)
from opq_cloud.view.web.job_server import DearJob
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.shares import pause_refusal
from opq_cloud.view.web.visitors import VISITOR, Visitor, Visitors
from opq_proto.decision import Nominal

KEPT_S = 60.0
"""So long an answer is kept for visitors who see the same."""
ANSWERS_KEPT = 32
MODULES = (
    "opq_cloud.view.pages.reports.report_jobs",
    "opq_cloud.view.pages.past.verdict_calendar",
    "opq_cloud.view.api.export_jobs",
    "opq_cloud.view.pages.admin.audit_export",
)
"""The modules of all jobs."""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a job needs of the View that began it."""

    visitor: Visitor
    nominal: Nominal
    now_ns: int


def opened_context(store: CloudStore, facts: JobFacts) -> tuple[VisitorContext, ViewServices]:
    """The store as the visitor sees it, in the process of a job; without live data."""
    VISITOR.set(facts.visitor)
    counters = ServiceCounters()
    visitors, mailer = Visitors(store.people, ViewSection()), Mailer(MailSection(), counters)
    hub = LiveHub(counters)
    services = ViewServices(store, hub, counters, visitors, mailer, facts.nominal, lambda: facts.now_ns)
    return VisitorContext(services), services


class SeenJobs:
    """The dear work of one View, for the visitor of the present request; on the event loop."""

    def __init__(self, services: ViewServices) -> None:
        self._services = services
        self.places = DearPlaces(services.counters)
        self._made = MadeTogether(KEPT_S, ANSWERS_KEPT)
        self._server = job_server(MODULES)

    async def only(
        self, kind: WorkKind, key: Hashable, work: Callable[..., Iterator[Any]], *more: Any
    ) -> Any:
        """The only part of a job; made once for all who see the same and request it at one time.

        `key`: what the answer depends on, besides what its visitor sees. Raises what the job raises, and
        NoPlaceError where no place is free for this visitor.
        """
        visitor, job = self._services.visitor, self._job(work, more)
        is_ours = False

        async def made() -> Any:
            nonlocal is_ours
            is_ours = True
            with self.places.place(kind):
                return await only_part(self._server, job)

        while True:
            try:
                shared = visitor.sight, visitor.without_waveforms, work.__name__, key
                return await self._made.of(shared, made)
            except NoPlaceError:  # that of another visitor is not ours
                if is_ours:
                    await pause_refusal()
                    raise

    async def parts(
        self, kind: WorkKind, work: Callable[..., Iterator[Any]], *more: Any
    ) -> tuple[Any, AsyncGenerator[Any, None]]:
        """The first part of a job, and the others, which are made while they are read.

        The job ends when the parts are closed. Raises as `only`.
        """
        parts = self._held(kind, self._job(work, more))
        return await until_gone(asyncio.ensure_future(anext(parts))), parts

    async def _held(self, kind: WorkKind, job: DearJob) -> AsyncGenerator[Any, None]:
        async with self.places.taken(kind), aclosing(parts_of(self._server, job)) as parts:
            async for part in parts:
                yield part

    def _job(self, work: Callable[..., Iterator[Any]], more: tuple[Any, ...]) -> DearJob:
        services = self._services
        facts = JobFacts(services.visitor, services.nominal, services.now_ns())
        return DearJob(services.store.place, work, (facts, *more))
