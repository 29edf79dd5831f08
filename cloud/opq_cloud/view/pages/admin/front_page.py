"""`/admin`: what needs attention, and links to the other pages."""

from dataclasses import dataclass
from urllib.parse import quote

from fastapi import Response
from fastapi.responses import HTMLResponse

from opq_cloud.core.service_conditions import UPSTREAM
from opq_cloud.operations.health_client import ServicesFound, read_services
from opq_cloud.operations.site_now import wrong_wirings
from opq_cloud.store.records.accounts.audit import AuditFilter
from opq_cloud.view.pages.admin.admin_context import AdminContext
from opq_cloud.view.pages.admin.audit_pages import audit_row
from opq_cloud.view.pages.admin.box_facts import AdminBox
from opq_cloud.view.pages.admin.box_pages import read_boxes
from opq_cloud.view.pages.admin.system_pages import disk_space
from opq_cloud.view.pages.machine_notice import read_notice
from opq_cloud.view.pages.visible.availability import together
from opq_cloud.view.web import words
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.words import names_of
from opq_proto.errors import KeyFileError
from opq_proto.kit.system_record import GATEWAY

MAX_SHOWN = 20
CHANGES_SHOWN = 5
REFUSED = "was refused at sign-in"
REFUSALS_MS = 86_400_000
MANY_REFUSALS = 10
LITTLE_SPACE = 0.1


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that needs attention."""

    what: str
    why: str
    link: str


class AdminFrontPage:
    """The front page, for administrators."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route("/admin", self.page, response_class=HTMLResponse)
        return router

    def page(self) -> Response:
        self._context.require_reader()
        context, people = self._context, self._context.accounts.people
        boxes, services = read_boxes(context), read_services(context.addresses)
        found = [*concerns(boxes, services), *self._other_concerns()]
        names = {each.account_id: each.name for each in people.accounts()}
        in_service = [each for each in boxes if not each.retired]
        return context.page(
            "front.html",
            "front",
            concerns=found[:MAX_SHOWN],
            more=max(0, len(found) - MAX_SHOWN),
            box_count=len(in_service),
            live_count=sum(each.live for each in in_service),
            measured=together(each.measured for each in in_service),
            key_count=sum(each.key_state in ("admitted", "rotating") for each in boxes),
            account_count=len(names),
            services=services,
            changes=[audit_row(each, names) for each in people.changes.entries(limit=CHANGES_SHOWN)],
        )

    def _other_concerns(self) -> list[Concern]:
        slow = read_notice(self._context.addresses.folder)
        machine = [] if slow is None else [Concern("Machine", slow.text, "/admin/system")]
        return [
            *machine,
            *self._site_concerns(),
            *self._disk_concerns(),
            *self._key_concerns(),
            *self._account_concerns(),
        ]

    def _site_concerns(self) -> list[Concern]:
        """Sites whose phases are exchanged, or whose Box is turned round: their unbalance is not judged."""
        store, records = self._context.store, self._context.services.registry.now().records
        return [
            Concern(f"Site {name}", wrong, f"/sites/{quote(name, safe='')}")
            for name, wrong in wrong_wirings(store.intervals, list(records.values())).items()
        ]

    def _disk_concerns(self) -> list[Concern]:
        disk = disk_space(self._context.addresses.folder)
        if disk is None or disk.free_share >= LITTLE_SPACE:
            return []
        return [
            Concern(
                "Disk",
                f"{disk.free_bytes / 1e9:.1f} GB are free",
                "/admin/system#disk",
            )
        ]

    def _key_concerns(self) -> list[Concern]:
        if self._context.keys is None:
            return []
        try:
            wrong = self._context.register().entries()[1]
        except KeyFileError as error:
            return [Concern("Keys", str(error), "/admin/keys")]
        return [Concern("A key file does not hold a key", text, "/admin/keys") for text in wrong]

    def _account_concerns(self) -> list[Concern]:
        now_ms = self._context.services.now_ns() // 1_000_000
        wanted = AuditFilter(words=REFUSED, from_ms=now_ms - REFUSALS_MS)
        refused = len(self._context.accounts.people.changes.entries(wanted, limit=1000))
        if refused < MANY_REFUSALS:
            return []
        many = "1000 or more" if refused == 1000 else str(refused)
        link = "/admin/audit?words=refused+at+sign-in"
        return [Concern("Sign-in", f"{many} refused in the last 24 hours", link)]


def concerns(boxes: list[AdminBox], services: ServicesFound) -> list[Concern]:
    """The concerns about services, then those about Boxes, but for a silence that follows from a service."""
    names = {box.box_id for box in boxes}  # health has a part for each Box too
    found = [
        Concern(each.name, each.info or "It is not well", "/admin/system")
        for each in services.troubles
        if each.name not in names
    ]
    if services.states and not services.urls:
        found = [Concern("Services", "They do not answer at their health addresses", "/admin/system")]
    given = names_of(box.record for box in boxes)
    unheard = any(each.name in (*UPSTREAM, GATEWAY) for each in services.troubles)
    troubles = {
        (box.box_id, each.kind): each
        for box in boxes
        for each in box.troubles
        if not (unheard and each.words == box.state)
    }
    for box_ids, kind in words.alike(troubles):
        link = f"/admin/boxes/{box_ids[0]}" if len(box_ids) == 1 else "/admin/boxes?show=attention"
        by_words = {each.words: each for each in (troubles[box_id, kind] for box_id in box_ids)}
        worst = max(by_words.values(), key=lambda each: each.size)
        why = f"{worst.words} at most" if len(by_words) > 1 else worst.words
        found.append(Concern(words.boxes(box_ids, given), why, link))
    return found
