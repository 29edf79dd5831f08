"""The work on an incident by `/api/v1`: acknowledge, assign, state a cause, mark as seen.

It needs a token with the scope `write`; browsers have pages for it.
"""

from typing import Annotated, Literal

from fastapi import Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from opq_cloud.operations.incident_edits import CAUSE_CHARACTERS
from opq_cloud.store.incidents.index import IncidentEditError, IncidentWork
from opq_cloud.view.api.ordering import body_of, check_writes, read_request_body, refusals
from opq_cloud.view.api.problems import RestProblemError
from opq_cloud.view.live.feed_messages import LARGEST_ID
from opq_cloud.view.pages.account.account_context import TOO_OFTEN
from opq_cloud.view.pages.incidents.incident_work import (
    changed_work,
    mark_seen,
    may_edit,
    may_mark,
    person_to_assign,
    work_json,
)
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.forms import visitor_after_body
from opq_cloud.view.web.shares import PageRouter, in_thread
from opq_cloud.view.web.sign_in import GuessLimits
from opq_cloud.view.web.visitors import Visitor
from opq_proto.kit.plain_text import one_line
from opq_proto.messages import Incident


class WorkAsk(BaseModel):
    """What becomes of an incident; what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    acknowledged: bool | None = None
    assigned_to: Annotated[str | None, Field(max_length=254, examples=["ada@example.org"])] = None
    """`me`, the e-mail address of an account, or an empty text to take it back."""
    known_cause: Annotated[str | None, Field(max_length=CAUSE_CHARACTERS)] = None
    seen: Literal[True] | None = None
    """Not new any more to the token's account."""


class WorkRoutes:
    """One POST: to acknowledge, to assign, to state a cause."""

    def __init__(self, context: VisitorContext, services: ViewServices) -> None:
        self._context = context
        self._services = services
        self._limits = GuessLimits()

    def router(self) -> PageRouter:
        router = PageRouter()
        router.add_api_route(
            "/incidents/{incident_id}/work",
            self.work,
            methods=["POST"],
            response_model=dict[str, str | None],
            openapi_extra=body_of(WorkAsk),
            responses=refusals(403, 413),
        )
        return router

    async def work(
        self, request: Request, incident_id: Annotated[int, Path(ge=1, le=LARGEST_ID, examples=[3])]
    ) -> Response:
        """Acknowledge an incident, assign it, state its cause, mark it as seen. Needs the scope `write`."""
        check_writes(self._services.visitor)
        asked = await read_request_body(request, WorkAsk, 4096)
        visitor = await visitor_after_body(request)
        try:
            done = await in_thread(self._changed, visitor, incident_id, asked)
        except IncidentEditError as error:
            raise RestProblemError(400, f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
        return JSONResponse(work_json(self._context, done), 200, {"Cache-Control": "no-store"})

    def _changed(self, visitor: Visitor, number: int, asked: WorkAsk) -> IncidentWork:
        check_writes(visitor)
        store = self._services.store
        incident = store.incident(number)
        if asked == WorkAsk(seen=True) and incident is not None and may_mark(visitor, incident):
            mark_seen(store, visitor, [number])
            whole = visitor.everything or bool(store.seen_whole([number], visitor.sees))
            return store.incident_work([number])[number] if whole else IncidentWork()
        if incident is None or visitor.account is None or not may_edit(visitor, incident):
            raise RestProblemError(404, f"There is no incident {number} that you may change.")
        before = store.incident_work([number])[number]
        state, assigned, cause = before.state, before.assigned_to, before.known_cause
        if asked.acknowledged is not None:
            state = "acknowledged" if asked.acknowledged else "open"
        if asked.assigned_to is not None:
            assigned = self._assigned(visitor, incident, asked.assigned_to) if asked.assigned_to else ""
        if asked.known_cause is not None:
            cause = one_line(asked.known_cause)
        if asked.seen:
            mark_seen(store, visitor, [number])
        return changed_work(store, incident, visitor, IncidentWork(state, assigned, cause))[1]

    def _assigned(self, visitor: Visitor, incident: Incident, email: str) -> str:
        """The account to assign. E-mails can be tried no more often than passwords."""
        assert visitor.account is not None
        who = f"assign {visitor.account.account_id}"
        if not self._limits.spend(who, visitor.address, "token"):
            raise RestProblemError(429, TOO_OFTEN, {"Retry-After": "60"})
        found = person_to_assign(visitor, self._services.store.people, incident, email)
        self._limits.give_back(who, visitor.address, "token")
        return found.account_id
