"""Notes, labels, splits and merges of incidents by people, with author and time.

Researchers and administrators may edit every incident, owners only those of their own Boxes. A note may name
any Box of the incident, so it is shown only to signed-in visitors who see all of them.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter, HTTPException, Request, Response
from markupsafe import Markup

from opq_cloud.actions.incident_edits import IncidentEditor
from opq_cloud.store.incidents.index import NOTE_CHARACTERS, IncidentEditError
from opq_cloud.view.pages.account.account_context import AccountContext
from opq_cloud.view.pages.drawing.rendering import marked_time
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import whole_id
from opq_cloud.view.web import words
from opq_cloud.view.web.forms import SentForm, form_route, see_other
from opq_cloud.view.web.visitors import Visitor
from opq_proto.errors import StoreError
from opq_proto.messages import Incident

EDITORS = ("admin", "researcher")
FINDINGS_OFFERED = 50
"""A form has 64 fields at most."""
DID_WORDS = {"note": "wrote", "label": "gave it a class", "split": "split", "merge": "merged"}


@dataclass(frozen=True, slots=True)
class RemarkRow:
    """One line of an incident's notes and edits."""

    who: str
    when: Markup
    did: str
    text: str


def may_edit(visitor: Visitor, incident: Incident) -> bool:
    """Whether the visitor may edit; `incident` is the whole one, not the part that the visitor sees."""
    if not visitor.session_hash or visitor.account is None:
        return False
    return visitor.account.role in EDITORS or all(box_id in visitor.own for box_id in incident.box_ids)


def remark_values(services: ViewServices, incident: Incident) -> dict[str, object]:
    """Values for `incident_said.html`; no notes for a visitor who does not see every Box of the incident."""
    visitor = services.visitor
    whole = services.store.incident(incident.incident_id)
    signed_in = visitor.account is not None or not visitor.accounts_in_use
    sees = whole is not None and all(visitor.sees(box_id) for box_id in whole.box_ids)
    notes = services.store.notes(incident.incident_id) if signed_in and sees else []
    return {
        "said": [
            RemarkRow(
                _name(services, note.account_id),
                marked_time(note.at_ms, visitor),
                DID_WORDS.get(note.kind, note.kind),
                _text(note.kind, note.text),
            )
            for note in notes
        ],
        "may_edit": whole is not None and may_edit(visitor, whole),
        "label_choices": words.class_choices(),
        "note_characters": NOTE_CHARACTERS,
        "offered": incident.findings[:FINDINGS_OFFERED] if len(incident.findings) > 1 else (),
        "may_say": signed_in and sees,
    }


def _text(kind: str, text: str) -> str:
    if kind != "label":
        return text
    return words.class_words(text) if text else "took the class back"


def _name(services: ViewServices, account_id: str) -> str:
    if not account_id:
        return "somebody at the command line"
    account = services.visitors.people.account(account_id)
    return "somebody whose account is gone" if account is None else account.name


class IncidentEditPages:
    """Forms of an incident's page; each leads back to it."""

    def __init__(self, context: AccountContext) -> None:
        self._context = context
        self._editor = IncidentEditor(context.store)

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        for name, form in (
            ("note", self.note),
            ("label", self.label),
            ("split", self.split),
            ("merge", self.merge),
        ):
            router.add_api_route(f"/incidents/{{incident_id}}/{name}", form_route(form), methods=["POST"])
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
