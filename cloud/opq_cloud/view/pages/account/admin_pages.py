"""Pages of accounts and invitations for administrators; the others are in `pages/admin/`."""

from dataclasses import replace

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.store.records.accounts.account_records import Account, EndedAccess
from opq_cloud.store.records.accounts.rights import ADMIN, ROLES
from opq_cloud.view.pages.account.account_context import (
    AccountContext,
    checked_email,
    in_days,
    own_account,
)
from opq_cloud.view.pages.account.account_pages import delete_account, last_admin
from opq_cloud.view.web.forms import SentForm, form_route, see_other
from opq_cloud.view.web.links import INVITATION_S, make_ticket
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import VISITOR, Visitor

ROLE_WORDS = {
    "admin": "Administrator: everything",
    "owner": "Owner: own Boxes, those shared with them, public ones",
    "researcher": "Researcher: reads all Boxes, changes only their own",
    "viewer": "Viewer: Boxes shared with them, public ones",
}


class AdminPages:
    """Every route is for administrators only; others get 404."""

    def __init__(self, context: AccountContext) -> None:
        self._context = context

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route("/admin/accounts", self.accounts_page, response_class=HTMLResponse)
        for path, form in (
            ("/admin/invitations", self.invite),
            ("/admin/invitations/end", self.end_invitation),
            ("/admin/accounts/{account_id}", self.change_account),
            ("/admin/accounts/{account_id}/sessions/end", self.end_sessions),
            ("/admin/accounts/{account_id}/delete", self.delete),
        ):
            router.add_route(path, form_route(form), methods=["POST"])
        return router

    def accounts_page(self) -> Response:
        self._admin()
        return self._accounts_page()

    def _accounts_page(
        self, problem: str = "", link: str = "", mailed: str = "", code: int = 200
    ) -> HTMLResponse:
        people = self._context.people
        accounts = people.accounts()
        return self._context.page(
            "accounts.html",
            here="admin",
            part="accounts",
            may_change=True,
            code=code,
            accounts=[(each, len(people.sessions(each.account_id))) for each in accounts],
            invitations=[each for each in people.tickets("invitation") if people.is_backed(each)],
            roles=ROLE_WORDS,
            problem=problem,
            link=link,
            mailed=mailed,
            valid_words=in_days(INVITATION_S),
            registration=self._context.visitors.config.registration,
        )

    def invite(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        self._admin()
        if self._context.visitors.config.registration == "closed":
            raise HTTPException(403, "Registration is closed: [view] registration in the configuration.")
        email, role = checked_email(form.text("email")), _role(form)
        account, maker = self._context.people.account_of(email), own_account(visitor).account_id
        if account is not None:
            return self._accounts_page("This e-mail has an account already.", code=409)
        code = make_ticket(
            self._context.people, "invitation", INVITATION_S, email=email, role=role, made_by=maker
        )
        link = f"{self._context.base_url(request)}/register?code={code}"
        sent = self._context.link_limits.accepts_receiver(email) and self._context.mailer.send(
            email,
            "An invitation to OPQ View",
            "You are invited to OPQ View, which shows the quality of electric power.\n\n"
            f"Within {in_days(INVITATION_S)}, open\n{link}\n",
        )
        self._context.note(visitor, f"invited somebody as {role}", "", after={"role": role})
        return self._accounts_page(link=link, mailed=email if sent else "")

    def end_invitation(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        self._admin()
        found = {each.ticket_hash: each for each in self._context.people.tickets("invitation")}
        if form.text("invitation") not in found:
            raise HTTPException(404, "There is no such invitation; it may have been used.")
        self._context.people.remove_ticket(form.text("invitation"))
        before = {"role": found[form.text("invitation")].role}
        self._context.note(visitor, "withdrew an invitation", "", before)
        return see_other("/admin/accounts")

    def change_account(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = self._account(request)
        role, disabled = _role(form), form.checked("disabled")
        if (role != "admin" or disabled) and last_admin(self._context, account):
            return self._accounts_page("This is the only administrator; make another one first.", code=409)
        self._context.people.change_account(
            account.account_id, lambda was: replace(was, role=role, disabled=disabled)
        )
        ended = self._context.people.end_access(account.account_id) if disabled else EndedAccess(0, 0)
        if disabled or role != ADMIN:
            self._context.people.end_codes(account.account_id)
        state = "disabled" if disabled else "enabled"
        before = {"role": account.role, "disabled": account.disabled}
        after: dict[str, object] = {"role": role, "disabled": disabled, **ended.switched_off}
        what = f"set an account to {role}, {state}"
        self._context.note(visitor, what, account.account_id, before, after)
        if ended.rules:
            self._context.warn_owner(account, "An administrator disabled the account.", ended.rules)
        return see_other("/admin/accounts")

    def end_sessions(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = self._account(request)
        ended = self._context.people.end_access(account.account_id)
        before = {"sessions": ended.sessions}
        after: dict[str, object] = {"sessions": 0, **ended.switched_off}
        what = "ended all sessions and tokens of an account"
        self._context.note(visitor, what, account.account_id, before, after)
        if ended.rules:
            self._context.warn_owner(account, "An administrator ended all sessions and tokens.", ended.rules)
        return see_other("/admin/accounts")

    def delete(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = self._account(request)
        if account.account_id == own_account(visitor).account_id:
            return self._accounts_page("Your own account is deleted on its own page.", code=409)
        delete_account(self._context, account.account_id)
        self._context.note(visitor, "deleted an account", "", {"role": account.role})
        return see_other("/admin/accounts")

    def _account(self, request: Request) -> Account:
        self._admin()
        found = self._context.people.account(request.path_params["account_id"])
        if found is None:
            raise HTTPException(404, "There is no such account; it may have been deleted.")
        return found

    def _admin(self) -> None:
        """Raises 404 for others, so that they do not learn which pages exist."""
        visitor = VISITOR.get()
        if not visitor.administers:
            raise HTTPException(404, "There is no page at this address.")


def _role(form: SentForm) -> str:
    role = form.text("role")
    if role not in ROLES:
        raise HTTPException(400, f"{role} is not a role; there are {', '.join(ROLES)}.")
    return role
