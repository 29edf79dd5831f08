"""Incidents as work on pages and in the API: state, assigned person, known cause; who may choose whom.

Names of people are shown to those who are signed in and see every Box of the incident, as notes are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import HTTPException

from opq_cloud.operations.incident_edits import IncidentEditor
from opq_cloud.operations.incident_edits import may_edit as account_may_edit
from opq_cloud.store.incidents.index import WORK_STATES, IncidentEditError, IncidentFilter, IncidentWork
from opq_cloud.store.records.accounts.account_records import Account, AccountRecords
from opq_cloud.store.records.accounts.rights import Action, Relation, may
from opq_cloud.store.records.accounts.seen_incidents import box_starts_ns, seen_incident
from opq_cloud.store.store import CloudStore
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.visitors import Visitor
from opq_proto.messages import Incident

WORK_WORDS = {"open": "Not acknowledged", "acknowledged": "Acknowledged"}
WORK_FIELDS = ("work", "assigned", "cause")
"""Fields of an address."""
MAX_COUNTED = 10_000
NOT_ASSIGNABLE = "assigned_to is not the e-mail address of a person whom you may assign to this incident"


@dataclass(frozen=True, slots=True)
class WorkCount:
    """A number of incidents with a link to them."""

    words: str
    query: str


def shows_work(visitor: Visitor) -> bool:
    return visitor.account is not None or not visitor.accounts_in_use


def works_on_several(visitor: Visitor) -> bool:
    """Whether the list has a form to acknowledge incidents."""
    return visitor.may(Action.USE_ACCOUNT) and bool(visitor.own_to_change or visitor.everything)


def work_choices(visitor: Visitor) -> dict[str, str]:
    """State -> its words; `new` for somebody, to whom an incident is new until they open it."""
    if not shows_work(visitor):
        return {}
    return ({"new": "New to you"} if visitor.account else {}) | WORK_WORDS


def may_edit(visitor: Visitor, incident: Incident) -> bool:
    """Whether the visitor may edit; `incident` is the whole one, not the part that the visitor sees."""
    known = [visitor.relation_to(*each) for each in box_starts_ns(incident).items()]
    return may(visitor.standing, Action.EDIT_INCIDENT, min(known, default=Relation.NONE))


def may_mark(visitor: Visitor, incident: Incident) -> bool:
    """Whether the visitor may mark it as seen, which is about their own account alone."""
    return visitor.account is not None and seen_incident(incident, visitor) is not None


def people_offered(visitor: Visitor, people: AccountRecords) -> dict[str, str]:
    """Account -> name of those whom the visitor may assign: all editors, or only themselves."""
    if visitor.account is None:
        return {}
    me = {visitor.account.account_id: f"{visitor.account.name} (you)"}
    if not visitor.may(Action.EDIT_INCIDENT):
        return me
    editors = (each for each in people.accounts() if account_may_edit(each, {}, {}))
    return me | {each.account_id: each.name for each in editors if each.account_id not in me}


def person_to_assign(visitor: Visitor, people: AccountRecords, incident: Incident, email: str) -> Account:
    """The account of this e-mail, or the visitor's own for `me`.

    Raises IncidentEditError, with the same words for an unknown e-mail, for an account that may not edit the
    incident, and for each other person where the visitor edits only incidents of own Boxes.
    """
    own = visitor.account
    if own is not None and email in ("me", own.email):
        return own
    found = people.account_of(email) if visitor.may(Action.EDIT_INCIDENT) else None
    if found is None or not account_may_edit(found, people.accesses(), box_starts_ns(incident)):
        raise IncidentEditError(NOT_ASSIGNABLE)
    return found


def work_filter(given: Mapping[str, str], context: VisitorContext) -> IncidentFilter:
    """Reads `work`, `assigned` (`me` or an account) and `cause` of an address.

    Raises HTTPException 404 for an unknown state; 401 for `me` or `new` of a visitor who is not signed in.
    """
    work, assigned, visitor = given["work"], given["assigned"], context.visitor
    if work and work not in ("new", *WORK_STATES):
        raise HTTPException(404, f"There is no such state of work; there are new, {', '.join(WORK_STATES)}.")
    if given["cause"] not in ("", "known"):
        raise HTTPException(404, "cause is `known` or empty.")
    if assigned == "me":
        if visitor.account is None:
            raise HTTPException(401, "Sign in to see the incidents that are assigned to you.")
        assigned = visitor.account.account_id
    if work == "new" and visitor.account is None:
        raise HTTPException(401, "Sign in to see the incidents that are new to you.")
    return IncidentFilter(
        work="" if work == "new" else work,
        assigned_to=assigned[:64],
        cause_known=given["cause"] == "known",
        unseen=context.seen_marks() if work == "new" else None,
    )


def work_counts(context: VisitorContext) -> list[WorkCount]:
    """How many incidents are new to the visitor, not acknowledged, or assigned to the visitor, where any."""
    visitor = context.visitor
    if not shows_work(visitor):
        return []
    wanted = [("not acknowledged", "work=open", IncidentFilter(work="open"))]
    if visitor.account is not None:
        wanted.insert(0, ("new to you", "work=new", IncidentFilter(unseen=context.seen_marks())))
        mine = IncidentFilter(assigned_to=visitor.account.account_id, work="open")
        wanted.append(("open and assigned to you", "work=open&assigned=me", mine))
    counts = [(text, query, context.count_incidents(each, MAX_COUNTED)) for text, query, each in wanted]
    more = {MAX_COUNTED: f"{words.number(MAX_COUNTED, 0)} or more"}
    return [
        WorkCount(f"{more.get(count, words.number(count, 0))} {text}", query)
        for text, query, count in counts
        if count
    ]


def work_words(context: VisitorContext, numbers: Sequence[int]) -> dict[int, str]:
    """Incident -> few words for a list: `Acknowledged, Ada, cause: the crane`."""
    found = {}
    for number, work in context.incident_work(numbers).items():
        parts = (
            "Acknowledged" if work.state == "acknowledged" else "",
            context.person_name(work.assigned_to) if work.assigned_to else "",
            f"cause: {work.known_cause}" if work.known_cause else "",
        )
        found[number] = ", ".join(filter(None, parts))
    return found


def work_json(context: VisitorContext, work: IncidentWork) -> dict[str, str | None]:
    """The keys of the API, with the person's name."""
    assigned = context.person_name(work.assigned_to) if work.assigned_to else None
    return {"state": work.state, "assigned_to": assigned, "known_cause": work.known_cause or None}


def changed_work(
    store: CloudStore, incident: Incident, visitor: Visitor, wanted: IncidentWork
) -> tuple[IncidentWork, IncidentWork]:
    """Changes the work on an incident where it differs, and logs the change; returns it before and after.

    Raises IncidentEditError, also where an owner assigns it to another person; and StoreError.
    """
    number, editor = incident.incident_id, IncidentEditor(store)
    before = store.incident_work([number]).get(number, IncidentWork())
    account_id = visitor.account.account_id if visitor.account else ""
    if wanted.assigned_to != before.assigned_to:
        if wanted.assigned_to not in ("", account_id) and not visitor.may(Action.EDIT_INCIDENT):
            raise IncidentEditError("you may assign this incident only to yourself")
        editor.assign_incident(number, wanted.assigned_to, account_id)
    if wanted.known_cause != before.known_cause:
        editor.state_cause(number, wanted.known_cause, account_id)
    done = wanted.state == "acknowledged"
    if done != (before.state == "acknowledged"):
        editor.acknowledge_incident(number, account_id, done)
    after = store.incident_work([number]).get(number, wanted)
    if before != after:
        subject, values = f"incident {number}", (before.as_change(), after.as_change())
        store.people.changes.add(account_id, visitor.address, "worked on an incident", subject, *values)
    return before, after


def mark_seen(store: CloudStore, visitor: Visitor, numbers: Sequence[int] = (), up_to: int = 0) -> None:
    """Marks incidents as seen by a signed-in visitor, and with `up_to` all up to this number."""
    if visitor.account is not None:
        store.people.seen_marks.mark(visitor.account.account_id, numbers, up_to)
