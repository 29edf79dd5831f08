"""Objects that the pages of accounts share: accounts, mail, keys, the log of changes, page rendering."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.store.records.accounts.account_records import Account, AccountRecords
from opq_cloud.store.records.accounts.rights import Action
from opq_cloud.store.store import CloudStore
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.web import words
from opq_cloud.view.web.forms import see_other
from opq_cloud.view.web.mail import LinkLimits, Mailer
from opq_cloud.view.web.passwords import new_secret, secret_hash
from opq_cloud.view.web.sign_in import DEVICE_S, SESSION_S, SignIn
from opq_cloud.view.web.visitors import DEVICE_COOKIE, FORM_COOKIE, SESSION_COOKIE, VISITOR, Visitor, Visitors
from opq_cloud.view.web.web_guard import allowed_hosts
from opq_proto.keys.key_files import KeyFolder

TOO_OFTEN = "Too many tries. Wait a minute, then try again."
EMAIL_CHARACTERS = 254
EMAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(\.[\w-]+)+")
"""What `<input type=email>` accepts (WHATWG HTML), with letters of all languages and a dot in the host."""


@dataclass(frozen=True, slots=True)
class AccountContext:
    """One per View."""

    store: CloudStore
    visitors: Visitors
    sign_in: SignIn
    mailer: Mailer
    keys: KeyFolder | None
    render: PageMaker
    unset_channels: frozenset[str] = frozenset()
    """Channels of notifications for which nothing is configured."""
    link_limits: LinkLimits = field(default_factory=LinkLimits)

    @property
    def people(self) -> AccountRecords:
        return self.visitors.people

    def page(self, template: str, here: str = "account", code: int = 200, **values: object) -> HTMLResponse:
        """Renders a page with a form. Browsers must not store it; before sign-in it is bound to a cookie."""
        visitor = VISITOR.get()
        fresh = ""
        if not visitor.form_secret:
            fresh = new_secret()
            visitor = Visitor(form_secret=fresh, accounts_in_use=visitor.accounts_in_use)
        made = self.render(template, here, code, form_token=visitor.form_token(), **values)
        made.headers["Cache-Control"] = "no-store"
        if fresh:
            self.set_cookie(made, FORM_COOKIE, fresh, None)
        return made

    def begin_session(self, answer: Response, secret: str, seconds: int) -> Response:
        """Sets the cookie of a new session and deletes the cookie of the forms before sign-in."""
        self.set_cookie(answer, SESSION_COOKIE, secret, seconds)
        answer.delete_cookie(FORM_COOKIE)
        return answer

    def enter(self, request: Request, account: Account, visitor: Visitor, where: str) -> Response:
        """Signs the account in with a new session and redirects to `where`."""
        before = request.cookies.get(SESSION_COOKIE, "")
        secret = self.sign_in.begin_session(
            account,
            visitor.address,
            request.headers.get("user-agent", ""),
            replaces=secret_hash(before) if before else "",
        )
        self.people.changes.add(account.account_id, visitor.address, "signed in", "")
        self.visitors.discard_cached()
        answer = self.begin_session(see_other(where), secret, SESSION_S)
        return self.mark_device(request, account, answer)

    def mark_device(self, request: Request, account: Account, answer: Response) -> Response:
        """Marks a browser that proved to be this account's; the mark stays when its sessions end."""
        mark = self.sign_in.mark_of(account, request.cookies.get(DEVICE_COOKIE, ""))
        self.set_cookie(answer, DEVICE_COOKIE, mark, DEVICE_S)
        return answer

    def spend_try(self, request: Request, email: str, visitor: Visitor) -> Callable[[], None]:
        """Counts a try of a visitor without a session; returns what gives it back where it was right.

        Raises HTTPException 429.
        """
        return self._spend(email, visitor.address, self.known_place(request, email, visitor))

    def known_place(self, request: Request, email: str, visitor: Visitor) -> str:
        """The device or network of the request that signed in to the account before; else empty."""
        return self.sign_in.known_place(email, visitor.address, request.cookies.get(DEVICE_COOKIE, ""))

    def spend_own_try(self, visitor: Visitor, purpose: str) -> Callable[[], None]:
        """The same for a signed-in account, for what is tried; the tries of others do not count."""
        account_id = visitor.account.account_id if visitor.account else ""
        return self._spend(f"{purpose} {account_id}", visitor.address, "session")

    def _spend(self, subject: str, address: str, known_place: str) -> Callable[[], None]:
        limits = self.sign_in.limits
        if not limits.spend(subject, address, known_place):
            raise HTTPException(429, TOO_OFTEN, {"Retry-After": "60"})
        return partial(limits.give_back, subject, address, known_place)

    def set_cookie(self, answer: Response, name: str, value: str, seconds: int | None) -> None:
        secure = (self.visitors.config.public_url or "").startswith("https://")
        answer.set_cookie(name, value, max_age=seconds, httponly=True, samesite="lax", secure=secure)

    @property
    def sends_links(self) -> bool:
        """Whether people who are not signed in may have a link mailed. If every host name is answered and no
        address is configured, they could choose the beginning of the link.
        """
        config = self.visitors.config
        return self.mailer.ready and bool(config.public_url or "*" not in allowed_hosts(config))

    def base_url(self, request: Request) -> str:
        """The start of links in mails: as configured, otherwise as this page was requested."""
        return self.visitors.config.address or str(request.base_url).rstrip("/")

    def warn_owner(self, account: Account, what: str, rules_off: int = 0) -> None:
        """Warns an account's owner by mail, where a mail server is set: somebody else may have changed it.

        `rules_off`: notification rules that the change switched off.
        """
        advice = "If it was not you, set a new password and inform an administrator."
        parts = (what, rules_off_words(rules_off, "were"), advice)
        text = "\n\n".join(filter(None, parts))
        self.mailer.send(account.email, "Your account at OPQ View was changed", f"{text}\n")

    def note(
        self,
        visitor: Visitor,
        what: str,
        subject: str,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> None:
        """Writes one line into the log of changes; cached Boxes and accounts are then read again."""
        account_id = visitor.account.account_id if visitor.account else ""
        self.people.changes.add(account_id, visitor.address, what, subject, before, after)
        self.visitors.discard_cached()


def own_account(visitor: Visitor) -> Account:
    """The visitor's account. Raises HTTPException 401 for a visitor who is not signed in by a session."""
    if visitor.account is None or not visitor.may(Action.USE_ACCOUNT):
        raise HTTPException(401, "Sign in first.")
    return visitor.account


def checked_email(text: str) -> str:
    """The address in lower case. Raises HTTPException 400 where it is not an e-mail address."""
    if len(text) > EMAIL_CHARACTERS or not EMAIL.fullmatch(text):
        raise HTTPException(400, "This is not an e-mail address; write one such as ada@example.org.")
    return text.lower()


def rules_off_words(rules: int, be: str = "are") -> str:
    """That so many rules are, or were, switched off; empty for 0."""
    if rules == 0:
        return ""
    be = {"are": "is", "were": "was"}[be] if rules == 1 else be
    which, them = ("rule that sends", "it") if rules == 1 else ("rules that send", "them")
    return f"{rules} notification {which} to a URL {be} switched off; switch {them} on with your password."


def in_days(seconds: float) -> str:
    """How long a link is valid: `7 days`, `1 hour`."""
    hours = round(seconds / 3600)
    if hours >= 48:
        return words.counted(hours // 24, "day", "days")
    return words.counted(hours, "hour", "hours")
