"""Joining another owner's site: a Box's owner asks, the site's owner accepts, refuses, or removes it again.

Both agree, because values of all Boxes of a site are in its report and its unbalance. The site's key, which
its owner hands out, is what the other types; it opens nothing by itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.store.box_record import BoxRecord, box_order
from opq_cloud.store.records.accounts import Account, BoxAccess
from opq_cloud.store.records.rights import Action, Relation, may
from opq_cloud.store.site_key import KEY_CHARACTERS, belongs_to, is_owners_key, site_name
from opq_cloud.view.pages.account.account_context import AccountContext, own_account
from opq_cloud.view.web.forms import SentForm, form_route, see_other
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import VISITOR, Visitor
from opq_proto.kit.rate_limit import TokenBuckets

PAGE = "/account/sites"
NO_KEY = "This is not the key of a site; its owner finds it under Sites, such as mill~3f9a2c41d07b."
GONE = "This Box does not ask to join a site of yours, and is in none of them."


@dataclass(frozen=True, slots=True)
class SiteRow:
    """A site of the visitor, the Boxes of others in it, and those that ask to join it."""

    key: str
    name: str
    members: tuple[BoxRecord, ...]
    asking: tuple[BoxRecord, ...]


class SiteJoinPages:
    """The page of sites, and the forms of both owners."""

    def __init__(self, context: AccountContext) -> None:
        self._context = context
        self._mails = TokenBuckets(3, 1 / 3600)
        """Mails to one account: 3 at once, then one an hour; the request stands on the page in any case."""

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route(PAGE, self.sites_page, response_class=HTMLResponse)
        router.add_route(PAGE, form_route(self.change), methods=["POST"])
        return router

    def sites_page(self) -> Response:
        own_account(VISITOR.get())
        return self._page(VISITOR.get())

    def _page(
        self,
        visitor: Visitor,
        problem: str = "",
        code: int = 200,
        typed: Mapping[str, str] = MappingProxyType({}),
    ) -> HTMLResponse:
        boxes = {box.box_id: box for box in self._context.store.boxes()}
        accesses = self._context.people.accesses()
        own = sorted(visitor.own_to_change, key=box_order)
        return self._context.page(
            "own_sites.html",
            code=code,
            problem=problem,
            typed=typed,
            sites=_site_rows(visitor, boxes, accesses),
            own=own,
            waiting=[(each, accesses[each].asked_site) for each in own if _asks(accesses.get(each))],
        )

    def change(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """What either owner does: ask, withdraw; accept, refuse, remove."""
        own_account(visitor)
        done = form.text("do", 20)
        return (self._ask if done in ("ask", "withdraw") else self._decide)(request, visitor, form, done)

    def _ask(self, request: Request, visitor: Visitor, form: SentForm, done: str) -> Response:
        """Asks the owner of a site to admit a Box, or withdraws that.

        The answer is the same for a site that does not exist.
        """
        box_id = form.text("box_id", 32)
        account = own_account(visitor)
        key = form.text("site", KEY_CHARACTERS) if done == "ask" else ""
        if box_id not in visitor.own_to_change:
            raise HTTPException(404, "You have no Box with this id.")
        if done == "ask" and (not is_owners_key(key) or belongs_to(key, account.account_id)):
            return self._page(visitor, NO_KEY, 400, form.fields)
        if key:
            self._context.spend_own_try(visitor, "join")
        self._context.people.change_access(box_id, lambda was: replace(was, asked_site=key))
        what = "asked to join a site" if key else "withdrew the request to join a site"
        self._context.note(visitor, what, f"box {box_id}")
        if key:
            self._mail(self._owner_of(key), f"Box {box_id} asks to join a site of yours.", request)
        return see_other(PAGE)

    def _decide(self, request: Request, visitor: Visitor, form: SentForm, done: str) -> Response:
        """Accepts or refuses a Box that asks, or removes one from a site of the visitor."""
        box_id = form.text("box_id", 32)
        people, store = self._context.people, self._context.store
        access, box = people.access(box_id), store.box(box_id)
        if box is None or done not in ("accept", "refuse", "remove"):
            return self._page(visitor, GONE, 404)
        key = (box.site or "") if done == "remove" else access.asked_site
        if not may_admit(visitor, key):
            return self._page(visitor, GONE, 404)
        if done != "remove" and not self._answered(access):
            return self._page(visitor, GONE, 404)
        if done != "refuse":
            store.put_box(BoxRecord(box_id, "", site=key if done == "accept" else ""))
        words = {"accept": "accepted", "refuse": "refused", "remove": "removed"}[done]
        change = {"site": box.site or None}, {"site": key if done == "accept" else None}
        self._context.note(visitor, f"{words} a Box at a site", f"box {box_id}", *change)
        self._mail(people.account(access.owner_id), f"Your Box {box_id} was {words} at a site.", request)
        return see_other(PAGE)

    def _answered(self, asked: BoxAccess) -> bool:
        """Ends a request as it was read; False where its Box's owner has changed or withdrawn it since."""
        ended = False

        def without(now: BoxAccess) -> BoxAccess:
            nonlocal ended
            ended = (now.owner_id, now.asked_site) == (asked.owner_id, asked.asked_site)
            return replace(now, asked_site="") if ended else now

        self._context.people.change_access(asked.box_id, without)
        return ended

    def _owner_of(self, key: str) -> Account | None:
        return next(
            (each for each in self._context.people.accounts() if belongs_to(key, each.account_id)), None
        )

    def _mail(self, to: Account | None, text: str, request: Request) -> None:
        """Sends fixed words with a Box's number and the page, to an account in force."""
        if to is not None and to.in_force and self._mails.spend(to.account_id):
            where = f"{self._context.base_url(request)}{PAGE}"
            self._context.mailer.send(to.email, "A site at OPQ View", f"{text}\n\n{where}\n")


def may_admit(visitor: Visitor, key: str) -> bool:
    """Whether the visitor decides which Boxes of others are in the site with this key."""
    account = visitor.account
    if account is None or not is_owners_key(key):
        return False
    owns = belongs_to(key, account.account_id)
    return may(visitor.standing, Action.ADMIT_TO_SITE, Relation.OWN if owns else Relation.NONE)


def _asks(access: BoxAccess | None) -> bool:
    return access is not None and bool(access.asked_site)


def _site_rows(
    visitor: Visitor, boxes: Mapping[str, BoxRecord], accesses: Mapping[str, BoxAccess]
) -> list[SiteRow]:
    known = {box.site for box in boxes.values() if box.site}
    known |= {each.asked_site for each in accesses.values() if each.asked_site}
    rows = []
    for key in sorted(each for each in known if may_admit(visitor, each)):
        members = (box for box in boxes.values() if box.site == key and box.box_id not in visitor.own)
        names = {each.box_id for each in accesses.values() if each.asked_site == key}
        asking = (box for box in boxes.values() if box.box_id in names)
        rows.append(SiteRow(key, site_name(key), _by_number(members), _by_number(asking)))
    return rows


def _by_number(boxes: Iterable[BoxRecord]) -> tuple[BoxRecord, ...]:
    return tuple(sorted(boxes, key=lambda each: box_order(each.box_id)))
