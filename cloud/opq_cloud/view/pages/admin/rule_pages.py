"""`/admin/rules`: stream rules of each rule engine, with state, errors, start and stop.

Rules are written, tried and deleted by `opq-tools rules`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.operations.rule_engine import CHANGE_S, EngineError, RuleEngine
from opq_cloud.view.pages.admin.admin_context import AdminContext
from opq_cloud.view.web.forms import SentForm, form_route, see_other
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.visitors import Visitor
from opq_plugins.package.manifest import NAME

DONE_WORDS = {"start": "started", "stop": "stopped"}
MESSAGE_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class ShownRule:
    """One rule; `trouble` is why it does not run, or what it does only in part."""

    name: str
    status: str
    trouble: str


@dataclass(frozen=True, slots=True)
class EngineRules:
    """The rules of one engine; `trouble` is why they are not known."""

    name: str
    url: str
    rules: tuple[ShownRule, ...] = ()
    streams: tuple[str, ...] = ()
    trouble: str = ""


class RuleAdminPages:
    """The page of stream rules, for administrators."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        router.add_api_route("/admin/rules", self.rules_page, response_class=HTMLResponse)
        router.add_route("/admin/rules/{engine}/{rule}/run", form_route(self.run), methods=["POST"])
        return router

    def rules_page(self) -> Response:
        self._context.require_reader()
        return self._page()

    def _page(self, problem: str = "", code: int = 200) -> Response:
        found = [read_rules(RuleEngine(each)) for each in self._context.addresses.engines]
        return self._context.page("rules.html", "rules", code=code, engines=found, problem=problem)

    def run(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Starts or stops a rule."""
        visitor = self._context.require_administrator()
        engine, rule = self._context.engine(request.path_params["engine"]), request.path_params["rule"]
        verb = form.text("do", 20)
        if verb not in DONE_WORDS or not NAME.fullmatch(rule):
            raise HTTPException(400, f"{verb} is not offered; there are {', '.join(DONE_WORDS)}.")
        try:
            engine.request("POST", f"/rules/{rule}/{verb}", wait_s=CHANGE_S)
        except EngineError as error:
            text = str(error)[:MESSAGE_CHARACTERS]
            return self._page(f"{text[:1].upper()}{text[1:]}.", 409)
        self._context.accounts.note(visitor, f"{DONE_WORDS[verb]} a stream rule", f"rule {rule}", {}, {})
        return see_other("/admin/rules")


def read_rules(engine: RuleEngine) -> EngineRules:
    """The rules of an engine and the names of its streams."""
    address = engine.address
    try:
        rules, streams = engine.request("GET", "/rules"), engine.request("GET", "/streams")
        states = engine.request("GET", "/rules/status/all")
    except EngineError as error:
        return EngineRules(address.name, address.url, trouble=str(error))
    known = states if isinstance(states, Mapping) else {}
    found = []
    for each in rules if isinstance(rules, list) else []:
        if isinstance(each, Mapping):
            state = known.get(each.get("id"))
            facts = state if isinstance(state, Mapping) else {}
            trouble = str(facts.get("message") or facts.get("degraded") or "")[:MESSAGE_CHARACTERS]
            found.append(ShownRule(str(each.get("id")), str(each.get("status")), trouble))
    names = [str(each) for each in streams] if isinstance(streams, list) else []
    return EngineRules(address.name, address.url, tuple(found), tuple(names))
