"""`/admin/rules`: stream rules of a rule engine: checked while typing, explained, tried on stored history."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from opq_cloud.view.accounts.forms import SentForm, form_route, see_other
from opq_cloud.view.accounts.gate import request_facts
from opq_cloud.view.accounts.visitors import Visitor
from opq_cloud.view.administration.admin_context import AdminContext
from opq_cloud.view.administration.rule_engine import (
    CHANGE_S,
    EngineError,
    EngineRefusedError,
    EngineSilentError,
    RuleEngine,
)
from opq_cloud.view.administration.rule_rows import (
    LOOK_S,
    ROWS_A_SECOND,
    RowResponse,
    RowsTaken,
    RuleRows,
    TooManyRowsError,
    read_sample_rows,
    row_events,
)
from opq_cloud.view.administration.rule_trial import (
    MAX_RECORDS,
    SHOWN,
    TrialResult,
    emission_times,
    newest_measurements,
    trial_body,
    trial_drawing,
)
from opq_cloud.view.registry import BOX_ID
from opq_cloud.view.words import utc
from opq_plugins.package.manifest import NAME
from opq_proto.errors import StoreError

SQL_CHARACTERS = 8000
JSON_CHARACTERS = 4000
VERBS = ("start", "stop", "restart")
HOURS = (1, 6, 24, 72)
STRETCH_ROWS = 100_000
"""More Measurements than a Box makes in half an hour."""
NEW = "new"
BOXES_STREAM = 'CREATE STREAM boxes () WITH (DATASOURCE="*", TYPE="opqbox", SHARED="true")'
"""The stream that a new rule's SQL reads: the Measurements of all Boxes."""
BLANK = {"id": "", "sql": "", "actions": '[{"log": {}}]', "options": "{}"}
EXAMPLE = (
    "SELECT box, timestamp_ms, rms_min\nFROM boxes\nWHERE rms_min < 0.9 * coalesce(nominal_v, {nominal_v:g})"
)
"""The SQL of a new rule: a sag at any nominal voltage; Boxes of the original state none."""
MESSAGE_CHARACTERS = 2000
MAX_MS = 10**13
"""The year 2286."""


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What the engine reports about a typed rule."""

    valid: bool
    text: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class EngineRules:
    """The rules of one engine; `trouble` is why they are not known."""

    name: str
    url: str
    rules: tuple[Mapping[str, object], ...] = ()
    streams: tuple[str, ...] = ()
    trouble: str = ""


class RuleAdminPages:
    """The pages of stream rules, for administrators."""

    def __init__(self, context: AdminContext) -> None:
        self._context = context

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/admin/rules", self.rules_page, response_class=HTMLResponse)
        router.add_api_route("/admin/rules/{engine}/{rule}", self.rule_page, response_class=HTMLResponse)
        router.add_api_route("/admin/rules/{engine}/{rule}/rows", self.rows)
        for path, form in (
            ("/admin/rules/{engine}", self.make_stream),
            ("/admin/rules/{engine}/{rule}", self.send),
            ("/admin/rules/{engine}/{rule}/check", self.check),
            ("/admin/rules/{engine}/{rule}/run", self.run),
        ):
            router.add_api_route(path, form_route(form), methods=["POST"])
        return router

    def rules_page(self) -> Response:
        self._context.require_reader()
        return self._rules_page()

    def _rules_page(self, problem: str = "", code: int = 200) -> Response:
        found = [read_rules(RuleEngine(each)) for each in self._context.addresses.engines]
        return self._context.page("rules.html", "rules", code=code, engines=found, problem=problem)

    def rule_page(
        self, engine: str, rule: str, look: Annotated[str, Query(max_length=20)] = "", saved: bool = False
    ) -> Response:
        """The editor of a rule; the address `new` makes one. `look` adds the rows of the next seconds."""
        self._context.require_reader()
        rule_engine = self._context.engine(engine)
        if rule == NEW:
            sql = EXAMPLE.format(nominal_v=self._context.view.nominal.volts)
            return self._rule_page(rule_engine, NEW, {**BLANK, "sql": sql})
        try:
            typed = self._stored(rule_engine, rule)
            if not look:
                return self._rule_page(rule_engine, rule, typed, saved=saved)
            try:
                return self._rule_page(rule_engine, rule, typed, looked=read_sample_rows(rule_engine, rule))
            except (TooManyRowsError, EngineRefusedError) as error:
                return self._rule_page(rule_engine, rule, typed, problem=_sentence(error), code=409)
        except EngineSilentError as error:
            return self._rules_page(_sentence(error), 503)
        except EngineRefusedError as error:
            raise HTTPException(404, f"There is no such rule: {error}.") from error

    def _rule_page(
        self,
        engine: RuleEngine,
        rule: str,
        typed: Mapping[str, str],
        verdict: RuleVerdict | None = None,
        trial: TrialResult | None = None,
        tried: tuple[str, str] = ("", ""),
        problem: str = "",
        code: int = 200,
        saved: bool = False,
        looked: RowsTaken | None = None,
    ) -> Response:
        explained, status = "", {}
        if rule != NEW:
            try:
                explained = str(engine.request("GET", f"/rules/{quote(rule, safe='')}/explain"))
                found = engine.request("GET", f"/rules/{quote(rule, safe='')}/status")
                status = dict(found) if isinstance(found, Mapping) else {}
            except EngineError as error:
                explained = explained or str(error)
        return self._context.page(
            "rule.html",
            "rules",
            code=code,
            engine=engine.address.name,
            rule=rule,
            typed=typed,
            verdict=verdict,
            trial=trial,
            trial_box=tried[0],
            trial_hours=tried[1],
            saved=saved,
            hours=HOURS,
            most_records=MAX_RECORDS,
            looked=looked,
            look_s=LOOK_S,
            rows_a_second=ROWS_A_SECOND,
            boxes=[each.box_id for each in self._context.view.boxes()],
            explained=explained,
            status=status_rows(status),
            problem=problem,
        )

    async def rows(self, request: Request, engine: str, rule: str) -> Response:
        """Sends server-sent events to the rule's page until the page is left."""
        self._context.require_reader()
        rule_engine = self._context.engine(engine)
        try:
            rows = await anyio.to_thread.run_sync(RuleRows, rule_engine, rule)
        except (EngineSilentError, TooManyRowsError) as error:
            raise HTTPException(503, _sentence(error)) from error
        except EngineRefusedError as error:
            if error.code != 404:
                raise HTTPException(503, _sentence(error)) from error
            raise HTTPException(404, f"There is no such rule: {error}.") from error
        facts = request_facts(request.scope)

        async def may_go_on() -> bool:
            """Whether the session still belongs to an administrator."""
            try:
                now = await anyio.to_thread.run_sync(self._context.accounts.visitors.of, facts)
            except StoreError:
                return True
            return now.sees_administration

        return RowResponse(rows, row_events(rows, may_go_on))

    def make_stream(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Makes the stream of all Boxes in an engine that has none; the page of a new rule follows."""
        visitor = self._context.require_administrator()
        engine = self._context.engine(request.path_params["engine"])
        try:
            engine.request("POST", "/streams", {"sql": BOXES_STREAM}, CHANGE_S)
        except EngineError as error:
            return self._rules_page(_sentence(error), 409)
        name = engine.address.name
        self._context.accounts.note(visitor, "made a stream", f"engine {name}", {}, {"sql": BOXES_STREAM})
        return see_other(f"/admin/rules/{name}/{NEW}")

    def check(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Checks a rule while somebody types; the answer is JSON."""
        self._context.require_administrator()
        verdict = judge(self._context.engine(request.path_params["engine"]), typed_rule(form))
        facts = {"valid": verdict.valid, "text": verdict.text, "line": verdict.line, "column": verdict.column}
        return JSONResponse(facts, headers={"Cache-Control": "no-store"})

    def send(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Checks, tries on history or saves, by the button that was pressed."""
        visitor = self._context.require_administrator()
        engine, rule = self._context.engine(request.path_params["engine"]), request.path_params["rule"]
        typed, do = typed_rule(form), form.text("do", 20)
        verdict = judge(engine, typed)
        if do == "save" and verdict.valid:
            return self._save(visitor, engine, rule, typed)
        if do == "try" and verdict.valid:
            return self._try(engine, rule, typed, form, verdict)
        return self._rule_page(engine, rule, typed, verdict, code=200 if verdict.valid else 400)

    def _save(self, visitor: Visitor, engine: RuleEngine, rule: str, typed: Mapping[str, str]) -> Response:
        name = typed["id"] if rule == NEW else rule
        if name == NEW or not NAME.fullmatch(name):
            problem = f"Name the rule: letters, digits, - and _, 64 at most, and not {NEW!r}."
            return self._rule_page(engine, rule, typed, problem=problem, code=400)
        before: Mapping[str, str] = {}
        try:
            if rule == NEW:
                engine.request("POST", "/rules", rule_body(typed), CHANGE_S)
            else:
                before = self._stored(engine, rule)
                body = {**rule_body(typed), "id": rule}
                engine.request("PUT", f"/rules/{quote(rule, safe='')}", body, CHANGE_S)
        except EngineError as error:
            return self._rule_page(engine, rule, typed, problem=_sentence(error), code=409)
        what = "added a stream rule" if rule == NEW else "changed a stream rule"
        after = {key: typed[key] for key in ("sql", "options")}
        was = {key: before[key] for key in after if key in before}
        self._context.accounts.note(
            visitor, what, f"rule {name}", was, after
        )  # without actions, which may hold a password
        return see_other(f"/admin/rules/{engine.address.name}/{quote(name, safe='')}?saved=1")

    def _try(
        self, engine: RuleEngine, rule: str, typed: Mapping[str, str], form: SentForm, verdict: RuleVerdict
    ) -> Response:
        box_id, hours = form.text("box", 32), form.text("hours", 5)
        if not BOX_ID.fullmatch(box_id) or hours not in {str(each) for each in HOURS}:
            return self._rule_page(engine, rule, typed, verdict, problem="Choose a Box and a span.", code=400)
        end_ms = self._context.view.now_ns() // 1_000_000 + 1
        start_ms = end_ms - int(hours) * 3_600_000
        store = self._context.store
        measured = newest_measurements(
            lambda first_ms, last_ms: store.measurements(box_id, first_ms, last_ms, STRETCH_ROWS),
            start_ms,
            end_ms,
        )
        tried = box_id, hours
        if not measured:
            text = f"Nothing is stored of Box {box_id} in this span."
            return self._rule_page(engine, rule, typed, verdict, problem=text, code=409, tried=tried)
        try:
            streams = _streams_of(engine, typed)
            if len(streams) != 1:
                raise EngineRefusedError("only a rule over one stream of Measurements can be tried here", 400)
            nominal_v = self._context.view.box(box_id).nominal_v
            body = trial_body(typed["sql"], streams[0], measured, nominal_v, _object(typed["options"]))
            emissions = engine.request("POST", "/ruletest/run", body, CHANGE_S)
        except EngineError as error:
            return self._rule_page(
                engine, rule, typed, verdict, problem=_sentence(error), code=409, tried=tried
            )
        given = emissions if isinstance(emissions, list) else []
        times_ms, count = emission_times(given)
        shown = tuple(json.dumps(each)[:500] for each in given[:SHOWN])
        drawing = trial_drawing(measured, times_ms)
        result = TrialResult(len(measured), measured[0].timestamp_ms, count, shown, len(times_ms), drawing)
        return self._rule_page(engine, rule, typed, verdict, result, tried)

    def run(self, request: Request, visitor: Visitor, form: SentForm) -> Response:
        """Start, stop, restart or delete a rule."""
        visitor = self._context.require_administrator()
        engine, rule = self._context.engine(request.path_params["engine"]), request.path_params["rule"]
        verb = form.text("do", 20)
        if verb not in (*VERBS, "delete") or not NAME.fullmatch(rule):
            raise HTTPException(
                400,
                f"{verb} is not offered; there are {', '.join((*VERBS, 'delete'))}.",
            )
        before: Mapping[str, str] = {}
        try:
            if verb == "delete":
                before = self._stored(engine, rule)
                engine.request("DELETE", f"/rules/{rule}", wait_s=CHANGE_S)
            else:
                engine.request("POST", f"/rules/{rule}/{verb}", wait_s=CHANGE_S)
        except EngineError as error:
            return self._rules_page(_sentence(error), 409)
        words = {"start": "started", "stop": "stopped", "restart": "started again", "delete": "deleted"}
        was = {"sql": before["sql"]} if before else {}
        self._context.accounts.note(visitor, f"{words[verb]} a stream rule", f"rule {rule}", was, {})
        return see_other("/admin/rules")

    def _stored(self, engine: RuleEngine, rule: str) -> dict[str, str]:
        """The stored rule as the editor shows it."""
        found = engine.request("GET", f"/rules/{quote(rule, safe='')}")
        facts = found if isinstance(found, Mapping) else {}
        return {
            "id": rule,
            "sql": str(facts.get("sql", "")),
            "actions": json.dumps(facts.get("actions", []), indent=1),
            "options": json.dumps(facts.get("options", {}), indent=1),
        }


def status_rows(status: Mapping[str, object]) -> list[tuple[str, str]]:
    """Name and value of each counter that is not empty, as text; times are in UTC."""
    rows = []
    for key, value in status.items():
        if not isinstance(value, str | int | float) or not value or (key.endswith("_status") and value == 1):
            continue
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", key).lower().replace("_", " ").removesuffix(" timestamp")
        if isinstance(value, str):
            rows.append((name, value))
        elif key.endswith(("Timestamp", "_invocation", "_time")) and 0 < value < MAX_MS:
            rows.append((name, utc(int(value) * 1_000_000, 0)))
        else:
            rows.append((name.replace(" us", ", µs"), f"{value:,}"))
    return rows


def read_rules(engine: RuleEngine) -> EngineRules:
    """The rules of an engine and the names of its streams."""
    address = engine.address
    try:
        rules, streams = engine.request("GET", "/rules"), engine.request("GET", "/streams")
    except EngineError as error:
        return EngineRules(address.name, address.url, trouble=str(error))
    rows = [each for each in rules if isinstance(each, Mapping)] if isinstance(rules, list) else []
    names = [str(each) for each in streams] if isinstance(streams, list) else []
    return EngineRules(address.name, address.url, tuple(rows), tuple(names))


def typed_rule(form: SentForm) -> dict[str, str]:
    """The typed rule with its line breaks. Raises HTTPException 400 where a text is too long."""
    found = {}
    for name, most in (
        ("id", 64),
        ("sql", SQL_CHARACTERS),
        ("actions", JSON_CHARACTERS),
        ("options", JSON_CHARACTERS),
    ):
        text = form.fields.get(name, "").replace("\r\n", "\n").replace("\0", "")
        if len(text) > most:
            raise HTTPException(
                400,
                f"{name} has {len(text)} characters; want {most} or fewer.",
            )
        found[name] = text
    return found


def judge(engine: RuleEngine, typed: Mapping[str, str]) -> RuleVerdict:
    """The engine's verdict on a rule; text that is not JSON is refused without asking the engine."""
    try:
        body = rule_body(typed)
    except ValueError as error:
        return RuleVerdict(False, str(error))
    try:
        engine.request("POST", "/rules/validate", body)
    except EngineRefusedError as error:
        return RuleVerdict(False, str(error)[:MESSAGE_CHARACTERS], error.line, error.column)
    except EngineSilentError as error:
        return RuleVerdict(False, str(error))
    return RuleVerdict(True, "The rule is right.")


def rule_body(typed: Mapping[str, str]) -> dict[str, object]:
    """The body for the engine. Raises ValueError with a sentence where `actions` or `options` are no JSON."""
    try:
        actions = json.loads(typed["actions"] or "[]")
    except (ValueError, RecursionError):
        actions = None
    if not isinstance(actions, list):
        raise ValueError('Actions are no JSON list, such as [{"log": {}}]')
    return {
        "id": typed["id"] or "typed",
        "sql": typed["sql"],
        "actions": actions,
        "options": _object(typed["options"]),
    }


def _object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError('Options are no JSON object, such as {"qos": 1}')
    return found


def _streams_of(engine: RuleEngine, typed: Mapping[str, str]) -> Sequence[str]:
    found = engine.request("POST", "/rules/validate", rule_body(typed))
    sources = found.get("sources") if isinstance(found, Mapping) else None
    return [str(each) for each in sources] if isinstance(sources, list) else []


def _sentence(error: Exception) -> str:
    text = str(error)[:MESSAGE_CHARACTERS]
    return f"{text[:1].upper()}{text[1:]}."
