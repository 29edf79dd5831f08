"""Joining another owner's site: a Box's owner asks, the site's owner accepts, refuses, or removes it again.

Both agree, because values of all Boxes of a site are in its report and its unbalance. The site's key, which
its owner hands out, is what the other types; it opens nothing by itself. The page and REST use this.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from opq_cloud.store.box_record import BoxRecord, box_order
from opq_cloud.store.records.accounts.account_records import Account, BoxAccess
from opq_cloud.store.records.accounts.rights import Action, Relation, Way, may
from opq_cloud.store.site_key import belongs_to, is_owners_key, site_name
from opq_cloud.view.pages.account.account_context import AccountContext
from opq_cloud.view.web.visitors import Visitor
from opq_proto.kit.rate_limit import TokenBuckets

PAGE = "/account/sites"
NO_BOX = "You have no Box with this id."
NO_KEY = "This is not the key of a site; its owner finds it under Sites, such as mill~3f9a2c41d07b."
GONE = "This Box does not ask to join a site of yours, and is in none of them."
Asking = Literal["ask", "withdraw"]
Deciding = Literal["accept", "refuse", "remove"]
DECIDED: Mapping[Deciding, str] = {"accept": "accepted", "refuse": "refused", "remove": "removed"}
"""What is done, and its word in the log and the mail."""


class JoinRefusedError(Exception):
    """What was asked for is not done; `code` is the HTTP status."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class SiteRow:
    """A site of the visitor, the Boxes of others in it, and those that ask to join it."""

    key: str
    name: str
    members: tuple[BoxRecord, ...]
    asking: tuple[BoxRecord, ...]


@dataclass(frozen=True, slots=True)
class OwnSites:
    """What a visitor decides about, and what the visitor's own Boxes wait for."""

    sites: Sequence[SiteRow]
    own: Sequence[str]
    """Boxes with which the visitor may ask."""
    waiting: Sequence[tuple[str, str]]
    """Own Box, and the key of the site that it asks to join."""


class SiteJoining:
    """One per View; from any thread."""

    def __init__(self, context: AccountContext) -> None:
        self._context = context
        self._mails = TokenBuckets(3, 1 / 3600)
        """Mails to one account: 3 at once, then one an hour; the request stands on the page in any case."""

    def sites_of(self, visitor: Visitor) -> OwnSites:
        """What stands on the page of the visitor."""
        boxes = {box.box_id: box for box in self._context.store.boxes()}
        accesses = self._context.people.accesses()
        asked = {box_id: each.asked_site for box_id, each in accesses.items() if self._asks(each)}
        own = sorted(visitor.own_to_join, key=box_order)
        waiting = [(each, asked[each]) for each in own if each in asked]
        return OwnSites(_site_rows(visitor, boxes, asked), own, waiting)

    def ask(self, visitor: Visitor, box_id: str, key: str, base_url: str) -> None:
        """Asks the owner of a site to admit a Box; withdraws that where `key` is empty.

        The answer is the same for a site that does not exist. Raises JoinRefusedError, and HTTPException 429.
        """
        account = visitor.account
        if account is None or box_id not in visitor.own_to_join:
            raise JoinRefusedError(NO_BOX, 404)
        if key and (not is_owners_key(key) or belongs_to(key, account.account_id)):
            raise JoinRefusedError(NO_KEY, 400)
        if key:
            self._context.spend_own_try(visitor, "join")
        self._context.people.change_access(box_id, lambda was: replace(was, asked_site=key))
        what = "asked to join a site" if key else "withdrew the request to join a site"
        self._context.note(visitor, what, f"box {box_id}")
        if key:
            self._mail(self._owner_of(key), f"Box {box_id} asks to join a site of yours.", base_url)

    def decide(self, visitor: Visitor, box_id: str, done: Deciding, base_url: str) -> None:
        """Accepts or refuses a Box that asks, or removes one from a site of the visitor.

        Raises JoinRefusedError.
        """
        people, store = self._context.people, self._context.store
        access, box = people.access(box_id), store.box(box_id)
        key = "" if box is None else (box.site or "") if done == "remove" else access.asked_site
        if box is None or not may_admit(visitor, key) or (done == "accept" and not self._asks(access)):
            raise JoinRefusedError(GONE, 404)
        if done != "remove" and not self._answered(access):
            raise JoinRefusedError(GONE, 404)
        if done != "refuse":
            store.put_box(BoxRecord(box_id, "", site=key if done == "accept" else ""))
        change = {"site": box.site or None}, {"site": key if done == "accept" else None}
        self._context.note(visitor, f"{DECIDED[done]} a Box at a site", f"box {box_id}", *change)
        self._mail(
            people.account(access.owner_id), f"Your Box {box_id} was {DECIDED[done]} at a site.", base_url
        )

    def _asks(self, access: BoxAccess) -> bool:
        """Whether a Box asks to join a site, and an owner of it may ask at this moment."""
        if not access.asked_site:
            return False
        owners = (self._context.people.account(each) for each in access.owner_ids)
        return any(
            each is not None and may(each.standing(Way.SESSION), Action.JOIN_SITE, Relation.OWN)
            for each in owners
        )

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
        accounts = self._context.people.accounts()
        return next((each for each in accounts if belongs_to(key, each.account_id)), None)

    def _mail(self, to: Account | None, text: str, base_url: str) -> None:
        """Sends fixed words with a Box's number and the page, to an account in force."""
        if to is not None and to.in_force and self._mails.spend(to.account_id):
            self._context.mailer.send(to.email, "A site at OPQ View", f"{text}\n\n{base_url}{PAGE}\n")


def may_admit(visitor: Visitor, key: str) -> bool:
    """Whether the visitor decides which Boxes of others are in the site with this key."""
    account = visitor.account
    if account is None or not is_owners_key(key):
        return False
    owns = belongs_to(key, account.account_id)
    return may(visitor.standing, Action.ADMIT_TO_SITE, Relation.OWN if owns else Relation.NONE)


def _site_rows(visitor: Visitor, boxes: Mapping[str, BoxRecord], asked: Mapping[str, str]) -> list[SiteRow]:
    """`asked`: Box -> the site that it asks to join."""
    known = {box.site for box in boxes.values() if box.site} | {*asked.values()}
    rows = []
    for key in sorted(each for each in known if may_admit(visitor, each)):
        members = (box for box in boxes.values() if box.site == key and box.box_id not in visitor.own)
        asking = (box for box in boxes.values() if asked.get(box.box_id) == key)
        rows.append(SiteRow(key, site_name(key), _by_number(members), _by_number(asking)))
    return rows


def _by_number(boxes: Iterable[BoxRecord]) -> tuple[BoxRecord, ...]:
    return tuple(sorted(boxes, key=lambda each: box_order(each.box_id)))
