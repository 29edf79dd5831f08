"""Notes, labels, splits and merges of incidents by people, with author and time.

Researchers and administrators may edit every incident, owners only those of their own Boxes. A note may name
any Box of the incident, so it is shown only to signed-in visitors who see all of them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from fastapi import HTTPException, Request, Response
from markupsafe import Markup

from opq_cloud.operations.incident_edits import CAUSE_CHARACTERS, IncidentEditor
from opq_cloud.store.incidents.index import NOTE_CHARACTERS, IncidentEditError, IncidentWork
from opq_cloud.store.records.accounts.rights import Action
from opq_cloud.view.pages.account.account_context import AccountContext
from opq_cloud.view.pages.drawing.rendering import marked_time
from opq_cloud.view.pages.incidents.incident_work import (
    changed_work,
    mark_seen,
    may_edit,
    people_offered,
)
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext, whole_id
from opq_cloud.view.web import words
from opq_cloud.view.web.forms import SentForm, form_route, own_path, see_other
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import Visitor
from opq_proto.errors import StoreError
from opq_proto.messages import Incident

FINDINGS_OFFERED = 50
"""A form has 64 fields at most."""
DID_WORDS = {
    "note": "wrote",
    "label": "gave it a class",
    "split": "split",
    "merge": "merged",
    "acknowledge": "acknowledged it",
    "assign": "assigned it",
    "cause": "stated its cause",
}
TAKEN_BACK = {
    "label": "took the class back",
    "acknowledge": "took the acknowledgement back",
    "assign": "took the assignment back",
    "cause": "took the cause back",
}


@dataclass(frozen=True, slots=True)
class RemarkRow:
    """One line of an incident's notes and edits."""

    who: str
    when: Markup
    did: str
    text: str


def remark_values(context: VisitorContext, services: ViewServices, incident: Incident) -> dict[str, object]:
    """Values for `incident_said.html`; no notes for a visitor who does not see every Box of the incident."""
    visitor, number = context.visitor, incident.incident_id
    seen = context.incident_work([number])
    notes = services.store.notes(number) if seen else []
    work = seen.get(number, IncidentWork())
    offered = people_offered(visitor, services.visitors.people)
    assigned_name = context.person_name(work.assigned_to) if work.assigned_to else ""
    return {
        "work": work,
        "assigned_name": assigned_name,
        "people_offered": offered | ({work.assigned_to: assigned_name} if assigned_name else {}),
        "cause_characters": CAUSE_CHARACTERS,
        "said": [
            RemarkRow(
                context.person_name(note.account_id) if note.account_id else "somebody at the command line",
                marked_time(note.at_ms, visitor),
                DID_WORDS.get(note.kind, note.kind),
                _text(note.kind, note.text, context.person_name),
            )
            for note in notes
        ],
        "may_edit": visitor.may(Action.USE_ACCOUNT)
        and (whole := services.store.incident(number)) is not None
        and may_edit(visitor, whole),
        "label_choices": words.class_choices(),
        "note_characters": NOTE_CHARACTERS,
        "offered": incident.findings[:FINDINGS_OFFERED] if len(incident.findings) > 1 else (),
        "may_say": bool(seen),
    }


def _text(kind: str, text: str, name_of: Callable[[str], str]) -> str:
    if not text:
        return TAKEN_BACK.get(kind, "")
    if kind == "assign":
        return f"to {name_of(text)}"
    if kind == "acknowledge":
        return ""
    return words.class_words(text) if kind == "label" else text


class IncidentEditPages:
    """Forms of an incident's page; each leads back to it."""

    def __init__(self, context: AccountContext) -> None:
        self._context = context
        self._editor = IncidentEditor(context.store)

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        for name, form in (
            ("note", self.note),
            ("label", self.label),
            ("split", self.split),
            ("merge", self.merge),
            ("work", self.work),
            ("seen", self.seen),
        ):
            router.add_route(f"/incidents/{{incident_id}}/{name}", form_route(form), methods=["POST"])
        router.add_route("/incidents/work", form_route(self.work_together), methods=["POST"])
        return router

    def note(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        incident = self._edited_incident(request, visitor)
        text, account_id = form.text("text", NOTE_CHARACTERS), _account_id(visitor)
        return self._done(
            visitor,
            incident.incident_id,
            "wrote a note",
            lambda: self._editor.note_incident(incident.incident_id, text, account_id),
        )

    def label(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        incident = self._edited_incident(request, visitor)
        kind, account_id = form.text("class", 64), _account_id(visitor)
        return self._done(
            visitor,
            incident.incident_id,
            "gave a class" if kind else "took a class back",
            lambda: self._editor.label_incident(incident.incident_id, kind, words.CLASS_PHRASES, account_id),
        )

    def split(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        incident = self._edited_incident(request, visitor)
        every = [each.finding_id for each in incident.findings]
        chosen = [number for number in every if form.checked(f"finding-{number}")]
        return self._done(
            visitor,
            incident.incident_id,
            "split an incident",
            lambda: self._editor.split_incident(incident.incident_id, chosen, _account_id(visitor)),
        )

    def merge(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        incident = self._edited_incident(request, visitor)
        others = [whole_id(each, "incident") for each in re.findall(r"[^\s,#]+", form.text("others"))]
        for number in others:
            self._found(number, visitor)
        return self._done(
            visitor,
            incident.incident_id,
            "merged incidents",
            lambda: self._editor.merge_incidents([incident.incident_id, *others], _account_id(visitor)),
        )

    def work(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Assigns, states the cause, and with the button `acknowledge` acknowledges or takes that back."""
        incident = self._edited_incident(request, visitor)
        before = self._context.store.incident_work([incident.incident_id])[incident.incident_id]
        turn = {"yes": "acknowledged", "no": "open"}.get(form.text("acknowledge", 8), before.state)
        wanted = IncidentWork(turn, form.text("assigned", 64), form.text("cause", CAUSE_CHARACTERS))
        self._change_work(visitor, incident, wanted)
        mark_seen(self._context.store, visitor, [incident.incident_id])
        return see_other(f"/incidents/{incident.incident_id}#work")

    def seen(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Marks an incident as seen by the visitor, on whose screen its page is (`static/seen.js`)."""
        mark_seen(
            self._context.store, visitor, [whole_id(str(request.path_params["incident_id"]), "incident")]
        )
        return Response(status_code=204)

    def work_together(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Acknowledges the chosen incidents of a list, of which all or none may be edited; or marks as seen.

        `see` marks the chosen ones, `see-all` all that there were when the list was made.
        """
        names = [name.removeprefix("incident-") for name in form.fields if name.startswith("incident-")]
        numbers, done = [whole_id(each, "incident") for each in names], form.text("do", 20)
        if done == "acknowledge":
            chosen = [self._found(each, visitor) for each in numbers]
            states = self._context.store.incident_work(numbers)
            for incident in chosen:
                was = states[incident.incident_id]
                if was.state != "acknowledged":
                    self._change_work(visitor, incident, replace(was, state="acknowledged"))
        up_to = whole_id(form.text("up_to", 10), "incident") if done == "see-all" else 0
        mark_seen(self._context.store, visitor, numbers, up_to)
        return see_other(own_path(form.text("back", 1000), "/incidents"))

    def _change_work(self, visitor: Visitor, incident: Incident, wanted: IncidentWork) -> None:
        try:
            changed_work(self._context.store, incident, visitor, wanted)
        except IncidentEditError as error:
            raise HTTPException(400, f"{str(error)[:1].upper()}{str(error)[1:]}.") from None

    def _done(self, visitor: Visitor, number: int, what: str, change: Callable[[], int | None]) -> Response:
        before = self._values(number)
        try:
            made = change()
        except IncidentEditError as error:
            raise HTTPException(400, f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
        except StoreError as error:
            if "no more are kept" in str(error):
                raise HTTPException(409, str(error)) from None
            raise
        after = self._values(number)
        if made is not None:
            after["incident"] = f"#{made}"
        self._context.note(visitor, what, f"incident {number}", before, after)
        return see_other(f"/incidents/{made or number}#said")

    def _values(self, number: int) -> dict[str, object]:
        """The incident for the log of changes; the text of a note is stored only with the incident."""
        found = self._context.store.incident(number)
        if found is None:
            return {}
        return {"class": found.kind, "findings": len(found.findings), "boxes": " ".join(found.box_ids)}

    def _edited_incident(self, request: Request, visitor: Visitor) -> Incident:
        return self._found(whole_id(str(request.path_params["incident_id"]), "incident"), visitor)

    def _found(self, number: int, visitor: Visitor) -> Incident:
        """The whole incident. Raises 404 also where the visitor may not edit it, so as not to reveal it."""
        found = self._context.store.incident(number)
        if found is None or not may_edit(visitor, found):
            raise HTTPException(404, f"There is no incident {number} that you may change.")
        return found


def _account_id(visitor: Visitor) -> str:
    return visitor.account.account_id if visitor.account else ""
