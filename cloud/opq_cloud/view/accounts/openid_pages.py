"""Signing in by an OpenID Connect provider, and connecting an account with the provider or disconnecting it.

  /sign-in/openid            --> provider --> /sign-in/openid/back --> session
  /account/openid (a form)   --> page with a link --> the same way --> the account is connected

An account is identified by the provider's issuer and subject, never by e-mail alone: otherwise, somebody who
registers first under another person's e-mail would share that person's account.
"""

import base64
import hmac
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.store.records.accounts import Account
from opq_cloud.view.accounts.account_context import AccountContext, checked_email
from opq_cloud.view.accounts.account_pages import own_account, proved
from opq_cloud.view.accounts.entry_pages import TOO_OFTEN
from opq_cloud.view.accounts.forms import FormPlaces, SentForm, form_route, own_path, see_other
from opq_cloud.view.accounts.openid_provider import OpenIdError, OpenIdPerson, OpenIdProvider
from opq_cloud.view.accounts.passwords import new_secret, secret_hash
from opq_cloud.view.accounts.visitors import VISITOR, Visitor

FLOW_COOKIE: Final = "opq_openid"
FLOW_S: Final = 600
BACK: Final = "/sign-in/openid/back"
BEGIN_AGAIN = "This sign-in was begun in another browser, or more than ten minutes ago. Begin again."
Text = Annotated[str, Query(max_length=4000)]


@dataclass(frozen=True, slots=True)
class OpenIdFlow:
    """The state of a sign-in that is under way at the provider; the browser brings it back in a cookie."""

    state: str
    nonce: str
    verifier: str
    purpose: str
    """`enter`, `invitation` or `connect`."""
    about: str
    """By `purpose`: the page to go on to; the invitation's code; the hash of the session to connect."""

    @classmethod
    def begun(cls, purpose: str, about: str) -> "OpenIdFlow":
        return cls(new_secret(), new_secret(), new_secret(), purpose, about)

    def cookie(self) -> str:
        about = base64.urlsafe_b64encode(self.about.encode()).decode().rstrip("=")
        return ".".join((self.state, self.nonce, self.verifier, self.purpose, about))

    @classmethod
    def read(cls, cookie: str) -> "OpenIdFlow | None":
        """The flow from its cookie; None where the cookie is not ours."""
        parts = cookie.split(".")
        if len(parts) != 5 or parts[3] not in ("enter", "invitation", "connect"):
            return None
        try:
            about = base64.urlsafe_b64decode(parts[4] + "=" * (-len(parts[4]) % 4)).decode()
        except ValueError:
            return None
        return cls(parts[0], parts[1], parts[2], parts[3], about)


class OpenIdPages:
    """Pages that exist only where a provider is configured."""

    def __init__(self, context: AccountContext, provider: OpenIdProvider, places: FormPlaces) -> None:
        """`places`: for the answers that wait for the provider, which may take its time."""
        self._context, self._provider, self._places = context, provider, places

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/sign-in/openid", self.go)
        router.add_api_route(BACK, self.back)
        router.add_api_route("/account/openid", form_route(self.connect), methods=["POST"])
        router.add_api_route("/account/openid/remove", form_route(self.disconnect), methods=["POST"])
        return router

    async def go(
        self,
        request: Request,
        wanted: Annotated[str, Query(alias="next", max_length=1000)] = "/",
        invitation: Annotated[str, Query(max_length=100)] = "",
    ) -> Response:
        """Redirects to the provider."""
        flow = (
            OpenIdFlow.begun("invitation", invitation)
            if invitation
            else OpenIdFlow.begun("enter", own_path(wanted))
        )
        return await self._places.run(partial(self._to_provider, request, flow))

    def _to_provider(self, request: Request, flow: OpenIdFlow) -> Response:
        answer = see_other(self._address(request, flow))
        self._context.set_cookie(answer, FLOW_COOKIE, flow.cookie(), FLOW_S)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    def connect(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Shows a page with the link to the provider: a form may not lead there itself (`form-action`)."""
        if not proved(self._context, visitor, form):
            raise HTTPException(403, "The present password is wrong.")
        flow = OpenIdFlow.begun("connect", visitor.session_hash)
        address = self._address(request, flow)
        answer = self._context.page("openid.html", address=address, openid_name=self._context.openid_name)
        self._context.set_cookie(answer, FLOW_COOKIE, flow.cookie(), FLOW_S)
        return answer

    def disconnect(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = own_account(visitor)
        if not account.password_hash:
            raise HTTPException(409, "Set a password first; without one nobody could sign in any more.")
        self._context.people.change_account(account.account_id, lambda was: replace(was, openid=""))
        self._context.note(visitor, f"disconnected {self._context.openid_name}", account.account_id)
        return see_other("/account")

    async def back(self, request: Request, code: Text = "", state: Text = "", error: Text = "") -> Response:
        """Handles the browser's return from the provider, and deletes the cookie of the flow."""
        return await self._places.run(partial(self._back, request, code, state, error))

    def _back(self, request: Request, code: str, state: str, error: str) -> Response:
        try:
            answer = self._came_back(request, VISITOR.get(), code, state, error)
        except HTTPException as refusal:
            answer = self._refused(str(refusal.detail), refusal.status_code)
        answer.delete_cookie(FLOW_COOKIE)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    def _came_back(self, request: Request, visitor: Visitor, code: str, state: str, error: str) -> Response:
        flow = OpenIdFlow.read(request.cookies.get(FLOW_COOKIE, ""))
        if flow is None or not hmac.compare_digest(flow.state.encode(), state.encode()):
            raise HTTPException(400, BEGIN_AGAIN)
        if error or not code:
            raise HTTPException(
                403,
                f"{self._context.openid_name} did not let you in. Begin again.",
            )
        own_way = f"{FLOW_COOKIE} {visitor.address}"  # tries of strangers do not count against anybody else
        if not self._context.sign_in.limits.spend(own_way, visitor.address):
            raise HTTPException(429, TOO_OFTEN)
        try:
            person = self._provider.person(code, self._back_url(request), flow.nonce, flow.verifier)
        except OpenIdError as wrong:
            self._context.note(visitor, "was refused at sign-in", str(wrong)[:200])
            raise HTTPException(502, f"{self._context.openid_name}: {wrong}.") from wrong
        self._context.sign_in.limits.give_back(own_way, visitor.address)
        if flow.purpose == "connect":
            return self._connected(visitor, flow, person)
        account = self._context.people.account_of_openid(person.subject)
        made = account is None
        if account is None:
            account = self._new_account(visitor, flow, person)
        if account.disabled:
            raise HTTPException(403, "This account is closed. Ask an administrator.")
        where = own_path(flow.about) if flow.purpose == "enter" and not made else "/account"
        return self._context.enter(request, account, visitor, where)

    def _connected(self, visitor: Visitor, flow: OpenIdFlow, person: OpenIdPerson) -> Response:
        account = own_account(visitor)
        if not hmac.compare_digest(flow.about.encode(), visitor.session_hash.encode()):
            raise HTTPException(400, BEGIN_AGAIN)
        other = self._context.people.account_of_openid(person.subject)
        if other is not None and other.account_id != account.account_id:
            raise HTTPException(409, "Another account is connected with this person already.")
        self._context.people.change_account(
            account.account_id, lambda was: replace(was, openid=person.subject)
        )
        self._context.note(visitor, f"connected {self._context.openid_name}", account.account_id)
        self._context.warn_owner(account, f"{self._context.openid_name} was connected and opens it.")
        return see_other("/account")

    def _new_account(self, visitor: Visitor, flow: OpenIdFlow, person: OpenIdPerson) -> Account:
        """Makes an account by an invitation, or for anybody the provider knows where that is configured."""
        people, config = self._context.people, self._provider.config
        name = self._context.openid_name
        invited = flow.purpose == "invitation"
        ticket = people.ticket(secret_hash(flow.about), "invitation") if invited else None
        if invited and ticket is None:
            raise HTTPException(404, "The invitation does not hold: it was used, or it is too old.")
        if not invited and not (config.registers and people.any_account()):
            raise HTTPException(
                403,
                f"{name} knows you, but no account here is connected with it. Sign in with your "
                "password and connect it on the page of your account, or ask an administrator for an "
                "invitation.",
            )
        if not person.email:
            raise HTTPException(403, f"{name} has no verified e-mail of yours; an account here has one.")
        email = checked_email(person.email)
        if people.account_of(email) is not None:
            raise HTTPException(
                409,
                f"{email} has an account here already. Sign in with its password, then connect "
                f"{name} on the page of the account.",
            )
        if ticket is not None and people.use_ticket(secret_hash(flow.about), "invitation") is None:
            raise HTTPException(404, "The invitation does not hold: it was used a moment ago.")
        role = config.role if ticket is None else ticket.role or "owner"
        made = people.add_account(email, person.name[:80] or email, role, "")
        if made is None:
            raise HTTPException(409, f"{email} has an account since a moment ago. Sign in with it.")
        people.change_account(made.account_id, lambda was: replace(was, openid=person.subject))
        what = f"registered by {name}" if ticket is None else f"accepted an invitation by {name}"
        people.changes.add(made.account_id, visitor.address, what, made.account_id)
        return replace(made, openid=person.subject)

    def _address(self, request: Request, flow: OpenIdFlow) -> str:
        try:
            return self._provider.address(self._back_url(request), flow.state, flow.nonce, flow.verifier)
        except OpenIdError as wrong:
            raise HTTPException(502, f"{self._context.openid_name}: {wrong}.") from wrong

    def _back_url(self, request: Request) -> str:
        return f"{self._context.base_url(request)}{BACK}"

    def _refused(self, problem: str, code: int) -> HTMLResponse:
        return self._context.page("openid.html", here="sign-in", code=code, address="", problem=problem)
