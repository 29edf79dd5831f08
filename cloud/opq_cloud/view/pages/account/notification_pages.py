"""Notification pages of an account: rules to add, change, test and delete, tokens for stream rules, the log.

View writes rules and entries into the store; the notification service reads them there and sends.
"""

import time
from dataclasses import asdict

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.core.notification_channels import CHANNELS
from opq_cloud.store.records.accounts.notifications import (
    MAX_RULES,
    UNSENT,
    NotificationEntry,
    NotificationRecords,
    NotificationRule,
    begins_to_send,
    entry_id,
)
from opq_cloud.view.pages.account.account_context import AccountContext, in_days, own_account
from opq_cloud.view.pages.account.account_pages import MAX_TOKENS, TOKEN_DAYS, proved, wrong_proof
from opq_cloud.view.pages.account.notification_form import (
    DIGEST_WORDS,
    SCOPE_WORDS,
    STATE_WORDS,
    may_be_about,
    new_rule,
    rule_of,
    rule_words,
)
from opq_cloud.view.web.forms import SentForm, form_route, see_other
from opq_cloud.view.web.links import make_ticket
from opq_cloud.view.web.passwords import new_secret
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import VISITOR, Visitor
from opq_cloud.view.web.words import class_choices
from opq_proto.time_units import DAY_S

PAGE = "/account/notifications"
LINES_SHOWN = 100
TESTS_MS = 600_000
TEST_SHOWN_S = 3.0
"""The answer waits this long for the result of a test; a slower test is shown as waiting."""
MAX_TESTS = 5
"""The number of tests allowed within TESTS_MS, so that the button cannot be used to send mail."""
PROOF_WANTED = "A rule begins to send to a URL only with your password."
CHANGED_MEANWHILE = "The rule was deleted, switched on or off, or sent elsewhere meanwhile; open it again."
NO_RULE = "There is no such rule; it may have been deleted."


class NotificationPages:
    """The notifications of a signed-in visitor, and how they are sent."""

    def __init__(self, context: AccountContext) -> None:
        self._context = context
        self._records = NotificationRecords(context.people.documents)

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route(PAGE, self.list_page, response_class=HTMLResponse)
        router.add_api_route(f"{PAGE}/new", self.new_page, response_class=HTMLResponse)
        for path, form in (
            ("new", self.add),
            ("tokens", self.add_token),
            ("tokens/end", self.end_token),
            ("{rule_id}/delete", self.delete),
            ("{rule_id}/test", self.test),
        ):
            router.add_route(f"{PAGE}/{path}", form_route(form), methods=["POST"])
        router.add_api_route(f"{PAGE}/{{rule_id}}", self.rule_page, response_class=HTMLResponse)
        router.add_route(f"{PAGE}/{{rule_id}}", form_route(self.change), methods=["POST"])
        return router

    def list_page(self) -> Response:
        return self._list_page()

    def _list_page(self, problem: str = "", token: str = "", code: int = 200) -> HTMLResponse:
        visitor = VISITOR.get()
        account = own_account(visitor)
        return self._context.page(
            "notifications.html",
            code=code,
            problem=problem,
            new_token=token,
            account=account,
            rules=[(each, rule_words(each)) for each in self._records.rules(account.account_id)],
            lines=self._records.entries(account.account_id, LINES_SHOWN),
            about_words=may_be_about(visitor),
            channels=CHANNELS,
            state_words=STATE_WORDS,
            unset=self._context.unset_channels,
            tokens=self._context.people.tickets("notify", account.account_id),
            token_days=TOKEN_DAYS,
        )

    # Rules
    def new_page(self, about: str = "incident") -> Response:
        visitor = VISITOR.get()
        account = own_account(visitor)
        return self._rule_page(new_rule(account.account_id, _about(about, visitor)), fresh=True)

    def rule_page(self, rule_id: str) -> Response:
        if rule_id == "tokens":  # this is the address of a form
            return see_other(PAGE)
        return self._rule_page(self._own(rule_id))

    def _rule_page(
        self,
        rule: NotificationRule,
        problems: list[str] | None = None,
        fresh: bool = False,
        code: int = 400,
    ) -> HTMLResponse:
        """`code`: the status where there are problems."""
        return self._context.page(
            "notification_rule.html",
            code=code if problems else 200,
            rule=rule,
            fresh=fresh,
            problem=" ".join(problems or ()),
            account=own_account(VISITOR.get()),
            about_words=may_be_about(VISITOR.get()),
            channels=CHANNELS,
            digest_words=DIGEST_WORDS,
            class_words=class_choices(),
            scope_words=SCOPE_WORDS,
            unset=self._context.unset_channels,
        )

    def add(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = own_account(visitor)
        if len(self._records.rules(account.account_id)) >= MAX_RULES:
            return self._list_page(f"There are {MAX_RULES} rules; delete one first.", code=400)
        blank = new_rule(account.account_id, _about(form.text("about"), visitor))
        rule, problems = rule_of(form, blank, visitor, self._context.unset_channels)
        if problems:
            return self._rule_page(rule, problems, fresh=True)
        if not self._may_send(visitor, form, blank, rule):
            return self._rule_page(rule, [PROOF_WANTED, wrong_proof(account)], fresh=True, code=403)
        self._records.put_rule(rule)
        self._report(visitor, blank, rule)
        added = rule_values(rule)
        self._context.note(visitor, "added a notification rule", account.account_id, after=added)
        return see_other(f"{PAGE}/{rule.rule_id}" if CHANNELS[rule.channel].signed else PAGE)

    def change(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        before = self._own(request.path_params["rule_id"])
        rule, problems = rule_of(form, before, visitor, self._context.unset_channels)
        if problems:
            return self._rule_page(rule, problems)
        if not self._may_send(visitor, form, before, rule):
            return self._rule_page(rule, [PROOF_WANTED, wrong_proof(own_account(visitor))], code=403)
        if not self._records.change_rule(before, rule):
            return self._rule_page(rule, [CHANGED_MEANWHILE], code=409)
        self._report(visitor, before, rule)
        values = rule_values(before), rule_values(rule)
        self._context.note(visitor, "changed a notification rule", rule.account_id, *values)
        return see_other(PAGE)

    def _may_send(
        self, visitor: Visitor, form: SentForm, before: NotificationRule, rule: NotificationRule
    ) -> bool:
        """Whether the form has the proof that the rule needs if it begins to send to an address."""
        return not begins_to_send(before, rule) or proved(self._context, visitor, form)

    def _report(self, visitor: Visitor, before: NotificationRule, rule: NotificationRule) -> None:
        if begins_to_send(before, rule):
            what = "A notification rule now sends messages about what you see to an address of the web."
            if not rule.enabled:
                what = "A notification rule, which is switched off, now has an address of the web to send to."
            self._context.warn_owner(own_account(visitor), what)

    def delete(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        rule = self._own(request.path_params["rule_id"])
        self._records.remove_rule(rule.rule_id)
        gone = rule_values(rule)
        self._context.note(visitor, "deleted a notification rule", rule.account_id, gone)
        return see_other(PAGE)

    def test(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Puts a test into the outbox. It is sent at once: quiet hours and digest do not delay it."""
        rule = self._own(request.path_params["rule_id"])
        now_ms = time.time_ns() // 1_000_000
        lines = self._records.entries(rule.account_id)
        if sum(each.kind == "test" and each.made_ms > now_ms - TESTS_MS for each in lines) >= MAX_TESTS:
            return self._list_page(
                f"{MAX_TESTS} tests in 10 minutes are allowed; wait some minutes.",
                code=400,
            )
        number = entry_id(rule.rule_id, "test", new_secret())
        self._records.add_entry(
            NotificationEntry(
                number,
                rule.account_id,
                rule.rule_id,
                rule.name,
                rule.channel,
                "test",
                f"A test of the rule {rule.name}",
                now_ms,
                now_ms,
            )
        )
        until_s = time.monotonic() + TEST_SHOWN_S
        while time.monotonic() < until_s:
            entry = self._records.entry(number)
            if entry is None or entry.state not in UNSENT or (entry.tried and entry.state == "waiting"):
                break
            time.sleep(0.1)
        return see_other(f"{PAGE}#log")

    # Tokens for stream rules
    def add_token(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = own_account(visitor)
        label, days = form.text("label", 60), form.text("days")
        mine = self._context.people.tickets("notify", account.account_id)
        if not label or days not in {str(each) for each in TOKEN_DAYS} or len(mine) >= MAX_TOKENS:
            problem = f"A token needs a name and one of the times; {MAX_TOKENS} tokens at most."
            return self._list_page(problem, code=400)
        if not proved(self._context, visitor, form):
            return self._list_page(wrong_proof(account), code=403)
        valid_s, owner = int(days) * DAY_S, account.account_id
        secret = make_ticket(self._context.people, "notify", valid_s, account_id=owner, label=label)
        self._context.note(visitor, "made a token for notifications", account.account_id)
        self._context.warn_owner(
            account, f"A token for rows of stream rules was made, valid for {in_days(valid_s)}."
        )
        return self._list_page(token=secret)

    def end_token(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        account = own_account(visitor)
        if not self._context.people.remove_own_ticket("notify", account.account_id, form.text("token")):
            raise HTTPException(404, "There is no such token; it may have ended.")
        self._context.note(visitor, "ended a token for notifications", account.account_id)
        return see_other(PAGE)

    def _own(self, rule_id: str) -> NotificationRule:
        """The visitor's own rule. Raises HTTPException 404 where it belongs to another account."""
        account = own_account(VISITOR.get())
        found = self._records.rule(rule_id) if len(rule_id) <= 32 else None
        if found is None or found.account_id != account.account_id:
            raise HTTPException(404, NO_RULE)
        return found


def rule_values(rule: NotificationRule) -> dict[str, object]:
    """The rule for the log of changes: without its name, its addresses and secrets."""
    hidden = ("rule_id", "account_id", "name", "since_ms", "url", "secret")
    values = {key: value for key, value in asdict(rule).items() if key not in hidden}
    return {key: " ".join(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _about(text: str, visitor: Visitor) -> str:
    if text not in may_be_about(visitor):
        raise HTTPException(400, f"A rule is about one of {', '.join(may_be_about(visitor))}.")
    return text
