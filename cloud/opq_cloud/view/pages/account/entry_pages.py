"""The pages before signing in: sign in, the first administrator, register, a new password."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.store.records.accounts import AccountTicket
from opq_cloud.view.pages.account.account_context import AccountContext, checked_email, in_days
from opq_cloud.view.web.forms import (
    FormPlaces,
    SentForm,
    end_in_browser,
    form_route,
    own_path,
    see_other,
)
from opq_cloud.view.web.links import RESET_S, make_ticket
from opq_cloud.view.web.passwords import hash_password, password_problem, secret_hash
from opq_cloud.view.web.visitors import VISITOR, Visitor

MADE = "Your account is made. Sign in with it."
ENDED = "You are signed out: the session of this browser has ended. Sign in to return to your page."
WRONG = "E-mail, password or code is wrong. After several tries it takes a minute until the next one counts."
TOO_OFTEN = "Too many tries. Wait a minute, then try again."
NO_LINK = (
    "This link is not valid: it was used, it is too old, or it was not copied whole. Ask for another one."
)
Code = Annotated[str, Query(max_length=100)]
Next = Annotated[str, Query(alias="next", max_length=1000)]


class EntryPages:
    """The pages that every visitor may open."""

    def __init__(self, context: AccountContext, places: FormPlaces) -> None:
        self._context = context
        self._places = places

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
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
    def sign_in_page(self, wanted: Next = "/", made: bool = False, ended: bool = False) -> Response:
        """`made`: the account was made just now; `ended`: the session of the previous page has ended."""
        if VISITOR.get().account is not None:
            return see_other(own_path(wanted))
        return self._sign_in_page(wanted, MADE if made else ENDED if ended else "")

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
            open_registration=config.registration == "open",
            sends_links=self._context.sends_links,
        )

    def sign_in(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        email, wanted = form.text("email"), form.text("next", 1000)
        limits = self._context.sign_in.limits
        if not limits.spend(email, visitor.address):
            answer = self._sign_in_page(wanted, problem=TOO_OFTEN, code=429, email=email)
            answer.headers["Retry-After"] = "60"
            return answer
        account = self._context.sign_in.account_of(email, form.secret("password"), form.text("code"))
        if account is None:
            self._context.note(visitor, "was refused at sign-in", "")
            return self._sign_in_page(wanted, problem=WRONG, code=403, email=email)
        limits.give_back(email, visitor.address)
        return self._context.enter(request, account, visitor, own_path(wanted))

    def sign_out(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        self._context.people.end_session(visitor.session_hash)
        self._context.note(visitor, "signed out", "")
        return end_in_browser(see_other("/sign-in"))

    # The first administrator, and others who register
    def first_admin_page(self, code: Code = "") -> Response:
        self._ticket(code, "first_admin")
        return self._new_account_page("/first-admin", code, "", "The first administrator")

    def first_admin(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        return self._make(request, visitor, form, "first_admin")

    def register_page(self, code: Code = "") -> Response:
        if not code:
            self._require_open()
            return self._new_account_page("/register", "", "", "Make an account")
        email = self._ticket(code, "invitation").email
        return self._new_account_page("/register", code, email, "Accept the invitation")

    def register(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        if form.text("link_code"):
            return self._make(request, visitor, form, "invitation")
        self._require_open()
        email, name, password = self._wanted_account(form)
        if email is None:
            return self._refused_account("/register", form, password)
        if not self._context.sign_in.limits.spend(email, visitor.address):
            raise HTTPException(429, TOO_OFTEN)
        made = self._context.people.add_account(email, name, "owner", hash_password(password))
        what, whose = ("registered", made.account_id) if made else ("was refused at registration", "")
        self._context.note(visitor, what, whose)
        return see_other("/sign-in?made=1")  # the same where the e-mail had an account already

    def _make(self, request: Request, visitor: Visitor, form: SentForm, purpose: str) -> Response:
        """Makes an account from a link, which cannot be used again."""
        path = "/first-admin" if purpose == "first_admin" else "/register"
        code = form.text("link_code")
        ticket = self._ticket(code, purpose)
        email, name, password = self._wanted_account(form)
        if email is None:
            return self._refused_account(path, form, password)
        people = self._context.people
        if people.account_of(email) is not None:
            return self._refused_account(path, form, "This e-mail has an account already. Sign in with it.")
        hashed = hash_password(password)
        if people.use_ticket(secret_hash(code), purpose) is None:
            raise HTTPException(404, NO_LINK)
        made = people.add_account(email, name, ticket.role or "owner", hashed)
        if made is None:
            raise HTTPException(409, "An account with this e-mail was made a moment ago. Sign in with it.")
        what = "became the first administrator" if purpose == "first_admin" else "accepted an invitation"
        people.changes.add(made.account_id, visitor.address, what, made.account_id)
        return self._context.enter(request, made, visitor, "/account")

    def _wanted_account(self, form: SentForm) -> tuple[str | None, str, str]:
        """E-mail, name and password; or None, an empty text, and the problem in place of the password."""
        email = checked_email(form.text("email"))
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
        name: str = "",
    ) -> HTMLResponse:
        return self._context.page(
            "new_account.html",
            here="sign-in",
            code=status,
            path=path,
            link_code=code,
            email=email,
            name=name,
            heading=heading,
            problem=problem,
        )

    def _refused_account(self, path: str, form: SentForm, problem: str) -> HTMLResponse:
        by_link = "Accept the invitation" if form.text("link_code") else "Make an account"
        heading = "The first administrator" if path == "/first-admin" else by_link
        return self._new_account_page(
            path, form.text("link_code"), form.text("email"), heading, problem, 400, form.text("name", 80)
        )

    def _require_open(self) -> None:
        if self._context.visitors.config.registration != "open" or not self._context.people.any_account():
            raise HTTPException(404, "Accounts are made by invitation here. Ask an administrator for one.")

    def _ticket(self, code: str, purpose: str) -> AccountTicket:
        found = self._context.people.ticket(secret_hash(code), purpose) if code else None
        if found is None or (purpose == "first_admin" and self._context.people.any_account()):
            raise HTTPException(404, NO_LINK)
        return found

    # A new password
    def reset_page(self) -> Response:
        return self._context.page(
            "reset.html", here="sign-in", sent=False, sends_links=self._context.sends_links
        )

    def request_reset(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        email = checked_email(form.text("email"))
        if not self._context.sign_in.limits.spend(f"reset {email}", visitor.address):
            raise HTTPException(429, TOO_OFTEN)
        account = self._context.people.account_of(email)
        known = account is not None and not account.disabled
        whose = account.account_id if account is not None and known else ""
        code = make_ticket(
            self._context.people, "reset", RESET_S, account_id=whose
        )  # made for an unknown name too, so that the answer takes as long
        if account is not None and known and self._context.sends_links:
            link = f"{self._context.base_url(request)}/reset/new?code={code}"
            self._context.mailer.send(
                account.email,
                "A new password for OPQ View",
                "Somebody, perhaps you, asked for a new password.\n\n"
                f"Within {in_days(RESET_S)}, open\n{link}\n\n"
                "If it was not you, you need not do anything. Your password is unchanged.\n",
            )
        return self._context.page(
            "reset.html", here="sign-in", sent=True, sends_links=self._context.sends_links
        )

    def new_password_page(self, code: Code = "") -> Response:
        self._ticket(code, "reset")
        return self._context.page("new_password.html", here="sign-in", link_code=code, problem="")

    def new_password(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Sets the new password.

        Open sessions end, so that a person who knew the old password is signed out.
        """
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
        hashed = hash_password(password)
        self._context.people.change_account(ticket.account_id, lambda was: replace(was, password_hash=hashed))
        self._context.people.end_sessions(ticket.account_id)
        self._context.people.end_tickets("reset", ticket.account_id)
        self._context.people.changes.add(ticket.account_id, visitor.address, "set a new password by mail", "")
        self._context.visitors.discard_cached()
        return see_other("/sign-in")
