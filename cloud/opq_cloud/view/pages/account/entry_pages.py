"""The pages before signing in: sign in, the first administrator, register, a new password."""

from typing import Annotated

from fastapi import HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.store.records.accounts.account_records import AccountTicket
from opq_cloud.view.pages.account.account_context import (
    TOO_OFTEN,
    AccountContext,
    checked_email,
    in_days,
)
from opq_cloud.view.web.forms import (
    FormPlaces,
    SentForm,
    end_in_browser,
    form_route,
    own_path,
    see_other,
)
from opq_cloud.view.web.links import MAILED_S, make_ticket
from opq_cloud.view.web.passwords import hash_password, password_problem, secret_hash
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import VISITOR, Visitor

ENDED = "You are signed out: the session of this browser has ended. Sign in to return to your page."
WRONG = "E-mail, password or code is wrong. After several tries it takes a minute until the next one counts."
RESET_SENT = "If there is an account with this e-mail, a link is on its way there."
REGISTRATION_SENT = "A link is on its way to this e-mail; open it to choose a password."
NO_LINK = (
    "This link is not valid: it was used, it is too old, or it was not copied whole. Ask for another one."
)
REGISTERING = ("invitation", "registration")
"""Purposes of links for `/register`."""
HEADINGS = {
    "first_admin": "The first administrator",
    "invitation": "Accept the invitation",
    "registration": "Make an account",
}
DONE = {
    "first_admin": "became the first administrator",
    "invitation": "accepted an invitation",
    "registration": "registered",
}
Code = Annotated[str, Query(max_length=100)]
Next = Annotated[str, Query(alias="next", max_length=1000)]


class EntryPages:
    """The pages that every visitor may open."""

    def __init__(self, context: AccountContext, places: FormPlaces) -> None:
        self._context = context
        self._places = places

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        for path, page, form in (
            ("/sign-in", self.sign_in_page, self.sign_in),
            ("/first-admin", self.first_admin_page, self.first_admin),
            ("/register", self.register_page, self.register),
            ("/reset", self.reset_page, self.request_reset),
            ("/reset/new", self.new_password_page, self.new_password),
        ):
            router.add_api_route(path, page, response_class=HTMLResponse)
            router.add_route(path, form_route(form, self._places), methods=["POST"])
        router.add_route("/sign-out", form_route(self.sign_out), methods=["POST"])
        return router

    # Sign in and out
    def sign_in_page(self, wanted: Next = "/", ended: bool = False) -> Response:
        """`ended`: the session of the previous page has ended."""
        if VISITOR.get().account is not None:
            return see_other(own_path(wanted))
        return self._sign_in_page(wanted, ENDED if ended else "")

    def _sign_in_page(
        self, wanted: str, notice: str = "", problem: str = "", code: int = 200, email: str = ""
    ) -> HTMLResponse:
        visitor = VISITOR.get()
        config = self._context.visitors.config
        return self._context.page(
            "sign_in.html",
            here="sign-in",
            code=code,
            wanted=own_path(wanted),
            notice=notice,
            problem=problem,
            email=email,
            any_account=self._context.people.any_account(),
            accounts_in_use=visitor.accounts_in_use,
            open_registration=config.registration == "open" and self._context.sends_links,
            sends_links=self._context.sends_links,
        )

    def sign_in(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        email, wanted = form.text("email"), form.text("next", 1000)
        try:
            give_back = self._context.spend_try(request, email, visitor)
        except HTTPException as refused:
            answer = self._sign_in_page(wanted, problem=refused.detail, code=refused.status_code, email=email)
            answer.headers.update(refused.headers or {})
            return answer
        account = self._context.sign_in.account_of(email, form.secret("password"), form.text("code"))
        if account is None:
            self._context.note(visitor, "was refused at sign-in", "")
            return self._sign_in_page(wanted, problem=WRONG, code=403, email=email)
        give_back()
        return self._context.enter(request, account, visitor, own_path(wanted))

    def sign_out(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        self._context.people.end_session(visitor.session_hash)
        self._context.note(visitor, "signed out", "")
        return end_in_browser(see_other("/sign-in"))

    # The first administrator, and others who register
    def first_admin_page(self, code: Code = "") -> Response:
        self._ticket(code, "first_admin")
        return self._new_account_page("/first-admin", code, "", HEADINGS["first_admin"])

    def first_admin(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        return self._make(request, visitor, form, "first_admin")

    def register_page(self, code: Code = "") -> Response:
        if not code:
            self._require_open()
            return self._registration_page(sent=False)
        ticket = self._ticket(code, *REGISTERING)
        return self._new_account_page("/register", code, ticket.email, HEADINGS[ticket.purpose])

    def _registration_page(self, sent: bool) -> HTMLResponse:
        return self._link_page("Make an account", "/register", REGISTRATION_SENT, sent)

    def register(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Makes an account from a link. Without one: mails a link, and only its receiver makes an account."""
        if form.text("link_code"):
            return self._make(request, visitor, form, *REGISTERING)
        self._require_open()
        email, may_mail, known_place = self._link_email(request, visitor, form)
        found = self._context.people.account_of(email)
        new = found is None
        code = make_ticket(self._context.people, "registration", MAILED_S, email=email, role="owner")
        if may_mail:
            # a mail with an account too, so that the answer takes as long
            page = f"/register?code={code}" if new else "/reset"
            self._mail_link(
                email,
                "Your account at OPQ View",
                "Somebody, perhaps you, wants to make an account with this e-mail.",
                "" if new else "It has one already. If you do not know its password any more, open the link.",
                f"{self._context.base_url(request)}{page}",
                known_place,
            )
        self._context.note(visitor, "requested a link for an account", "")
        return self._registration_page(sent=True)

    def _make(self, request: Request, visitor: Visitor, form: SentForm, *purposes: str) -> Response:
        """Makes an account from a link, which cannot be used again, for the e-mail of the link."""
        code = form.text("link_code")
        ticket = self._ticket(code, *purposes)
        email, name, password = self._wanted_account(form, ticket.email)
        if email is None:
            return self._refused_account(form, ticket, password)
        people = self._context.people
        if people.account_of(email) is not None:
            return self._refused_account(form, ticket, "This e-mail has an account already. Sign in with it.")
        hashed = hash_password(password)
        if people.use_ticket(secret_hash(code), ticket.purpose) is None:
            raise HTTPException(404, NO_LINK)
        made = people.add_account(email, name, ticket.role or "owner", hashed)
        if made is None:
            raise HTTPException(409, "An account with this e-mail was made a moment ago. Sign in with it.")
        people.changes.add(made.account_id, visitor.address, DONE[ticket.purpose], made.account_id)
        return self._context.enter(request, made, visitor, "/account")

    def _wanted_account(self, form: SentForm, email: str) -> tuple[str | None, str, str]:
        """E-mail, name and password; or None, an empty text, and the problem in place of the password.

        `email`: that of the link; only the first administrator's has none, and then it is typed.
        """
        email = email or checked_email(form.text("email"))
        password = form.secret("password")
        problem = password_problem(password, email)
        if problem is None and password != form.secret("password_again"):
            problem = "The two passwords differ."
        return (None, "", problem) if problem else (email, form.text("name", 80) or email, password)

    def _new_account_page(
        self,
        path: str,
        code: str,
        email: str,
        heading: str,
        problem: str = "",
        status: int = 200,
        typed_email: str = "",
        name: str = "",
    ) -> HTMLResponse:
        return self._context.page(
            "new_account.html",
            here="sign-in",
            code=status,
            path=path,
            link_code=code,
            email=email,
            typed_email=typed_email,
            name=name,
            heading=heading,
            problem=problem,
        )

    def _refused_account(self, form: SentForm, ticket: AccountTicket, problem: str) -> HTMLResponse:
        path = "/first-admin" if ticket.purpose == "first_admin" else "/register"
        email, name = form.text("email"), form.text("name", 80)
        heading, code = HEADINGS[ticket.purpose], form.text("link_code")
        return self._new_account_page(path, code, ticket.email, heading, problem, 400, email, name)

    def _require_open(self) -> None:
        context = self._context
        registration = context.visitors.config.registration
        if registration != "open" or not context.sends_links or not context.people.any_account():
            raise HTTPException(404, "Accounts are made by invitation here. Ask an administrator for one.")

    def _ticket(self, code: str, *purposes: str) -> AccountTicket:
        people = self._context.people
        tickets = (people.ticket(secret_hash(code), purpose) for purpose in purposes) if code else ()
        found = next((each for each in tickets if each is not None), None)
        if found is None or (found.purpose == "first_admin" and people.any_account()):
            raise HTTPException(404, NO_LINK)
        return found

    # Mailed links
    def _link_page(self, heading: str, path: str, sent_words: str, sent: bool) -> HTMLResponse:
        return self._context.page(
            "mailed_link.html",
            here="sign-in",
            heading=heading,
            path=path,
            sent_words=sent_words,
            sent=sent,
            sends_links=self._context.sends_links,
        )

    def _link_email(self, request: Request, visitor: Visitor, form: SentForm) -> tuple[str, bool, str]:
        """The e-mail that wants a link, whether one may be mailed there, and the sender's known place.

        Raises HTTPException 429 where the sender asked for too many.
        """
        email, limits = checked_email(form.text("email")), self._context.link_limits
        known_place = self._context.known_place(request, email, visitor)
        if not limits.accepts_sender(visitor.address, known_place):
            raise HTTPException(429, TOO_OFTEN, {"Retry-After": "300"})
        return email, limits.accepts_receiver(email, known_place), known_place

    def _mail_link(self, email: str, subject: str, why: str, more: str, link: str, known_place: str) -> None:
        """Mails fixed words and a link: nothing that a person typed goes to an address that is not proved."""
        about = f"{why} {more}".strip()
        self._context.mailer.send(
            email,
            subject,
            f"{about}\n\nWithin {in_days(MAILED_S)}, open\n{link}\n\n"
            "If it was not you, you need not do anything. Nothing is changed.\n",
            of_stranger=not known_place,
        )

    # A new password
    def reset_page(self) -> Response:
        return self._reset_page(sent=False)

    def _reset_page(self, sent: bool) -> HTMLResponse:
        return self._link_page("A new password", "/reset", RESET_SENT, sent)

    def request_reset(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        email, may_mail, known_place = self._link_email(request, visitor, form)
        account = self._context.people.account_of(email)
        known = account is not None and not account.disabled
        whose = account.account_id if account is not None and known else ""
        code = make_ticket(
            self._context.people, "reset", MAILED_S, account_id=whose
        )  # made for an unknown name too, so that the answer takes as long
        if account is not None and known and may_mail and self._context.sends_links:
            self._mail_link(
                account.email,
                "A new password for OPQ View",
                "Somebody, perhaps you, asked for a new password.",
                "",
                f"{self._context.base_url(request)}/reset/new?code={code}",
                known_place,
            )
        return self._reset_page(sent=True)

    def new_password_page(self, code: Code = "") -> Response:
        self._ticket(code, "reset")
        return self._context.page("new_password.html", here="sign-in", link_code=code, problem="")

    def new_password(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Sets the new password, and ends what a person who knew the old one has: sessions, tokens, links."""
        code = form.text("link_code")
        ticket = self._ticket(code, "reset")
        password = form.secret("password")
        problem = password_problem(password)
        if problem is None and password != form.secret("password_again"):
            problem = "The two passwords differ."
        if problem:
            return self._context.page(
                "new_password.html", here="sign-in", code=400, link_code=code, problem=problem
            )
        if self._context.people.use_ticket(secret_hash(code), "reset") is None:
            raise HTTPException(404, NO_LINK)
        ended = self._context.people.set_mailed_password(ticket.account_id, hash_password(password))
        if ended is None:
            raise HTTPException(404, NO_LINK)
        what, off = "set a new password by mail", ended.switched_off
        self._context.people.changes.add(ticket.account_id, visitor.address, what, "", after=off)
        self._context.visitors.discard_cached()
        account = self._context.people.account(ticket.account_id)
        answer = see_other("/sign-in")
        if account is None:
            return answer
        if ended.rules:
            self._context.warn_owner(account, "A new password was set by a mailed link.", ended.rules)
        return self._context.mark_device(request, account, answer)
