"""Pages of one's account: name, preferences, password, second factor, sessions, tokens, data, deletion."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from zoneinfo import ZoneInfo

import segno
from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.store.box_record import box_order
from opq_cloud.store.records.accounts.account_records import Account, AccountSession
from opq_cloud.store.records.accounts.notifications import NotificationRecords
from opq_cloud.store.records.accounts.rights import ADMIN
from opq_cloud.store.records.accounts.seen_marks import SEEN_INCIDENTS
from opq_cloud.view.pages.account.account_context import AccountContext, in_days, own_account, rules_off_words
from opq_cloud.view.pages.account.box_placing import forget_box
from opq_cloud.view.pages.account.notification_form import notification_data
from opq_cloud.view.web.forms import SentForm, end_in_browser, form_route, see_other
from opq_cloud.view.web.links import TOKEN_SCOPES, make_ticket
from opq_cloud.view.web.passwords import (
    hash_password,
    new_recovery_codes,
    new_totp_secret,
    password_fits,
    password_problem,
    secret_hash,
    totp_address,
    totp_step_of,
)
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.sign_in import MAX_SESSIONS, SESSION_S
from opq_cloud.view.web.visitors import VISITOR, Visitor
from opq_proto.time_units import DAY_S

THEMES = {"system": "As the system", "light": "Light", "dark": "Dark"}
VOLTAGE_UNITS = {"V": "Volts", "percent": "% of nominal"}
TOKEN_DAYS = (7, 30, 90, 365)
MAX_TOKENS = 20
SECOND_FACTOR = ({"second_factor": False}, {"second_factor": True})
WRONG_PASSWORD = "The present password is wrong."
WRONG_PROOF = "The present password is wrong, or the code of the second factor."


class AccountPages:
    """What signed-in visitors may do to their own accounts."""

    def __init__(self, context: AccountContext) -> None:
        self._context = context

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route("/account", self.account_page, response_class=HTMLResponse)
        router.add_api_route("/account/data.json", self.data)
        router.add_api_route("/account/second-factor", self.second_factor_page, response_class=HTMLResponse)
        for path, form in (
            ("/account/profile", self.change_profile),
            ("/account/password", self.change_password),
            ("/account/second-factor", self.add_second_factor),
            ("/account/second-factor/remove", self.remove_second_factor),
            ("/account/sessions/end", self.end_session),
            ("/account/tokens", self.add_token),
            ("/account/tokens/end", self.end_token),
            ("/account/delete", self.delete),
        ):
            router.add_route(path, form_route(form), methods=["POST"])
        return router

    def account_page(self, saved: bool = False) -> Response:
        return self._page(own_account(VISITOR.get()), notice="Saved." if saved else "")

    def _page(
        self, account: Account, notice: str = "", problem: str = "", token: str = "", code: int = 200
    ) -> HTMLResponse:
        people = self._context.people
        visitor = VISITOR.get()
        return self._context.page(
            "account.html",
            code=code,
            account=account,
            notice=notice,
            problem=problem,
            new_token=token,
            sessions=[(each, each.token_hash == visitor.session_hash) for each in self._sessions(account)],
            tokens=people.tickets("token", account.account_id),
            themes=THEMES,
            voltage_units=VOLTAGE_UNITS,
            token_days=TOKEN_DAYS,
            boxes=sorted(visitor.own_to_change, key=box_order),
            rules_off=rules_off_words(self._rules_off(account)),
        )

    def _rules_off(self, account: Account) -> int:
        """The number of notification rules that send to a URL and are switched off."""
        rules = NotificationRecords(self._context.people.documents).rules(account.account_id)
        return sum(bool(each.url) and not each.enabled for each in rules)

    def _sessions(self, account: Account) -> list[AccountSession]:
        return self._context.people.sessions(account.account_id)[:MAX_SESSIONS]

    def change_profile(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = own_account(visitor)
        name, theme = form.text("name", 80) or account.email, form.text("theme")
        zone, unit = form.text("time_zone", 64) or "UTC", form.text("voltage_unit") or account.voltage_unit
        if theme not in THEMES:
            raise HTTPException(400, f"{theme} is not a theme; there are {', '.join(THEMES)}.")
        if unit not in VOLTAGE_UNITS:
            raise HTTPException(
                400,
                f"{unit} is not a unit of voltages; there are {', '.join(VOLTAGE_UNITS)}.",
            )

        def changed(was: Account) -> Account:
            return replace(was, name=name, theme=theme, time_zone=zone, voltage_unit=unit)

        after = {"theme": theme, "time_zone": zone, "voltage_unit": unit}
        if not _is_zone(zone):
            problem = f"{zone} is not a time zone; write one such as Pacific/Honolulu, or UTC."
            return self._page(changed(account), problem=problem, code=400)
        self._change(visitor, changed)
        before = {field: getattr(account, field) for field in after}
        self._context.note(visitor, "changed name and preferences", account.account_id, before, after)
        return see_other("/account?saved=1")

    def change_password(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Changes the password. Other sessions and all tokens end; this session gets a new cookie."""
        account = own_account(visitor)
        if not proved(self._context, visitor, form):
            return self._page(account, problem=wrong_proof(account), code=403)
        password = form.secret("password")
        problem = password_problem(password, account.email)
        if problem is None and password != form.secret("password_again"):
            problem = "The two new passwords differ."
        if problem:
            return self._page(account, problem=problem, code=400)
        hashed = hash_password(password)
        self._change(visitor, lambda was: replace(was, password_hash=hashed))
        ended = self._context.people.end_access(account.account_id)
        agent = request.headers.get("user-agent", "")
        secret = self._context.sign_in.begin_session(account, visitor.address, agent)
        what = "changed the password"
        self._context.note(visitor, what, account.account_id, after=ended.switched_off)
        self._context.warn_owner(account, "The password was changed.", ended.rules)
        return self._context.begin_session(see_other("/account?saved=1"), secret, SESSION_S)

    # The second factor
    def second_factor_page(self) -> Response:
        account = own_account(VISITOR.get())
        if account.totp_secret:
            return see_other("/account")
        return self._second_factor_page(account, new_totp_secret())

    def _second_factor_page(
        self, account: Account, secret: str, problem: str = "", code: int = 200
    ) -> HTMLResponse:
        qr = segno.make(totp_address(secret, account.email), error="m")
        rows = [
            "".join(f"M{x} {y}h1v1h-1z" for x, on in enumerate(row) if on) for y, row in enumerate(qr.matrix)
        ]
        return self._context.page(
            "second_factor.html",
            code=code,
            account=account,
            secret=secret,
            qr_path="".join(rows),
            qr_size=len(qr.matrix),
            problem=problem,
            codes=(),
        )

    def add_second_factor(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = own_account(visitor)
        secret = form.text("secret", 64).upper()
        if not (len(secret) in (16, 32, 64) and set(secret) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")):
            raise HTTPException(400, "This is not a secret of a second factor. Begin again.")
        if not proved(self._context, visitor, form):
            return self._second_factor_page(account, secret, WRONG_PASSWORD, 403)
        step = totp_step_of(secret, form.text("code").replace(" ", ""), 0)
        if step is None:
            problem = "This code does not fit. Is the clock of the telephone right?"
            return self._second_factor_page(account, secret, problem, 400)
        codes = new_recovery_codes()
        hashes = tuple(secret_hash(each) for each in codes)

        def change(was: Account) -> Account | None:
            if was.totp_secret:
                return None
            return replace(was, totp_secret=secret, totp_step=step, recovery_hashes=hashes)

        if not self._change(visitor, change):
            return see_other("/account")
        ended = self._context.people.end_access(account.account_id, keep=visitor.session_hash)
        before, factor = SECOND_FACTOR
        after: dict[str, object] = {**factor, **ended.switched_off}
        self._context.note(visitor, "added a second factor", account.account_id, before, after)
        self._context.warn_owner(account, "A second factor was added.", ended.rules)
        return self._context.page(
            "second_factor.html",
            secret="",
            qr_path="",
            qr_size=0,
            problem="",
            codes=tuple(codes),
            rules_off=rules_off_words(ended.rules, "were"),
        )

    def remove_second_factor(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = own_account(visitor)
        if not proved(self._context, visitor, form):
            return self._page(account, problem=wrong_proof(account), code=403)
        self._change(visitor, lambda was: replace(was, totp_secret="", recovery_hashes=()))
        self._context.note(visitor, "removed the second factor", account.account_id, *SECOND_FACTOR[::-1])
        self._context.warn_owner(account, "The second factor was removed.")
        return see_other("/account")

    # Sessions and tokens
    def end_session(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = own_account(visitor)
        wanted = form.text("session")
        switched_off: dict[str, object] = {}
        if wanted == "others":
            ended = self._context.people.end_access(account.account_id, keep=visitor.session_hash)
            switched_off = ended.switched_off
            if ended.rules:
                self._context.warn_owner(
                    account, "All other sessions and all tokens were ended.", ended.rules
                )
        elif wanted in {each.token_hash for each in self._context.people.sessions(account.account_id)}:
            self._context.people.end_session(wanted)
        else:
            raise HTTPException(404, "There is no such session; it may have ended.")
        self._context.note(visitor, "ended a session", account.account_id, after=switched_off)
        return see_other("/account")

    def add_token(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = own_account(visitor)
        label, days = form.text("label", 60), form.text("days")
        if not label:
            return self._page(account, problem="A token needs a name, such as the program's.", code=400)
        if days not in {str(each) for each in TOKEN_DAYS}:
            raise HTTPException(
                400,
                f"{days} is not offered; there are {', '.join(map(str, TOKEN_DAYS))} days.",
            )
        if len(self._context.people.tickets("token", account.account_id)) >= MAX_TOKENS:
            return self._page(
                account,
                problem=f"There are {MAX_TOKENS} tokens; end one first.",
                code=400,
            )
        if not proved(self._context, visitor, form):
            return self._page(account, problem=wrong_proof(account), code=403)
        scopes = tuple(each for each in TOKEN_SCOPES if each == "read" or form.text(each))
        valid_s, owner = int(days) * DAY_S, account.account_id
        secret = make_ticket(
            self._context.people, "token", valid_s, account_id=owner, label=label, scopes=scopes
        )
        self._context.note(visitor, "made a token", account.account_id, after={"days": days})
        self._context.warn_owner(account, f"A token for programs was made, valid for {in_days(valid_s)}.")
        return self._page(account, token=secret)

    def end_token(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = own_account(visitor)
        if not self._context.people.remove_own_ticket("token", account.account_id, form.text("token")):
            raise HTTPException(404, "There is no such token; it may have ended.")
        self._context.note(visitor, "ended a token", account.account_id)
        return see_other("/account")

    # All data of an account, and deletion
    def data(self) -> Response:
        """Downloads all that is stored of the account, except hashes and secrets."""
        visitor = VISITOR.get()
        account = own_account(visitor)
        people = self._context.people
        secret = ("password_hash", "totp_secret", "totp_step", "recovery_hashes")
        facts = {key: value for key, value in asdict(account).items() if key not in secret}
        accesses = self._context.visitors.accesses().values()
        own = [each for each in accesses if account.account_id in each.owner_ids]
        whole = {
            "account": {**facts, "second_factor": bool(account.totp_secret)},
            "sessions": [
                {key: value for key, value in asdict(each).items() if key != "token_hash"}
                for each in people.sessions(account.account_id)
            ],
            "tokens": [
                {
                    "label": each.label,
                    "created_ms": each.created_ms,
                    "expires_s": each.expires_s,
                    "scopes": each.scopes,
                }
                for each in people.tickets("token", account.account_id)
            ],
            "boxes": [
                {**asdict(replace(each, former=())), "box": _box_facts(self._context, each.box_id)}
                for each in own
            ],
            "former_boxes": [
                {"box_id": each.box_id, "since_ms": span.since_ms, "until_ms": span.until_ms}
                for each in accesses
                for span in each.former
                if span.account_id == account.account_id
            ],
            "shared_with_me": [each.box_id for each in accesses if account.account_id in each.shared_ids],
            "changes": [asdict(each) for each in people.changes.of_account(account.account_id)],
            **notification_data(people, account.account_id),
            "seen_incidents": people.documents.get(SEEN_INCIDENTS, account.account_id),
            "notes": [asdict(each) for each in self._context.store.notes_of(account.account_id)],
        }
        headers = {
            "Content-Disposition": 'attachment; filename="opq-account.json"',
            "Cache-Control": "no-store",
        }
        return Response(json.dumps(whole, indent=2), media_type="application/json", headers=headers)

    def delete(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = own_account(visitor)
        if not proved(self._context, visitor, form):
            return self._page(account, problem=wrong_proof(account), code=403)
        if last_admin(self._context, account):
            problem = "You are the only administrator. Make another account one first, then delete yours."
            return self._page(account, problem=problem, code=409)
        delete_account(self._context, account.account_id)
        nobody = Visitor()
        self._context.note(nobody, "an account was deleted", "")
        VISITOR.set(nobody)  # otherwise the page would name the account after its session has ended
        answer = self._context.page("deleted.html", here="sign-in")
        return end_in_browser(answer)

    def _change(self, visitor: Visitor, change: Callable[[Account], Account | None]) -> bool:
        return self._context.people.change_account(own_account(visitor).account_id, change)


def proved(context: AccountContext, visitor: Visitor, form: SentForm) -> bool:
    """Whether the form has the present password, and a code where there is a second factor.

    For changes of sign-in data an unlocked browser is not enough.
    """
    account = own_account(visitor)
    give_back = context.spend_own_try(visitor, "password")
    if not password_fits(account.password_hash, form.secret("present_password")):
        return False
    if account.totp_secret and not context.sign_in.use_code(account, form.text("present_code", 20)):
        return False
    give_back()
    return True


def wrong_proof(account: Account) -> str:
    return WRONG_PROOF if account.totp_secret else WRONG_PASSWORD


def last_admin(context: AccountContext, account: Account) -> bool:
    """Whether this is the only administrator and other accounts exist."""
    admins = [each for each in context.people.accounts() if each.role == ADMIN and each.in_force]
    others = [each for each in context.people.accounts() if each.account_id != account.account_id]
    return [each.account_id for each in admins] == [account.account_id] and bool(others)


def delete_account(context: AccountContext, account_id: str) -> None:
    """Deletes an account and what it entered: its Boxes lose their names, places and coordinates."""
    own = [box_id for box_id, each in context.people.accesses().items() if each.owner_ids == (account_id,)]
    for box_id in own:
        forget_box(context.store, box_id)
    context.store.forget_author(account_id)
    context.people.delete_account(account_id)
    context.visitors.discard_cached()


def _box_facts(context: AccountContext, box_id: str) -> dict[str, object]:
    box = context.store.box(box_id)
    if box is None:
        return {}
    place = context.store.locations().get(box.location or "")
    return {
        "name": box.name,
        "location": box.location,
        "latitude": place.latitude if place else None,
        "longitude": place.longitude if place else None,
        "region": box.region,
    }


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return False
    return True
